"""Snapshots: immutable, content-addressed folders of arrays that training reads instead of the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from feature_store._arrays import F32, F64, I8, I64
from feature_store._errors import Final
from feature_store._snapshot_files import (
    ARRAYS,
    MANIFEST,
    PRICE_COLUMNS,
    SnapshotManifest,
    file_name,
    folder_name,
    hash_file,
    load_array,
    read_manifest,
)
from feature_store.labels import UNUSABLE, Labels, LabelSpec


@dataclass(frozen=True)
class SymbolPart:
    """One symbol's rows in time order. times_s: (n,) UTC s at which each row was known, its bar's close.
    features: (n, F) float32. segment_starts: first row of each unbroken run of bars, the first of them 0. prices:
    (n, 7) float64, columns `PRICE_COLUMNS`."""

    feed: str
    symbol: str
    times_s: I64
    features: F32
    labels: Labels
    segment_starts: I64
    prices: F64


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot: read-only arrays on disk, symbol after symbol, each in time order.

    features: (N, F) float32. times: (N,) decision moments, UTC s. symbol: (N,) index into `manifest.symbols`.
    segment_starts: first row of each segment; no window crosses one. The rest is (N,), as in `labels.Labels`.
    """

    path: Path
    manifest: SnapshotManifest
    features: F32
    times: I64
    symbol: npt.NDArray[np.int16]
    segment_starts: I64
    label: I8
    r_long: F32
    r_short: F32
    atr: F32
    next_bar_return: F32
    cost: F32
    label_end: I64
    weights: F32
    prices: F64

    @property
    def id(self) -> str:
        """Name of the folder: the first digits of its manifest's sha256."""
        return self.path.name

    def __len__(self) -> int:
        return self.manifest.rows

    def rows_since_segment_start(self) -> I64:
        """(N,) rows of the same segment that lie before each row."""
        rows = np.arange(len(self), dtype=np.int64)
        since: I64 = rows - self.segment_starts[np.searchsorted(self.segment_starts, rows, side="right") - 1]
        return since

    def window_rows(self, window_bars: int, warmup_bars: int | None = None) -> I64:
        """Rows at which a model of that window may be asked, labelled or not: all its bars lie in one segment
        and none inside warm-up (`manifest.warmup_bars` unless given)."""
        if window_bars < 1:
            raise Final(f"snapshot: a window of {window_bars} bars; it must be at least 1")
        warmup = self.manifest.warmup_bars if warmup_bars is None else warmup_bars
        rows: I64 = np.flatnonzero(self.rows_since_segment_start() >= warmup + window_bars - 1)
        return rows

    def usable_rows(self, window_bars: int, warmup_bars: int | None = None) -> I64:
        """Rows that may end a sample of that window: `window_rows` that have a label."""
        rows = self.window_rows(window_bars, warmup_bars)
        labelled: I64 = rows[self.label_end[rows] != UNUSABLE]
        return labelled


def write_snapshot(
    root: Path,
    parts: Sequence[SymbolPart],
    *,
    timeframe: str,
    feature_names: Sequence[str],
    feature_hash: str,
    warmup_bars: int,
    label_spec: LabelSpec,
    provenance: Mapping[str, Any],
) -> Path:
    """Folder below `root` that holds these rows; the existing one when the same content was written before.

    Written beside and renamed: a kill leaves no half snapshot. provenance: JSON values. Raises `Final` when the
    parts do not fit together.
    """
    _check(parts, len(feature_names))
    root.mkdir(parents=True, exist_ok=True)
    # A random name, never seen in the content: two processes may write at once.
    beside = root / f".writing-{uuid4().hex}"
    beside.mkdir()
    try:
        _write_arrays(beside, parts)
        manifest = SnapshotManifest(
            feeds=tuple(p.feed for p in parts),
            symbols=tuple(p.symbol for p in parts),
            timeframe=timeframe,
            feature_hash=feature_hash,
            feature_names=tuple(feature_names),
            warmup_bars=warmup_bars,
            label_spec=label_spec,
            span=(int(min(p.times_s[0] for p in parts)), int(max(p.times_s[-1] for p in parts))),
            rows=sum(len(p.times_s) for p in parts),
            provenance=provenance,
            files={file_name(name): hash_file(beside / file_name(name)) for name in ARRAYS},
        )
        content = manifest.to_bytes()
        (beside / MANIFEST).write_bytes(content)
        return _settle(beside, root / folder_name(content))
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def open_snapshot(path: Path) -> Snapshot:
    """The snapshot in that folder, after every byte was compared with its hashes.

    Raises `Final` naming the file that is missing or changed, or when a newer tradewind wrote it.
    """
    manifest = read_manifest(path)
    for name in map(file_name, ARRAYS):
        if not (path / name).is_file():
            raise Final(f"snapshot {path}: {name} is missing; delete the folder and make the snapshot again")
        if hash_file(path / name) != manifest.files.get(name):
            raise Final(
                f"snapshot {path}: {name} was changed after it was written; delete the folder and make the snapshot again"
            )
    return Snapshot(path=path, manifest=manifest, **{name: load_array(path / file_name(name)) for name in ARRAYS})


