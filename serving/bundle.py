"""Champion bundles: the graph that may trade, kept under the home and checked by its hash before use.

    <home>/champions/<pipeline>/<sha256 of model.onnx>/{model.onnx, manifest.json, promotion.json}
    <home>/champions/<pipeline>/current       names the folder that trades, and the one before it
    <home>/champions/<pipeline>/practice      the same for a model that passed no gate; refused in live

Works with plain files only: no MLflow, no database.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from serving._errors import Final, Retryable

SCHEMA = 1
Alias = Literal["champion", "practice"]
_POINTERS: dict[Alias, str] = {"champion": "current", "practice": "practice"}


@dataclass(frozen=True)
class Promotion:
    """Who promoted which bytes, when, and on what grounds."""

    pipeline: str
    model_sha256: str
    manifest_sha256: str
    gated: bool  # passed the statistical gate
    verdict: str
    promoted_at: str  # ISO 8601, UTC
    promoted_by: str
    run_id: str | None = None  # MLflow's, for people
    schema: int = SCHEMA


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files equal its promotion record."""

    folder: Path
    promotion: Promotion
    manifest: Mapping[str, Any]
    model: bytes
    alias: Alias = "champion"

    @property
    def sha256(self) -> str:
        return self.promotion.model_sha256


def write_bundle(
    home: Path,
    pipeline: str,
    model: bytes,
    manifest: Mapping[str, Any],
    *,
    gated: bool,
    verdict: str,
    promoted_at: str,
    promoted_by: str,
    run_id: str | None = None,
) -> Bundle:
    """The bundle as read back from disk. The folder appears whole or not at all; writing it again is free."""
    manifest_bytes = _canonical(manifest)
    digest = sha256(model).hexdigest()
    promotion = Promotion(
        pipeline=_checked_name(pipeline),
        model_sha256=digest,
        manifest_sha256=sha256(manifest_bytes).hexdigest(),
        gated=gated,
        verdict=verdict,
        promoted_at=promoted_at,
        promoted_by=promoted_by,
        run_id=run_id,
    )
    root = _root(home, pipeline)
    root.mkdir(parents=True, exist_ok=True)
    folder = root / digest
    if folder.exists():
        # The same bytes may be promoted again on better grounds: only the record is replaced.
        _replace(folder / "promotion.json", _canonical(asdict(promotion)))
        return load_bundle(folder)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=root))
    try:
        _replace(temporary / "model.onnx", model)
        _replace(temporary / "manifest.json", manifest_bytes)
        _replace(temporary / "promotion.json", _canonical(asdict(promotion)))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load_bundle(folder)


def promote(home: Path, pipeline: str, digest: str, *, alias: Alias = "champion") -> str | None:
    """Makes the bundle `digest` the one that trades, atomically; gives back the digest that traded before."""
    bundle = load_bundle(_root(home, pipeline) / digest)
    if alias == "champion" and not bundle.promotion.gated:
        raise Final(f"{pipeline}: model {digest[:12]} passed no gate and cannot become champion; promote it as practice")
    before, previous = pointers(home, pipeline, alias=alias)
    if before == digest:
        return previous
    pointer = {"schema": SCHEMA, "folder": digest, "previous": before}
    _replace(_root(home, pipeline) / _POINTERS[alias], _canonical(pointer))
    return before


def pointers(home: Path, pipeline: str, *, alias: Alias = "champion") -> tuple[str | None, str | None]:
    """(digest that trades, digest before it); None where there is none yet."""
    path = _root(home, pipeline) / _POINTERS[alias]
    if not path.exists():
        return None, None
    pointer = _read_json(path)
    folder, previous = pointer.get("folder"), pointer.get("previous")
    if not isinstance(folder, str) or not isinstance(previous, str | None):
        raise Final(f"{path}: names no folder; promote a model again")
    return folder, previous


def load_current(home: Path, pipeline: str, *, alias: Alias = "champion", live: bool = False) -> Bundle:
    """The verified bundle that trades. Raises `Retryable` when none was promoted yet, `Final` when a file
    was changed, or when a live account would trade a model that passed no gate."""
    digest, _ = pointers(home, pipeline, alias=alias)
    if digest is None:
        raise Retryable(f"pipeline {pipeline!r} has no {alias}: run `tradewind retrain`; it trades only what passes the gate")
    bundle = load_bundle(_root(home, pipeline) / digest, alias=alias)
    if live and not bundle.promotion.gated:
        raise Final(f"{pipeline}: model {digest[:12]} passed no gate and is refused on a live account; promote a champion")
    return bundle


def load_bundle(folder: Path, *, alias: Alias = "champion") -> Bundle:
    """The bundle in `folder`. Raises `Final` when any byte differs from what was promoted."""
    try:
        promotion = _promotion(folder / "promotion.json")
        model = (folder / "model.onnx").read_bytes()
        manifest_bytes = (folder / "manifest.json").read_bytes()
    except FileNotFoundError as error:
        raise Final(f"bundle {folder.name[:12]} lacks {Path(str(error.filename)).name}; promote the model again") from None
    checks = (("model.onnx", model, promotion.model_sha256), ("manifest.json", manifest_bytes, promotion.manifest_sha256))
    for name, content, expected in checks:
        found = sha256(content).hexdigest()
        if found != expected:
            raise Final(f"{folder.name[:12]}/{name}: sha256 {found[:12]} is not the promoted {expected[:12]}; promote it again")
    if folder.name != promotion.model_sha256 or folder.parent.name != promotion.pipeline:
        raise Final(f"bundle {folder.name[:12]} holds a model promoted for {promotion.pipeline!r}; promote the model again")
    manifest: dict[str, Any] = json.loads(manifest_bytes)
    return Bundle(folder=folder, promotion=promotion, manifest=manifest, model=model, alias=alias)


def _promotion(path: Path) -> Promotion:
    record = _read_json(path)
    try:
        return Promotion(**record)
    except TypeError as error:
        raise Final(f"{path.parent.name[:12]}/promotion.json: {error}; promote the model again") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise Final(f"{path}: is not JSON; promote a model again") from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise Final(f"{path}: carries no integer schema; promote a model again")
    if document["schema"] > SCHEMA:
        raise Final(f"{path}: schema {document['schema']} is newer than {SCHEMA}; update tradewind")
    return document


def _root(home: Path, pipeline: str) -> Path:
    return home / "champions" / _checked_name(pipeline)


def _checked_name(pipeline: str) -> str:
    # The name becomes a folder, on Windows too.
    if not pipeline or not all(c.isalnum() or c in "-_." for c in pipeline) or pipeline.startswith("."):
        raise Final(f"pipeline name {pipeline!r}: use letters, digits, '-', '_' and '.', not starting with a dot")
    return pipeline


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
