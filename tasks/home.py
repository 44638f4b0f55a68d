"""The home: where everything a user's pipelines know is kept, and under which name."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """Paths inside one TRADEWIND_HOME. Nothing is made until something is written."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "bars.duckdb"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def extensions(self) -> Path:
        return self.root / "extensions"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def quality(self) -> Path:
        """Quality pages, one for each series."""
        return self.reports / "quality"

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.sqlite"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow-artifacts"

    def study(self, pipeline: str, family: str) -> Path:
        """Optuna's journal of that family in that pipeline."""
        return self.root / "studies" / pipeline / f"{family}.journal"

    def run(self, pipeline: str, run_key: str) -> Path:
        """Results of one retrain, kept so that a killed one goes on where it stopped."""
        return self.root / "runs" / pipeline / run_key


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document whole or not at all. JSON has no NaN: an undefined number is written as null."""
    finite = json.loads(json.dumps(document), parse_constant=lambda _: None)
    write_text(path, json.dumps(finite, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The document, or None when it is not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    document: dict[str, Any] = json.loads(text)
    return document
