"""MLflow: one experiment per pipeline, one parent run per retrain, a child per family, one registered model."""

from __future__ import annotations

import getpass
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import filelock
import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from feature_store.clock import Clock
from tasks import report_plots
from tasks._errors import Retryable, without_credentials
from tasks._step import step
from tasks.home import Home
from tasks.results import FamilyResult, RetrainReport
from tasks.settings import MlflowSettings

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table it makes

RUN_TAG = "tradewind.run"
_FAMILY_TAG = "tradewind.family"
_MODEL_TAG = "tradewind.model_id"


def tracking_uri(home: Home, settings: MlflowSettings) -> str:
    """The user's server, else a SQLite file in the home."""
    return settings.tracking_uri or f"sqlite:///{home.mlflow_database.as_posix()}"


@contextmanager
def client_of(home: Home, settings: MlflowSettings) -> Iterator[MlflowClient]:
    """A client of the tracking server. Raises `Retryable` when it does not answer."""
    uri = tracking_uri(home, settings)
    if not settings.tracking_uri:
        _prepare_database(home)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    try:
        yield client
    except MlflowException as error:
        said = f"MLflow at {uri} did not do what it was asked: {error.message.splitlines()[0]}"
        raise Retryable(without_credentials(said)) from error


def _prepare_database(home: Home) -> None:
    """Make the SQLite file once. Several processes that open a file that is not there yet break each other."""
    database = home.mlflow_database
    database.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(str(database) + ".lock", timeout=120):
        new = not database.exists()
        if new:
            MlflowClient(f"sqlite:///{database.as_posix()}").search_experiments(max_results=1)
            connection = sqlite3.connect(database)
            connection.execute("pragma journal_mode=wal")
            connection.close()


def experiment_id(client: MlflowClient, home: Home, settings: MlflowSettings, pipeline: str) -> str:
    """The pipeline's experiment, made on first use."""
    if (found := client.get_experiment_by_name(pipeline)) is not None:
        return str(found.experiment_id)
    location = None if settings.tracking_uri else (home.mlflow_artifacts / pipeline).as_uri()
    # Tells MLflow's pages that this is model training, not prompts and traces.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(pipeline, artifact_location=location, tags=kind))


def _find(client: MlflowClient, experiment: str, run_key: str, family: str) -> Run | None:
    query = f"tags.`{RUN_TAG}` = '{run_key}' and tags.`{_FAMILY_TAG}` = '{family}'"
    found = client.search_runs([experiment], query, max_results=1)
    return found[0] if found else None


@step("track {report.pipeline}")
def track(home_root: Path, settings: MlflowSettings, report: RetrainReport, clock: Clock, lock_hash: str) -> dict[str, str]:
    """Log a retrain; returns the run id of each family and of the parent (key ``). A run logged before is reused."""
    home = Home(home_root)
    ids: dict[str, str] = {}
    with client_of(home, settings) as client:
        experiment = experiment_id(client, home, settings, report.pipeline)
        now = int(clock.now_utc().timestamp() * 1000)
        common = {
            "snapshot": report.snapshot,
            "feed": report.feed,
            "symbols": ",".join(report.symbols),
            "timeframe": report.timeframe,
            "mode": report.mode,
            "costs": report.cost_source,
            "lock": lock_hash,
            "as_of": report.as_of,
        }
        source = {"mlflow.source.name": "tradewind retrain", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}
        parent = _find(client, experiment, report.run_key, "") or client.create_run(
            experiment,
            tags={RUN_TAG: report.run_key, _FAMILY_TAG: "", **common, **source},
            run_name=f"retrain {report.as_of}",
        )
        ids[""] = parent.info.run_id
        for result in report.families:
            child = _find(client, experiment, report.run_key, result.family)
            if child is not None and (child.info.status != "FINISHED" or _MODEL_TAG not in child.data.tags):
                # Killed halfway; logging its model alone ends a run for MLflow. What stands in it may be of another day,
                # and MLflow lets no parameter change.
                client.delete_run(child.info.run_id)
                child = None
            if child is None:
                child = client.create_run(
                    experiment,
                    tags={RUN_TAG: report.run_key, _FAMILY_TAG: result.family, "mlflow.parentRunId": ids[""], **common, **source},
                    run_name=f"{result.family} {report.as_of}",
                )
                _log_family(client, child.info.run_id, home.run(report.pipeline, report.run_key), result, common, now)
            ids[result.family] = child.info.run_id
            _tag_verdict(client, child.info.run_id, result.family, report)
        _log_parent(client, ids[""], replace(report, run_ids=ids), now)
    return ids


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unknown"


def _tag_verdict(client: MlflowClient, run_id: str, family: str, report: RetrainReport) -> None:
    """Say what fell; later families or looks may change it for a run that was logged before."""
    verdict = next(c for c in report.verdict["candidates"] if c["family"] == family)
    tags = {"verdict": "passed" if verdict["passed"] else "no edge", "reason": str(verdict["reason"])}
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])


