"""What goes wrong is said in one line on stderr, with a status that tells a script whether trying again may help."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pytest
from filelock import FileLock

from serving.terminal.simulated import AccountConfig
from tests.flows.parts import ROOT, Done, environment, generated_csv, retrained_home, sim_home, trading_home
from tests.serving.live_parts import playing

FINAL, USAGE, RETRYABLE, FAULT, INTERRUPTED = 1, 2, 3, 70, 130

CSV = "time,open,high,low,close\n2024-03-04 00:00,1.1,1.2,1.0,1.15\n2024-03-04 00:01,1.1,1.2,1.0,1.15\n"
REAL = """
[accounts.real]
mode = "live"
feed = "sim"
login = 7
server = "Broker-Real"
lines = [{ pipeline = "majors", symbol = "EURUSD" }]

[accounts.paper]
mode = "paper"
feed = "sim"
lines = [{ pipeline = "majors", symbol = "EURUSD" }]
"""


def one_line(done: Done, code: int) -> str:
    """What the failed command said, without its name: one line on stderr, nothing on stdout."""
    assert (done.code, done.out) == (code, ""), done
    assert done.err.startswith("tradewind: ") and done.err.count("\n") == 1
    assert "Traceback" not in done.err and 20 < len(done.err) < 500
    return done.err.removeprefix("tradewind: ").rstrip()


@pytest.fixture
def home(tmp_path):
    return sim_home(tmp_path / "home", extra=REAL)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'; see: tradewind --help"),
        (["trade", "--bars", "0"], "'--bars'"),
        (["retrain", "--start", "yesterday"], "'--start': 'yesterday' does not match"),
        (["retrain", "--trials", "many"], "'--trials'"),
        (["export", "--symbol", "EURUSD"], "Missing option"),
        (["halt", "everything"], "unexpected extra argument"),
        (["data", "--colour"], "No such option: --colour; see: tradewind data --help"),
        (["ingest", "--undo", "seven"], "'--undo'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_names_the_help(tradewind, arguments, says):
    line = one_line(tradewind(*arguments), USAGE)
    assert says in line and "see: tradewind" in line


@pytest.mark.parametrize(
    ("content", "name", "arguments", "says"),
    [
        (None, "none.csv", [], "does not exist"),
        ("hello\nworld\n", "junk.csv", [], "is of no known format"),
        (os.urandom(3000), "junk.parquet", [], "is of no known format"),
        ("", "empty.csv", [], "is empty; fetch or export it again"),
        (CSV, "EURUSD_M1.csv", [], "0 weekends in the file, too little to tell; pass --clock RULE"),
        (CSV, "EURUSD_M1.csv", ["--clock", "mars"], "clock rule 'mars' is not known"),
        (CSV, "prices.csv", ["--clock", "utc"], "--symbol"),
        (CSV, "prices.csv", ["--clock", "utc", "--symbol", "EURUSD", "--timeframe", "H7"], "timeframe 'H7' is not known"),
        (CSV, "prices.csv", ["--clock", "utc", "--timeframe", "M1", "--symbol", "euro dollar"], "symbol 'EURO DOLLAR'"),
        (CSV, "EURUSD_M1.csv", ["--clock", "utc", "--feed", "my feed"], "feed 'my feed' is not a name"),
        (CSV, "EURUSD_M1.csv", ["--clock", "utc", "--undo", "1"], "leave the paths out"),
    ],
    ids=["missing", "junk", "junk parquet", "empty", "no clock", "clock", "no symbol", "timeframe", "symbol", "feed", "undo"],
)
def test_a_file_that_cannot_be_ingested_is_refused_and_nothing_is_stored(
    tradewind, home, tmp_path, content, name, arguments, says
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in one_line(tradewind("ingest", path, *arguments, "--home", home), FINAL)
    assert tradewind("data", "--home", home, "--json").document["series"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ingest"], "name files, or a feed of tradewind.toml that has a terminal (there is: sim)"),
        (["ingest", "--undo", "7"], "batch 7 does not exist; there is none yet"),
        (["export", "--symbol", "EURUSD", "--timeframe", "M1", "--out", "x.parquet"], "no feed has it; ingest it first"),
        (["features", "--pipeline", "other"], "pipeline 'other' is not in tradewind.toml; there is: main"),
        (["leaderboard"], "which pipeline? retrained were: none yet"),
        (["leaderboard", "--pipeline", "main"], "pipeline 'main' was never retrained"),
        (["backtest"], "which pipeline?"),
        (["backtest", "--pipeline", "main", "--model", "linear"], "pipeline 'main' was never retrained"),
        (["backtest", "--pipeline", "main", "--model", "gone.onnx"], "model file gone.onnx does not exist"),
        (["backtest", "--pipeline", "main", "--start", "2024-02-02", "--end", "2024-02-01"], "is not before --end"),
        (["retrain"], "feed 'sim' has no bars of EURUSD; it has nothing: ingest them first"),
        (["retrain", "--pipeline", "other"], "pipeline 'other' is not in tradewind.toml; there is: main"),
        (["retrain", "--symbols", "GBPUSD"], "no feed has bars of GBPUSD; stored are: none"),
        (["retrain", "--symbols", ","], "names no symbol"),
        (["retrain", "--timeframe", "H7"], "timeframe 'H7' is not known"),
        (["retrain", "--families", "linear,magic"], "family 'magic' is not known; there are"),
        (["retrain", "--budget", "soon"], "--budget 'soon' is not a time"),
        (["retrain", "--budget", "0m"], "--budget '0m' is not a time"),
        (["retrain", "--start", "2024-02-02", "--end", "2024-02-01"], "start 2024-02-02 is not before end 2024-02-01"),
        (["trade", "--account", "other"], "account 'other' is not in tradewind.toml; there is: demo, paper, real"),
        (["trade"], "which account? there is: demo, paper, real; add --account NAME"),
        (["trade", "--account", "demo", "--live", "7@Broker-Real"], "--live is for accounts in mode live"),
        (["trade", "--account", "paper"], "cannot trade yet"),
        (["status", "--account", "other"], "account 'other'"),
        (["why", "--account", "demo"], "it has not traded yet"),
        (["why", "--account", "other"], "account 'other'"),
        (["halt", "--account", "other"], "account 'other'"),
        (["resume", "--account", "demo", "--reason", " "], "say who asks and why"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line_with_what_there_is(tradewind, home, arguments, says):
    assert says in one_line(tradewind(*arguments, "--home", home), FINAL)


def test_an_unknown_key_in_the_settings_stops_every_command_that_reads_them(tradewind, home):
    with (home / "tradewind.toml").open("a", encoding="utf-8") as file:
        file.write("\n[mlflow]\ntracking_url = 'x'\n")
    for command in ("data", "status", "trade", "halt", "retrain", "ingest", "config"):
        assert "unknown key 'mlflow.tracking_url'" in one_line(tradewind(command, "--home", home), FINAL)


def test_a_model_family_that_the_latest_retrain_lacks_is_answered_with_those_it_has(tradewind, tmp_path):
    home = retrained_home(sim_home(tmp_path / "home"))
    line = one_line(tradewind("backtest", "--model", "catboost", "--home", home), FINAL)
    assert "there are linear, xgboost" in line


def test_a_model_file_that_is_no_model_is_refused(tradewind, home, tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"no graph")
    line = one_line(tradewind("backtest", "--pipeline", "main", "--model", tmp_path / "junk.onnx", "--home", home), FINAL)
    assert "junk.onnx is not a model" in line


def test_an_undo_of_what_was_undone_before_is_refused(tradewind, tmp_path):
    (tmp_path / "EURUSD_M1.csv").write_text(CSV)
    tradewind("ingest", tmp_path / "EURUSD_M1.csv", "--clock", "utc", "--home", tmp_path / "home")
    assert tradewind("ingest", "--undo", "1", "--home", tmp_path / "home").code == 0
    assert "was undone before" in one_line(tradewind("ingest", "--undo", "1", "--home", tmp_path / "home"), FINAL)
    line = one_line(tradewind("ingest", "--undo", "2", "--home", tmp_path / "home"), FINAL)
    assert line == "batch 2 does not exist; there are batches 1 to 1"


def test_without_a_champion_trading_may_succeed_later(tradewind, home):
    done = tradewind("trade", "--account", "demo", "--home", home)
    assert "has no champion: run `tradewind retrain`" in one_line(replace(done, out=""), RETRYABLE)
    assert "failed" not in done.out  # a person is told once
    events = tradewind("trade", "--account", "demo", "--home", home, "--json").lines
    assert events[-1]["event"] == "failed" and "has no champion" in events[-1]["error"]


@pytest.mark.parametrize("account", ["real", "paper"])
def test_an_account_that_is_not_simulated_is_never_traded_from_the_default_home(tradewind, tmp_path, account):
    sim_home(tmp_path / ".tradewind", extra=REAL)  # commands run in tmp_path
    line = one_line(tradewind("trade", "--account", account), FINAL)
    assert "name its home with --home or TRADEWIND_HOME" in line


@pytest.mark.parametrize("confirmation", [[], ["--live", "8@Broker-Real"], ["--live", "7@Broker-Demo"]])
def test_a_live_account_is_traded_only_when_login_and_server_are_typed(tradewind, home, confirmation):
    with playing(account=AccountConfig(login=7, server="Broker-Real")):
        line = one_line(tradewind("trade", "--account", "real", *confirmation, "--home", home), FINAL)
    assert "trades real money: confirm it with --live 7@Broker-Real" in line


def test_a_real_account_on_a_machine_without_metatrader_is_refused(tradewind, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "MetaTrader5", None)  # on Windows it may be there
    done = tradewind("trade", "--account", "real", "--live", "7@Broker-Real", "--home", home)
    assert "exists on Windows only" in one_line(done, FINAL)


def test_while_another_process_writes_the_store_a_writer_is_told_to_come_back(tradewind, home, tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEWIND_LOCK_WAIT_S", "0.2")
    (tmp_path / "EURUSD_M1.csv").write_text(CSV)
    with FileLock(home / "bars.duckdb.lock"):
        done = tradewind("ingest", tmp_path / "EURUSD_M1.csv", "--clock", "utc", "--home", home)
    assert "was being written by another process" in one_line(done, RETRYABLE)
    assert tradewind("ingest", tmp_path / "EURUSD_M1.csv", "--clock", "utc", "--home", home).code == 0
    with duckdb.connect(home / "bars.duckdb"):
        assert "was in use" in one_line(tradewind("data", "--home", home), RETRYABLE)


def test_a_second_trader_on_an_account_is_told_that_one_runs(tradewind, tmp_path):
    home = trading_home(tmp_path / "home")
    (home / "accounts" / "demo").mkdir(parents=True)
    with FileLock(home / "accounts" / "demo" / "journal.lock"):
        done = tradewind("trade", "--home", home)
    assert "another trader runs on it" in one_line(done, RETRYABLE)


def test_a_fault_of_ours_is_one_line_and_its_details_are_in_the_file_that_the_line_names(tradewind, tmp_path, monkeypatch):
    secret = "a-password-in-a-local-variable"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def broken(*arguments: object) -> None:
        kept = secret
        raise ZeroDivisionError(f"fault of {len(kept)}\nsecond line")

    monkeypatch.setattr("flows.settings.load", broken)
    monkeypatch.setattr("flows.commands.look.load", broken)
    line = one_line(tradewind("config"), FAULT)
    assert "a fault of Tradewind itself (ZeroDivisionError: fault of 30 second line)" in line
    (file,) = tmp_path.glob("tradewind-crash-*.txt")
    assert str(file) in line
    text = file.read_text(encoding="utf-8")
    assert "Traceback" in text and "in broken" in text and secret not in text


def test_a_command_interrupted_from_the_keyboard_says_that_what_was_finished_is_kept(tradewind, monkeypatch):
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.commands.data.data", interrupted)
    assert "what was finished is kept" in one_line(tradewind("data"), INTERRUPTED)


def limited(preparation: str, *arguments: object) -> Done:
    """A command in a process that was `preparation` first."""
    code = f"import os, sys\n{preparation}\nos.execv(sys.executable, [sys.executable, '-m', 'flows.cli', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def read_only(folder):
    """A folder in which nothing can be made or changed."""
    everything = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in everything}
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="rights and limits of POSIX")
class TestTheDisk:
    @pytest.mark.parametrize("command", [["halt"], ["trade"], ["retrain"], ["demo"], ["ingest", "--feed", "sim"]])
    def test_a_home_that_cannot_be_written_is_said_to_be_so(self, tmp_path, command):
        home = trading_home(tmp_path / "home")
        # The super-user may write anywhere; this takes that right from the command.
        drop = "import ctypes\nif os.geteuid() == 0:\n    assert ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) == 0"
        with read_only(home):
            done = limited(drop, *command, "--home", home)
        assert "ermission denied" in one_line(done, FINAL) and str(home) in done.err

    @pytest.mark.parametrize("bytes_left", [1_000, 100_000, 400_000])
    def test_a_full_disk_leaves_the_store_as_it_was(self, tmp_path, bytes_left):
        home = sim_home(tmp_path / "home")
        file = generated_csv(home, tmp_path / "EURUSD_M1.csv", until=datetime(2024, 2, 1, tzinfo=UTC))
        full = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_left}, {bytes_left}))"
        ingest = ["ingest", file, "--clock", "utc", "--home", home]
        assert "File too large" in one_line(limited(full, *ingest), FINAL)
        assert limited("", "data", "--home", home, "--json").document["series"] == []
        again = limited("", *ingest, "--json").document["batches"]
        assert [(b["id"], b["rows_changed"], b["rows_rejected"]) for b in again] == [(1, 0, 0)] and again[0]["rows_new"] > 30_000

    def test_a_trader_whose_disk_is_full_ends_and_says_why(self, tmp_path):
        home = trading_home(tmp_path / "home")
        full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
        done = limited(full, "trade", "--home", home)
        assert done.code == FINAL and "is the disk full" in done.err and done.err.count("\n") == 1
        assert limited("", "trade", "--home", home, "--bars", "2").code == 0


def test_one_thread_can_print_json_while_another_waits_for_the_store(tradewind, home, monkeypatch):
    """The wait for a lock is the stated one, and ends as soon as the lock is free."""
    monkeypatch.setenv("TRADEWIND_LOCK_WAIT_S", "20")
    lock = FileLock(home / "bars.duckdb.lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(0.3, lock.release)
    timer.start()
    done = tradewind("ingest", "--feed", "sim", "--home", home, "--json")
    timer.join()
    assert done.code == 0 and done.document["batches"][0]["rows_new"] > 0
