"""Promotion and MLflow on a SQLite file: what a person finds there, aliases, and kills at every step."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from serving import bundle
from serving._errors import Retryable as ServingRetryable
from serving.model import OnnxModel
from tasks import judge, record, report_plots, track
from tasks._errors import Retryable
from tasks.home import Home
from tasks.settings import MlflowSettings
from tests.tasks.parts import StillClock

# `tasks.promote.promote` is the task of the same name.
module = import_module("tasks.promote")
ROOT = Path(__file__).resolve().parents[2]
CLOCK = StillClock(datetime(2024, 4, 2, 6, tzinfo=UTC))
LOCAL = MlflowSettings()


@pytest.fixture(autouse=True)
def _same_mlflow_afterwards(monkeypatch):
    """MLflow keeps its address in the process and in the environment."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> Path:
    """An MLflow database without runs: making one takes seconds, copying one does not."""
    home = Home(tmp_path_factory.mktemp("mlflow"))
    with track.client_of(home, LOCAL):
        return home.mlflow_database


@pytest.fixture
def place(fresh, empty_database, monkeypatch):
    """The fresh home with an empty MLflow. Its pictures are empty: drawing them takes longer than all the rest."""
    shutil.copy(empty_database, fresh.home.mlflow_database)
    monkeypatch.setattr(report_plots, "family_figures", lambda result: {"equity": Figure(figsize=(1.0, 1.0))})
    return fresh


def reported(trained, promoted, *families):
    """The judged report of all or of some families, as if the gate had let `promoted` pass."""
    results = [trained.result(f) for f in families] if families else trained.results
    return replace(judge.judge.fn(trained.job, results), promoted=promoted)


def client_of(trained):
    uri = track.tracking_uri(trained.home, LOCAL)
    return MlflowClient(uri, uri)


def runs_of(trained, *, name="demo"):
    client = client_of(trained)
    return client.search_runs([client.get_experiment_by_name(name).experiment_id])


def aliases_of(trained):
    return {alias: int(version) for alias, version in client_of(trained).get_registered_model("demo").aliases.items()}


