"""The last word on earlier retrains: their reports, their best parameters, the versions that made them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from model_zoo._family import Params
from tasks._errors import Final
from tasks.home import Home, read_json, write_json
from tasks.results import RetrainReport

_LIBRARIES = ("xgboost", "lightgbm", "catboost", "scikit-learn", "onnx", "onnxruntime-gpu", "polars", "numpy", "torch", "optuna")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what makes a model, as installed."""
    found: dict[str, str] = {}
    for name in ("tradewind", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def lock_hash() -> str:
    """sha256 (16 digits) of everything installed, by name and version: what the lock resolved to on this machine."""
    names = sorted(f"{d.name.lower()}=={d.version}" for d in metadata.distributions())
    return sha256("\n".join(names).encode()).hexdigest()[:16]


def _latest(home: Home, pipeline: str) -> Path:
    return home.root / "runs" / pipeline / "latest.json"


def save_report(home: Home, report: RetrainReport) -> Path:
    """Keep a retrain's report in its run folder and as the pipeline's latest."""
    path = home.run(report.pipeline, report.run_key) / "report.json"
    write_json(path, report.as_dict())
    write_json(_latest(home, report.pipeline), {"schema": 1, "run_key": report.run_key})
    return path


def latest_report(home: Home, pipeline: str) -> RetrainReport:
    """The pipeline's latest retrain. Raises `Final` when there is none."""
    pointer = read_json(_latest(home, pipeline))
    document = None if pointer is None else read_json(home.run(pipeline, str(pointer["run_key"])) / "report.json")
    if document is None:
        there = sorted(p.parent.name for p in (home.root / "runs").glob("*/latest.json"))
        raise Final(f"pipeline {pipeline!r} was never retrained in {home.root}; retrained were: {', '.join(there) or 'none'}")
    return RetrainReport.from_dict(document)


def pipelines(home: Home) -> list[str]:
    """Names of the pipelines that were retrained in this home."""
    return sorted(p.parent.name for p in (home.root / "runs").glob("*/latest.json"))


def warm_start(home: Home, pipeline: str, family: str) -> Params | None:
    """Parameters of the family in the pipeline's latest retrain, for the first trial of the next."""
    pointer = read_json(_latest(home, pipeline))
    found = None if pointer is None else read_json(home.run(pipeline, str(pointer["run_key"])) / family / "tuned.json")
    if found is None:
        return None
    params: Params = found["drawn"]
    return params
