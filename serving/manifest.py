"""What a model file says about itself: one typed record in one metadata key of the ONNX graph."""

from __future__ import annotations

import difflib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from serving._errors import Final
from serving.decision import BARRIER, LOTS, RISK, TARGET, DecisionSpec

SCHEMA = 1
KEY = "tradewind"
COST_SOURCES = ("broker", "user", "assumed")
MODES = ("simulated", "paper", "real")
_MODE_WORDS = {BARRIER: "barrier", TARGET: "target"}
_SIZING_WORDS = {RISK: "risk", LOTS: "lots"}


@dataclass(frozen=True)
class ThresholdOrigin:
    """Which rows chose the thresholds of the decision spec. span: first and last decision time, epoch seconds UTC."""

    chosen_on: str
    rows: int
    span: tuple[int, int]


@dataclass(frozen=True)
class Manifest:
    """Everything a model needs to be used rightly by code that did not train it.

    feeds: the feeds it learned from. features: input columns in order, `feature_hash` their meaning. context: symbols
    joined as context. window_bars: T. label: the label spec by field name. training_span: first and last decision time of
    the training rows, epoch seconds UTC. cost_source: broker, user or assumed. mode: simulated, paper or real market.
    rounds: trees or epochs of the refit, None where the word means nothing. created: ISO 8601 in UTC.
    """

    pipeline: str
    family: str
    feeds: tuple[str, ...]
    feature_hash: str
    features: tuple[str, ...]
    context: tuple[str, ...]
    timeframe: str
    base_timeframe: str
    window_bars: int
    symbols: tuple[str, ...]
    label: Mapping[str, Any]
    decision: DecisionSpec
    thresholds: ThresholdOrigin
    training_span: tuple[int, int]
    snapshot: str
    params: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str]
    account_currency: str
    cost_source: str
    mode: str
    rounds: int | None
    created: str
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, no NaN or infinity. The same manifest always gives the same text."""
        document: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        document["decision"] = decision_to_json(self.decision)
        document["thresholds"] = vars(self.thresholds)
        try:
            return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=_plain)
        except (TypeError, ValueError) as error:
            raise Final(f"manifest of {self.pipeline}/{self.family} cannot be written as JSON: {error}") from error


def from_json(text: str) -> Manifest:
    """The manifest in `text`. Raises `Final` naming the first key that is newer, missing, unknown or of a wrong kind."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Final(f"manifest is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Final(f"manifest must be a JSON object, it is {type(document).__name__}")
    _check_schema(document.get("schema"))
    _check_keys(document, {f.name for f in fields(Manifest)}, "manifest")
    for key, kind in _KINDS.items():
        document[key] = kind(key, document[key])
    for key, allowed in (("cost_source", COST_SOURCES), ("mode", MODES)):
        if document[key] not in allowed:
            raise Final(f"manifest key {key!r} is {document[key]!r}; it must be one of {', '.join(allowed)}")
    return Manifest(**document)


def stamp(path: Path, manifest: Manifest) -> None:
    """Write `manifest` into the ONNX file at `path`, atomically. The graph keeps its bytes; older metadata goes."""
    import onnx  # the live process reads manifests through onnxruntime and never needs this package

    text = manifest.to_json()
    from_json(text)  # what cannot be read back must not be written
    model = onnx.load_model(str(path), load_external_data=False)
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=text)
    _replace(path, model.SerializeToString(deterministic=True))


def read_manifest(path: Path) -> Manifest:
    """The manifest inside the ONNX file at `path`. Raises `Final` when it has none or one that cannot be trusted."""
    from serving.model import OnnxModel

    return OnnxModel.load(path).manifest


def decision_to_json(spec: DecisionSpec) -> dict[str, Any]:
    """The decision spec by field name, with words for mode and sizing."""
    return {**spec._asdict(), "mode": _MODE_WORDS[spec.mode], "sizing": _SIZING_WORDS[spec.sizing]}