def promoted_sha(trained, family):
    return sha256((trained.job.folder / trained.result(family).final_onnx).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def tracked(trained, empty_database, tmp_path_factory):
    """(place, report) of one retrain that was promoted, for tests that only look."""
    home = Home(tmp_path_factory.mktemp("tracked"))
    shutil.copytree(trained.home.root / "runs", home.root / "runs")
    shutil.copy(empty_database, home.mlflow_database)
    place = replace(trained, home=home, job=replace(trained.job, home=home.root))
    return place, module.promote.fn(place.job, reported(place, "linear"), LOCAL, CLOCK)


def artifacts(client, run_id, folder=""):
    return {a.path for a in client.list_artifacts(run_id, folder or None) if not a.is_dir}


def test_a_pipeline_is_an_experiment_and_a_retrain_a_parent_with_a_child_for_each_family(tracked):
    place, report = tracked
    runs = {run.info.run_id: run for run in runs_of(place)}
    assert set(runs) == set(report.run_ids.values()) and set(report.run_ids) == {"", "linear", "lightgbm"}
    parent = runs[report.run_ids[""]]
    assert parent.info.run_name == "retrain 2024-04-01" and "mlflow.parentRunId" not in parent.data.tags
    assert parent.data.tags["mlflow.note.content"] == report.verdict["summary"]
    for family in ("linear", "lightgbm"):
        child = runs[report.run_ids[family]]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.run_name == f"{family} 2024-04-01"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.parametrize("family", ["linear", "lightgbm"])
def test_a_familys_run_shows_its_parameters_and_every_score(tracked, family):
    place, report = tracked
    client, result = client_of(place), place.result(family)
    data = client.get_run(report.run_ids[family]).data
    expected = {k: str(v) for k, v in result.params.items()} | {
        "family": family, "seed": "1", "snapshot": report.snapshot, "feed": "demo", "symbols": "EURUSD,USDJPY",
        "timeframe": "H1", "mode": "simulated", "costs": "broker", "lock": record.lock_hash(), "rounds": str(result.rounds),
    }  # fmt: skip
    assert {k: data.params[k] for k in expected} == expected
    for name in ("auc", "auc_low", "auc_high", "skill", "brier", "calibration_error", "net_sharpe", "max_drawdown", "turnover"):
        assert data.metrics[name] == pytest.approx(getattr(result.oos, name)), name
        assert data.metrics[f"holdout_{name}"] == pytest.approx(getattr(result.holdout, name)), name
    assert data.metrics["latency_us"] == result.latency_us and data.metrics["onnx_parity"] == result.parity
    history = client.get_metric_history(report.run_ids[family], "fold_auc")
    assert [(m.step, m.value) for m in history] == list(enumerate(result.fold_auc))
    assert data.tags["verdict"] in ("passed", "no edge") and data.tags["reason"] and data.tags["device"] == "cpu"


def test_pictures_and_documents_hang_on_the_runs(tracked):
    place, report = tracked
    client = client_of(place)
    assert artifacts(client, report.run_ids[""]) == {"leaderboard.json", "verdict.json"}
    child = report.run_ids["lightgbm"]
    assert {"decision.json", "trials.json"} <= artifacts(client, child)
    plots = {"plots/reliability.png", "plots/equity.png", "plots/importance.png"}
    assert artifacts(client, child, "plots") == plots
    for name in plots:
        content = Path(client.download_artifacts(child, name)).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 5000
    assert json.loads(Path(client.download_artifacts(report.run_ids[""], "verdict.json")).read_text()) == report.verdict
    board = json.loads(Path(client.download_artifacts(report.run_ids[""], "leaderboard.json")).read_text())
    assert [dict(zip(board["columns"], row, strict=True)) for row in board["data"]] == report.rows()


def test_the_registered_model_has_the_signature_of_the_contract_and_answers_like_the_file(tracked):
    place, _ = tracked
    info = mlflow.models.get_model_info("models:/demo@champion")
    n_features = len(OnnxModel.load(place.job.folder / "linear" / "final.onnx").manifest.features)
    (window,), (out,) = info.signature.inputs.inputs, info.signature.outputs.inputs
    assert (window.name, window.type, tuple(window.shape)) == ("window", np.dtype("float32"), (-1, 4, n_features))
    assert (out.name, out.type, tuple(out.shape)) == ("probabilities", np.dtype("float32"), (-1, 3))
    logged = OnnxModel.load(Path(mlflow.artifacts.download_artifacts("models:/demo@champion")) / "model.onnx")
    rows = np.random.default_rng(0).normal(size=(5, 4, n_features)).astype(np.float32)
    here = OnnxModel.load(place.job.folder / "linear" / "final.onnx")
    np.testing.assert_array_equal(logged.probabilities(rows), here.probabilities(rows))
    assert logged.manifest == here.manifest, "the logged graph is stamped too"


def test_the_champion_is_a_verified_bundle_and_the_alias_names_the_same_bytes(tracked):
    place, report = tracked
    found = bundle.load_current(place.home.root, "demo", live=True)
    assert found.sha256 == promoted_sha(place, "linear")
    assert found.promotion.gated and found.promotion.run_id == report.run_ids["linear"]
    assert found.promotion.promoted_at == "2024-04-02T06:00:00+00:00"
    assert OnnxModel.load(found.model).manifest.family == found.manifest["family"] == "linear"
    version = client_of(place).get_model_version_by_alias("demo", "champion")
    assert (version.tags["sha256"], version.run_id) == (found.sha256, report.run_ids["linear"])
    assert aliases_of(place) == {"champion": 1}


def test_promoting_the_same_retrain_again_makes_no_second_run_version_or_bundle(place):
    report = reported(place, "linear", "linear")
    first = module.promote.fn(place.job, report, LOCAL, CLOCK)
    again = module.promote.fn(place.job, report, LOCAL, StillClock(datetime(2024, 5, 1, tzinfo=UTC)))
    assert again.run_ids == first.run_ids and len(runs_of(place)) == 2
    assert len(client_of(place).search_model_versions("name = 'demo'")) == 1 and aliases_of(place) == {"champion": 1}
    assert bundle.pointers(place.home.root, "demo") == (promoted_sha(place, "linear"), None)
    assert first.promoted == "linear" and first.families == report.families


def retrained(place, seed):
    """Another retrain of the same pipeline, with the same files under another key."""
    job = replace(place.job, pipeline=place.job.pipeline.model_copy(update={"seed": seed}))
    shutil.copytree(place.job.folder, job.folder)
    return replace(place, job=job)


def test_aliases_follow_what_is_promoted_and_the_champion_before_is_kept(place):
    module.promote.fn(place.job, reported(place, None, "linear"), LOCAL, CLOCK)
    assert aliases_of(place) == {"challenger": 1}
    with pytest.raises(ServingRetryable, match="has no champion"):
        bundle.load_current(place.home.root, "demo")
    second = retrained(place, 2)
    module.promote.fn(second.job, reported(second, "linear", "linear"), LOCAL, CLOCK)
    assert aliases_of(place) == {"champion": 1}, "the same graph is the same version, and a champion ends the challenger"
    third = retrained(place, 3)
    module.promote.fn(third.job, reported(third, "lightgbm", "lightgbm"), LOCAL, CLOCK)
    assert aliases_of(place) == {"champion": 2, "previous": 1}
    digests = promoted_sha(place, "lightgbm"), promoted_sha(place, "linear")
    assert bundle.pointers(place.home.root, "demo") == digests
    fourth = retrained(place, 4)
    module.promote.fn(fourth.job, reported(fourth, None, "linear"), LOCAL, CLOCK)
    assert aliases_of(place) == {"champion": 2, "previous": 1, "challenger": 1}
    assert bundle.pointers(place.home.root, "demo") == digests, "a retrain without edge changes nothing that trades"
    assert len(runs_of(place)) == 8


def killed(monkeypatch, target, name):
    def die(*args, **kwargs):
        raise KeyboardInterrupt(name)

    monkeypatch.setattr(target, name, die)


def test_a_kill_between_bundle_and_alias_leaves_a_champion_that_trades_and_an_alias_that_the_next_run_sets(place, monkeypatch):
    report = reported(place, "linear", "linear")
    with monkeypatch.context() as broken:
        killed(broken, MlflowClient, "set_registered_model_alias")
        with pytest.raises(KeyboardInterrupt):
            module.promote.fn(place.job, report, LOCAL, CLOCK)
    assert bundle.load_current(place.home.root, "demo", live=True).sha256 == promoted_sha(place, "linear")
    assert aliases_of(place) == {}
    module.promote.fn(place.job, report, LOCAL, CLOCK)
    assert aliases_of(place) == {"champion": 1} and len(runs_of(place)) == 2


def test_a_kill_before_the_bundle_leaves_no_champion_and_no_alias_until_the_next_run(place, monkeypatch):
    report = reported(place, "linear", "linear")
    with monkeypatch.context() as broken:
        killed(broken, bundle, "write_bundle")
        with pytest.raises(KeyboardInterrupt):
            module.promote.fn(place.job, report, LOCAL, CLOCK)
    with pytest.raises(ServingRetryable, match="has no champion"):
        bundle.load_current(place.home.root, "demo")
    module.promote.fn(place.job, report, LOCAL, CLOCK)
    assert aliases_of(place) == {"champion": 1} and len(runs_of(place)) == 2


@pytest.mark.parametrize("where", ["log_figure", "set_tag"])
def test_a_kill_while_a_family_is_logged_ends_in_one_whole_run_even_when_the_next_start_is_a_day_later(place, monkeypatch, where):
    report = reported(place, None, "linear")
    honest, calls = getattr(MlflowClient, where), []

    def dying(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt(where)
        return honest(self, *args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, where, dying)
        with pytest.raises(KeyboardInterrupt):
            module.promote.fn(place.job, report, LOCAL, CLOCK)
    tomorrow = replace(report, as_of="2024-04-02")
    done = module.promote.fn(replace(place.job, as_of="2024-04-02"), tomorrow, LOCAL, CLOCK)
    runs = {run.info.run_id: run for run in runs_of(place)}
    assert set(runs) == set(done.run_ids.values()) and {run.info.status for run in runs.values()} == {"FINISHED"}
    data = runs[done.run_ids["linear"]].data
    assert data.metrics["auc"] == pytest.approx(place.result("linear").oos.auc)
    assert (data.params["as_of"], data.tags["mlflow.parentRunId"]) == ("2024-04-02", done.run_ids[""])


def test_a_verdict_that_changed_is_what_the_runs_show(place):
    report = reported(place, None, "linear")
    ids = module.promote.fn(place.job, report, LOCAL, CLOCK).run_ids
    candidates = [{**c, "passed": True, "reason": "better now"} for c in report.verdict["candidates"]]
    changed = replace(report, verdict={**report.verdict, "candidates": candidates, "summary": "all of them"})
    assert module.promote.fn(place.job, changed, LOCAL, CLOCK).run_ids == ids
    tags = {run.info.run_id: run.data.tags for run in runs_of(place)}
    assert (tags[ids["linear"]]["verdict"], tags[ids["linear"]]["reason"]) == ("passed", "better now")
    assert tags[ids[""]]["mlflow.note.content"] == "all of them"


def test_scores_that_are_not_defined_are_left_out_of_the_run(place):
    broken = replace(place.results[0], oos=replace(place.results[0].oos, auc=float("nan")), fold_auc=[float("nan"), 0.5])
    report = replace(reported(place, None, "linear"), families=[broken])
    run_id, client = module.promote.fn(place.job, report, LOCAL, CLOCK).run_ids["linear"], client_of(place)
    metrics = client.get_run(run_id).data.metrics
    assert "auc" not in metrics and metrics["skill"] == pytest.approx(broken.oos.skill)
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "fold_auc")] == [(1, 0.5)]