def _log_parent(client: MlflowClient, run_id: str, report: RetrainReport, now: int) -> None:
    best = report.rows()[0]
    metrics = {"families": len(report.families), "promoted": float(report.promoted is not None), "best_oos_skill": best["skill"]}
    note = RunTag("mlflow.note.content", str(report.verdict["summary"]))
    client.log_batch(run_id, [Metric(k, float(v), now, 0) for k, v in metrics.items()], tags=[note])
    client.log_dict(run_id, {"columns": list(best), "data": [list(row.values()) for row in report.rows()]}, "leaderboard.json")
    client.log_dict(run_id, report.verdict, "verdict.json")
    client.set_terminated(run_id)


def _log_family(client: MlflowClient, run_id: str, folder: Path, result: FamilyResult, common: dict[str, str], now: int) -> None:
    # The rounds settled on, not the limit that tuning was given.
    params = {**result.params, "family": result.family, "rounds": result.rounds, "seed": result.seed, **common}
    metrics = [Metric(name, float(value), now, 0) for name, value in _metrics(result).items()]
    for fold, (auc, skill) in enumerate(zip(result.fold_auc, result.fold_skill, strict=True)):
        metrics += [Metric("fold_auc", auc, now, fold), Metric("fold_skill", skill, now, fold)]
    client.log_batch(
        run_id,
        [m for m in metrics if np.isfinite(m.value)],
        [Param(k, str(v)[:500]) for k, v in params.items()],
        [RunTag("device", result.device)],
    )
    for name, figure in report_plots.family_figures(result).items():
        client.log_figure(run_id, figure, f"plots/{name}.png")
    client.log_dict(run_id, result.decision, "decision.json")
    trials = folder / result.family / "trials.json"
    if trials.is_file():
        client.log_artifact(run_id, str(trials))
    client.set_tag(run_id, _MODEL_TAG, _log_model(run_id, folder / result.final_onnx, result))
    client.set_terminated(run_id)


def _metrics(result: FamilyResult) -> dict[str, float]:
    """Flat numbers of a family: out of sample under their own name, the holdout's prefixed."""
    flat = {k: float(v) for k, v in asdict(result.oos).items() if isinstance(v, int | float)}
    flat |= {f"holdout_{k}": float(v) for k, v in asdict(result.holdout).items() if isinstance(v, int | float)}
    return flat | {
        "latency_us": result.latency_us,
        "train_s": result.train_s,
        "onnx_parity": result.parity,
        "trials": result.trials,
    }


def _log_model(run_id: str, path: Path, result: FamilyResult) -> str:
    """Log the graph with its signature; returns the model's id.

    Requirements are said by hand: inferring them takes 15 s and names two runtimes that overwrite each other.
    """
    graph = onnx.load(str(path))
    T, F = (d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim[1:])
    inputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype(np.float32), (-1, T, F), "window")]
    if len(graph.graph.input) > 1:
        inputs.append(TensorSpec(np.dtype(np.float32), (-1, 1), "position"))
    signature = ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype(np.float32), (-1, 3), "probabilities")]))
    with warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        warnings.simplefilter("ignore")  # MLflow's own deprecations; nothing of ours can mend them
        logged = mlflow.onnx.log_model(
            graph,
            name=result.family,
            signature=signature,
            pip_requirements=["onnxruntime-gpu==1.31.1", "numpy"],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,  # otherwise log_model changes the graph it is given
        )
    return str(logged.model_id)


@step("register {pipeline}")
def register(home_root: Path, settings: MlflowSettings, pipeline: str, run_id: str, onnx_path: Path, aliases: list[str]) -> str:
    """Register the model that `run_id` logged as a version of the pipeline's model and point `aliases` at it.

    Returns the version. The version carries the sha256 of `onnx_path`, the promoted bundle's graph; the same
    graph again gives the same version.
    """
    digest = sha256(onnx_path.read_bytes()).hexdigest()
    with client_of(Home(home_root), settings) as client:
        try:
            client.get_registered_model(pipeline)
        except MlflowException:
            client.create_registered_model(pipeline, description="Champion and challengers of this pipeline, one ONNX contract.")
        known = [v for v in client.search_model_versions(f"name = '{pipeline}'") if v.tags.get("sha256") == digest]
        if known:
            version = known[0]
        else:
            model_id = client.get_run(run_id).data.tags[_MODEL_TAG]
            version = client.create_model_version(
                pipeline, f"models:/{model_id}", run_id, tags={"sha256": digest}, model_id=model_id
            )
        for alias in aliases:
            if alias == "champion":
                _keep_previous(client, pipeline, str(version.version))
                client.delete_registered_model_alias(pipeline, "challenger")
            client.set_registered_model_alias(pipeline, alias, str(version.version))
    return str(version.version)


def _keep_previous(client: MlflowClient, pipeline: str, new: str) -> None:
    """Point `previous` at the champion that is about to step down."""
    champion = client.get_registered_model(pipeline).aliases.get("champion")
    if champion is not None and str(champion) != new:
        client.set_registered_model_alias(pipeline, "previous", str(champion))


def answers(home: Home, settings: MlflowSettings) -> str:
    """What `doctor` says of MLflow: its address when it answers. Raises `Retryable` when it does not."""
    with client_of(home, settings) as client:
        count = len(client.search_experiments())
    return f"{tracking_uri(home, settings)} ({count} experiments)"