def decision_from_json(key: str, value: Any) -> DecisionSpec:
    """The decision spec back from its JSON form."""
    given = _mapping(key, value)
    _check_keys(given, set(DecisionSpec._fields), f"manifest {key}")
    names = DecisionSpec._fields
    numbers = {name: _number(f"{key}.{name}", given[name]) for name in names if name not in ("mode", "sizing", "horizon_bars")}
    return DecisionSpec(
        mode=_code(f"{key}.mode", given["mode"], _MODE_WORDS),
        sizing=_code(f"{key}.sizing", given["sizing"], _SIZING_WORDS),
        horizon_bars=_positive(f"{key}.horizon_bars", given["horizon_bars"]),
        **numbers,
    )


def _check_schema(schema: Any) -> None:
    if schema is None:
        raise Final("manifest has no key 'schema'; it was not written by Tradewind")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise Final(f"manifest schema is {schema!r}; it must be a whole number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise Final(f"manifest schema {schema} is newer than {SCHEMA}, the newest this version reads; update Tradewind")


def _check_keys(given: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in sorted(given.keys() - known):
        near = difflib.get_close_matches(key, known, n=1)
        raise Final(f"{where} has an unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    for key in sorted(known - given.keys()):
        raise Final(f"{where} has no key {key!r}; register the model again")


def _plain(value: Any) -> Any:
    """Numpy scalars and read-only mappings as plain JSON values."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


def _wrong(key: str, value: Any, allowed: str) -> Final:
    return Final(f"manifest key {key!r} is {value!r}; it must be {allowed}")


def _word(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(key, value, "a word")
    return value


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, value, "a whole number")
    return value


def _positive(key: str, value: Any) -> int:
    if _whole(key, value) < 1:
        raise _wrong(key, value, "1 or more")
    return int(value)


def _rounds(key: str, value: Any) -> int | None:
    return None if value is None else _whole(key, value)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(key, value, "a finite number")
    return float(value)


def _words(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise _wrong(key, value, "a list of words")
    return tuple(value)


def _some_words(key: str, value: Any) -> tuple[str, ...]:
    words = _words(key, value)
    if not words or len(set(words)) != len(words):
        raise _wrong(key, value, "a list of one or more words, none twice")
    return words


def _span(key: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or _whole(key, value[0]) > _whole(key, value[1]):
        raise _wrong(key, value, "two epoch seconds, the earlier first")
    return value[0], value[1]


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(key, value, "an object")
    return value


def _versions(key: str, value: Any) -> dict[str, str]:
    return {name: _word(f"{key}.{name}", v) for name, v in _mapping(key, value).items()}


def _code(key: str, word: Any, words: Mapping[int, str]) -> int:
    for code, known in words.items():
        if word == known:
            return code
    raise _wrong(key, word, " or ".join(words.values()))


def _origin(key: str, value: Any) -> ThresholdOrigin:
    given = _mapping(key, value)
    _check_keys(given, {f.name for f in fields(ThresholdOrigin)}, f"manifest {key}")
    chosen_on = _word(f"{key}.chosen_on", given["chosen_on"])
    if chosen_on == "holdout":
        raise Final("manifest thresholds were chosen on the holdout, which then proves nothing; choose them on validation rows")
    return ThresholdOrigin(chosen_on, _whole(f"{key}.rows", given["rows"]), _span(f"{key}.span", given["span"]))


_KINDS = {
    "pipeline": _word,
    "family": _word,
    "feeds": _some_words,
    "feature_hash": _word,
    "features": _some_words,
    "context": _words,
    "timeframe": _word,
    "base_timeframe": _word,
    "window_bars": _positive,
    "symbols": _some_words,
    "label": _mapping,
    "decision": decision_from_json,
    "thresholds": _origin,
    "training_span": _span,
    "snapshot": _word,
    "params": _mapping,
    "seed": _whole,
    "versions": _versions,
    "account_currency": _word,
    "cost_source": _word,
    "mode": _word,
    "rounds": _rounds,
    "created": _word,
}


def _replace(path: Path, content: bytes) -> None:
    """Whole new content or the old one, never half: temp file beside the target, then a rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