def test_a_user_without_a_name_can_promote_too(place, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    report = module.promote.fn(place.job, reported(place, None, "linear"), LOCAL, CLOCK)
    assert client_of(place).get_run(report.run_ids[""]).data.tags["mlflow.user"] == "unknown"


def test_a_tracking_server_that_is_away_is_worth_another_try_and_promotes_nothing_yet(fresh, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    away = MlflowSettings(tracking_uri="http://127.0.0.1:9")
    with pytest.raises(Retryable, match=r"MLflow at http://127\.0\.0\.1:9 did not do what it was asked") as error:
        module.promote.fn(fresh.job, reported(fresh, "linear"), away, CLOCK)
    assert "\n" not in str(error.value)
    with pytest.raises(ServingRetryable, match="has no champion"):
        bundle.load_current(fresh.home.root, "demo")


def test_mlflow_says_where_it_is_and_what_it_holds(tracked):
    place, _ = tracked
    said = track.answers(place.home, LOCAL)
    assert said == f"sqlite:///{place.home.mlflow_database.as_posix()} (2 experiments)"
    assert track.tracking_uri(place.home, MlflowSettings(tracking_uri="http://lab:5000")) == "http://lab:5000"


def test_nothing_is_written_outside_the_home(tracked):
    place, report = tracked
    client = client_of(place)
    for run_id in report.run_ids.values():
        assert Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")).is_relative_to(place.home.root)
    assert not (ROOT / "mlruns").exists() and not Path("mlruns").exists()


@pytest.mark.slow
def test_processes_that_meet_a_home_without_mlflow_make_it_once_and_all_find_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tasks import track; from tasks.home import Home\n"
        "from tasks.settings import MlflowSettings\n"
        "sys.stdin.readline(); print(track.answers(Home(Path(sys.argv[1])), MlflowSettings()))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT, "env": {**os.environ}}
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) for _ in range(2)]
    said = [worker.communicate("go\n", timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all("(1 experiments)" in line for line in said)
