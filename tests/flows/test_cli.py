"""The command as a whole: what it offers, what it imports, and that `--json` leaves stdout to one document."""

import json
import socket
import subprocess
import sys

import pytest

from flows.cli import app
from tests.flows.parts import ROOT, SUB_COMMANDS, environment, retrained_home, run, sim_home, trading_home

HEAVY = (
    "polars", "numpy", "pandas", "duckdb", "prefect", "mlflow", "torch", "optuna", "sklearn", "xgboost", "lightgbm", "catboost",
    "onnx", "onnxruntime", "pydantic_settings", "plotly", "matplotlib",
)  # fmt: skip


def test_every_sub_command_of_the_interface_is_there_and_no_other():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(SUB_COMMANDS)


@pytest.mark.parametrize("command", SUB_COMMANDS)
def test_every_sub_command_explains_itself_and_takes_home_and_json(tradewind, command):
    shown = tradewind(command, "--help")
    assert shown.code == 0 and shown.err == ""
    assert "--home" in shown.out and "--json" in shown.out
    assert any(len(line.split()) > 4 for line in shown.out.splitlines()[:8])  # says what it does, not only how


def test_help_names_every_sub_command_and_where_to_begin(tradewind):
    shown = tradewind("--help")
    assert shown.code == 0
    assert all(f" {command} " in shown.out for command in SUB_COMMANDS)
    assert "Start with tradewind demo" in shown.out


def test_without_arguments_the_help_is_shown_and_the_status_is_that_of_wrong_usage(tradewind):
    shown = tradewind()
    assert shown.code == 2 and "retrain" in shown.out + shown.err and "tradewind: " not in shown.err