def _settle(beside: Path, final: Path) -> Path:
    """Give the written folder its name, or keep the one that has it already and is whole."""
    if final.exists():
        try:
            open_snapshot(final)
            return final
        except Final:
            # Damaged since: the same content is at hand, so heal it.
            shutil.rmtree(final)
    try:
        beside.rename(final)
    except OSError:
        # Another process was faster with the same content. If it is not that, open_snapshot says what it is.
        open_snapshot(final)
    return final


def _write_arrays(folder: Path, parts: Sequence[SymbolPart]) -> None:
    sizes = [len(p.times_s) for p in parts]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    # Part by part to disk: with many features this is the one array too large to hold twice.
    features = np.lib.format.open_memmap(
        folder / file_name("features"), mode="w+", dtype=ARRAYS["features"], shape=(int(offsets[-1]), parts[0].features.shape[1])
    )
    for part, start, size in zip(parts, offsets, sizes, strict=False):
        features[start : start + size] = part.features
    features.flush()
    del features  # Windows renames no folder with an open map in it
    columns = {
        "times": [p.times_s for p in parts],
        "symbol": [np.full(size, i) for i, size in enumerate(sizes)],
        "prices": [p.prices for p in parts],
        "segment_starts": [p.segment_starts + start for p, start in zip(parts, offsets, strict=False)],
        **{name: [getattr(p.labels, name) for p in parts] for name in Labels.__dataclass_fields__},
    }
    for name, pieces in columns.items():
        np.save(folder / file_name(name), np.concatenate(pieces).astype(ARRAYS[name]), allow_pickle=False)


def _check(parts: Sequence[SymbolPart], n_features: int) -> None:
    """Refuse parts that would make windows or folds wrong without anyone noticing."""
    if not parts or any(not len(p.times_s) for p in parts):
        raise Final("snapshot: there is no row to write, or a symbol without rows; give more bars or fewer symbols")
    if len({p.symbol for p in parts}) != len(parts):
        raise Final(f"snapshot: symbols {', '.join(p.symbol for p in parts)}; each may come once")
    for p in parts:
        n = len(p.times_s)
        if p.features.shape != (n, n_features) or len(p.labels) != n:
            raise Final(
                f"snapshot: {p.symbol} has features {p.features.shape} and {len(p.labels)} labels; "
                f"its {n} rows and {n_features} feature names need ({n}, {n_features}) and {n}"
            )
        if p.prices.shape != (n, len(PRICE_COLUMNS)):
            raise Final(f"snapshot: {p.symbol} has prices {p.prices.shape}; its {n} rows need ({n}, {len(PRICE_COLUMNS)})")
        if p.features.dtype != np.float32:
            raise Final(f"snapshot: {p.symbol} has features of type {p.features.dtype}; models see float32 only")
        if (np.diff(p.times_s) <= 0).any():
            raise Final(f"snapshot: the rows of {p.symbol} are not in time order; sort and deduplicate its bars")
        starts = p.segment_starts
        if not len(starts) or starts[0] != 0 or starts[-1] >= n or (np.diff(starts) <= 0).any():
            raise Final(
                f"snapshot: segment starts of {p.symbol} are {starts[:5].tolist()}...; they must rise from 0 and stay below {n}"
            )
