"""A user's own features: files of the home's extensions folder, read anew whenever one was edited."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.abc import InspectLoader
from pathlib import Path
from types import CodeType, ModuleType

import polars as pl

from feature_store._errors import FeatureStoreError, Final
from feature_store.features._extension_source import Meaning, holds_a_family, holds_features
from feature_store.features._feature import COLUMNS, Feature, collecting, measure_named

_TAKEN = frozenset({*COLUMNS, "time", "known_s", "real_volume"})


@dataclass(frozen=True)
class _Loaded:
    """A file's features as of the bytes it held."""

    content: bytes
    features: tuple[Feature, ...]


_loaded: dict[Path, _Loaded] = {}
_lock = threading.Lock()


def load_extensions(folder: Path, known: Mapping[str, Feature]) -> tuple[Feature, ...]:
    """Features of all files in `folder`, by file name; none where there is no such folder.

    known: features of ours by name. Raises `Final`, with file and line, for a file that cannot be read or run,
    and for a feature that bears a name which is taken.
    """
    found: dict[str, Feature] = {}
    with _lock:
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_"):
                for feature in _features_of(file.resolve()):
                    _check_name(feature, {**known, **found})
                    found[feature.name] = feature
    return tuple(found.values())


def _features_of(file: Path) -> tuple[Feature, ...]:
    content = file.read_bytes()
    if not holds_features(content.decode("utf-8", errors="replace")):
        return ()
    held = _loaded.get(file)
    if held is None or held.content != content:
        held = _loaded[file] = _Loaded(content, _read(file, content))
    return held.features


def _read(file: Path, content: bytes) -> tuple[Feature, ...]:
    try:
        text = importlib.util.decode_source(content)
        tree = ast.parse(text, str(file))
    except SyntaxError as error:
        raise Final(f"{file}, line {error.lineno}: {type(error).__name__}: {error.msg}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise Final(f"{file}: no Python source: {error}; save it as UTF-8") from None
    if holds_a_family(text):
        raise Final(f"{file}: holds features and imports model_zoo; write features and model families in files of their own")
    found = _run(file, text)
    if not found:
        raise Final(f"{file}: imports feature_store.features and defines no feature; decorate a function with @feature")
    meaning = Meaning(tree)
    return tuple(_checked(replace(f, file=str(file), digest=meaning.of(f.function.__name__))) for f in found)


class _Source(InspectLoader):
    """Runs the very text whose meaning is hashed: a compiled file lying about may be of another."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._text, str(self._file))


def _run(file: Path, text: str) -> tuple[Feature, ...]:
    loader = _Source(file, text)
    spec = importlib.machinery.ModuleSpec(f"tradewind_features.{file.stem}", loader, origin=str(file))
    spec.has_location = True
    module: ModuleType = importlib.util.module_from_spec(spec)
    # Registered while it runs: dataclasses look their own module up by name.
    sys.modules[spec.name] = module
    try:
        with collecting() as found:
            loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything at all
        del sys.modules[spec.name]
        raise _said(file, error) from error
    return tuple(found.values())


def _checked(feature: Feature) -> Feature:
    """The feature, once its declarations have been asked for and its expression has run on a frame without rows."""
    file, line = Path(feature.file), feature.function.__code__.co_firstlineno
    try:
        lookback = feature.lookback_bars
        if isinstance(lookback, bool) or not isinstance(lookback, int) or lookback < 1:
            raise Final(f"feature {feature.name}: lookback_bars is {lookback!r}; give a whole number of bars, 1 or more")
        expression = feature.made()
        if not isinstance(expression, pl.Expr):
            raise Final(f"feature {feature.name}: gives back {type(expression).__name__}; give back a polars expression")
        pl.DataFrame(schema=_schema_of(feature)).select(expression.cast(pl.Float32).alias(feature.name))
    except Exception as error:  # a user's function may raise anything at all
        raise _said(file, error, line) from error
    return feature


def _schema_of(feature: Feature) -> dict[str, type[pl.DataType]]:
    """Types of the columns the feature reads, as a frame has them: measures are fractions, all else is whole numbers."""
    names = zip(feature.columns.values(), (i.column for i in feature.inputs), strict=True)
    return {name: pl.Int64 if measure_named(column) is None else pl.Float64 for name, column in names}


def _check_name(feature: Feature, known: Mapping[str, Feature]) -> None:
    where = f"{feature.file}, line {feature.function.__code__.co_firstlineno}: feature {feature.name}"
    if (other := known.get(feature.name)) is not None:
        owner = f"another of yours, in {other.file}" if other.file else f"a built-in feature (group {other.group})"
        raise Final(f"{where} bears the name of {owner}; rename it")
    if feature.name in _TAKEN or measure_named(feature.name) is not None:
        raise Final(f"{where} bears the name of a column; rename it")
    if feature.name.startswith("is_"):
        raise Final(f"{where}: names that begin with is_ are those of the columns that tell symbols apart; rename it")


def _said(file: Path, error: BaseException, line: int | None = None) -> Final:
    """One line: the file, the last line of it that was running, and what went wrong."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    at = frames[-1].lineno if frames else line
    what = " ".join(str(error).split()) or "no reason given"
    named = what if isinstance(error, FeatureStoreError) else f"{type(error).__name__}: {what}"
    return Final(f"{file}, line {at}: {named}")