@pytest.mark.parametrize("arguments", [["--help"], ["trade", "--help"], ["features", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nsys.argv = ['tradewind', *sys.argv[1:]]\nfrom flows import cli\n"
        "try:\n    cli.main()\nfinally:\n"
        f"    print('HEAVY', sorted({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "Usage:" in done.stdout
    assert done.stderr.strip() == "HEAVY []"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["data"], "series"),
        (["data", "--quality", "--batches"], "quality"),
        (["features"], "features"),
        (["features", "--pipeline", "main"], "hash"),
        (["leaderboard"], "rows"),
        (["status"], "accounts"),
        (["config"], "settings"),
        (["halt", "--account", "demo"], "file"),
        (["reduce"], "file"),
        (["resume"], "file"),
        (["flatten", "--reason", "enough"], "file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_json_is_one_document_with_a_schema_and_nothing_else(tradewind, tmp_path, arguments, key):
    home = retrained_home(sim_home(tmp_path / "home"))
    done = tradewind(*arguments, "--home", home, "--json")
    assert done.code == 0 and done.err == ""
    assert isinstance(done.document["schema"], int) and key in done.document
    assert done.out.endswith("\n") and done.out.count("\n") == 1


def test_ingest_trade_and_backtest_keep_to_it_as_well(tradewind, tmp_path):
    home = trading_home(tmp_path / "home")
    ingested = tradewind("ingest", "--feed", "sim", "--home", home, "--json")
    assert ingested.code == 0 and ingested.err == ""
    assert [b["symbol"] for b in ingested.document["batches"]] == ["EURUSD"] and ingested.document["schema"] == 1
    traded = tradewind("trade", "--account", "demo", "--bars", "2", "--home", home, "--json")
    assert traded.code == 0 and traded.err == ""
    assert {line["schema"] for line in traded.lines} == {1}
    assert traded.lines[-1]["event"] == "stopped" and traded.lines[-1]["bars"] == 2
    why = tradewind("why", "--home", home, "--last", "2", "--json")
    assert [d["line"] for d in why.document["decisions"]] == ["majors/EURUSD"] * 2 and why.document["schema"] == 1
    replayed = tradewind("backtest", "--pipeline", "majors", "--home", home, "--json")
    assert replayed.code == 0 and replayed.err == ""
    assert replayed.document["schema"] == 1 and replayed.document["trades"] > 0
    file = tmp_path / "out.parquet"
    exported = tradewind("export", "--symbol", "EURUSD", "--timeframe", "H1", "--out", file, "--home", home, "--json")
    assert exported.document["schema"] == 1 and exported.document["rows"] > 0


@pytest.mark.slow
def test_in_processes_of_their_own_nothing_but_documents_reaches_stdout_either(tmp_path):
    home = trading_home(tmp_path / "home")
    for command in ("ingest --feed sim", "data", "trade --bars 2", "backtest --pipeline majors", "status", "halt"):
        done = run(*command.split(), "--home", home, "--json")
        assert done.code == 0 and done.err == ""
        assert all(isinstance(document["schema"], int) for document in done.lines)
        assert len(done.lines) == 1 or command.startswith("trade")


@pytest.mark.slow
def test_doctor_tells_of_every_part_and_what_to_do_in_one_document_and_makes_no_home(tmp_path):
    done = run("doctor", "--home", tmp_path / "nowhere", "--json")
    findings = {f["what"]: f for f in done.document["findings"]}
    assert done.document["schema"] == 1 and done.err == ""
    assert set(findings) >= {"python", "home", "settings", "bar store", "MLflow", "GPU", "torch", "onnxruntime", "xgboost",
                             "lightgbm", "catboost", "Prefect", "terminal"}  # fmt: skip
    assert done.code == int(any(f["state"] == "problem" for f in findings.values()))
    assert all(f["todo"] for f in findings.values() if f["state"] == "problem")
    assert findings["settings"]["says"] == "no tradewind.toml; defaults hold"
    assert all("will use" in findings[name]["says"] for name in ("torch", "onnxruntime", "xgboost", "lightgbm", "catboost"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_servers_that_are_away_are_told_of_soon_and_without_their_passwords(tmp_path):
    with socket.socket() as free:  # nothing listens there once this is closed
        free.bind(("127.0.0.1", 0))
        away = f"http://ann:hu@sh@127.0.0.1:{free.getsockname()[1]}"
    home = sim_home(tmp_path, extra=f'\n[mlflow]\ntracking_uri = "{away}/mlflow"\n')
    done = run("doctor", "--home", home, "--json", env=environment(PREFECT_API_URL=f"{away}/api"), timeout_s=120)
    findings = {f["what"]: f for f in done.document["findings"]}
    assert done.code == 1 and findings["MLflow"]["state"] == findings["Prefect"]["state"] == "problem"
    assert "sh@" not in done.out + done.err and "ann" not in done.out + done.err
    assert "://***@127.0.0.1" in findings["MLflow"]["says"] and "://***@127.0.0.1" in findings["Prefect"]["says"]


def test_leaderboard_rows_carry_what_the_interface_promises_best_first(tradewind, tmp_path):
    home = retrained_home(tmp_path)
    done = tradewind("leaderboard", "--home", home, "--json")
    rows = done.document["rows"]
    promised = {"family", "auc", "auc_low", "auc_high", "skill", "net_sharpe", "latency_us", "train_s", "device", "trials"}
    assert [row["family"] for row in rows] == ["xgboost", "linear"]
    assert all(promised | {"run_id", "verdict"} <= set(row) for row in rows)
    assert rows[1]["net_sharpe"] is None  # undefined, and JSON has no NaN
    assert [row["verdict"] for row in rows] == ["no edge", "no edge"] and rows[0]["run_id"] == "r2"
    shown = tradewind("leaderboard", "--home", home)
    assert "no edge: nothing promoted" in shown.out and "skill's lower bound is below 0" in shown.out


def test_config_shows_what_is_in_force_and_where_the_home_was_named_but_no_secret(tradewind, tmp_path, monkeypatch):
    home = sim_home(tmp_path / "home", extra='\n[mlflow]\ntracking_uri = "https://ann:h@ush@tracking.example:5000/x"\n')
    monkeypatch.setenv("TRADEWIND_LOCK_WAIT_S", "4")
    monkeypatch.setenv("TRADEWIND_HOME", str(home))
    for arguments in (["config"], ["config", "--json"], ["config", "--home", str(home), "--json"]):
        done = tradewind(*arguments)
        assert done.code == 0 and "ush" not in done.out + done.err
        assert "https://***@tracking.example:5000/x" in done.out
        assert "TRADEWIND_LOCK_WAIT_S" in done.out
    assert done.document["settings"]["lock_wait_s"] == 4.0
    assert done.document["home"] == str(home) and done.document["home_from"] == "a flag or TRADEWIND_HOME"


def test_the_flag_names_the_home_before_the_environment_does_and_both_before_the_default(tradewind, tmp_path, monkeypatch):
    assert tradewind("config", "--json").document["home"] == str(tmp_path / ".tradewind")
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path / "two"))
    assert tradewind("config", "--json").document["home"] == str(tmp_path / "two")
    assert tradewind("config", "--home", tmp_path / "one", "--json").document["home"] == str(tmp_path / "one")


@pytest.mark.parametrize("command", ["data", "config", "status", "features"])
def test_looking_around_makes_no_home(tradewind, tmp_path, command):
    tradewind(command, "--home", tmp_path / "nowhere", "--json")
    assert not (tmp_path / "nowhere").exists()


def test_features_of_a_pipeline_are_marked_and_hashed(tradewind, tmp_path):
    home = sim_home(tmp_path)
    document = tradewind("features", "--pipeline", "main", "--home", home, "--json").document
    used = [f["name"] for f in document["features"] if f["used"]]
    assert len(document["features"]) == 76 and used and set(used) <= set(document["columns"])
    assert len(document["hash"]) == 64
    assert all(f["meaning"] and f["lookback_bars"] > 0 for f in document["features"])


def test_a_person_is_told_what_json_tells_a_program(tradewind, tmp_path):
    home = trading_home(tmp_path / "home")
    assert "no account has traded" in tradewind("status", "--home", home).out
    assert "holds no bars yet" in tradewind("data", "--home", home).out
    assert "halt of demo is on disk" in tradewind("halt", "--home", home).out
    assert json.loads((home / "accounts" / "demo" / "commands").glob("*.json").__next__().read_text())["name"] == "halt"
