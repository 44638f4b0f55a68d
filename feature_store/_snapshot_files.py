"""What lies in a snapshot's folder: the manifest, the arrays by name, their hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store._errors import Final
from feature_store.labels import LabelSpec

SCHEMA = 1
MANIFEST = "manifest.json"
NAME_DIGITS = 24
"""Hex digits of the manifest's sha256 that name the folder: short enough for Windows paths, too many to collide."""

ARRAYS: dict[str, str] = {
    "features": "<f4",
    "times": "<i8",
    "symbol": "<i2",
    "segment_starts": "<i8",
    "label": "|i1",
    "r_long": "<f4",
    "r_short": "<f4",
    "atr": "<f4",
    "next_bar_return": "<f4",
    "cost": "<f4",
    "label_end": "<i8",
    "weights": "<f4",
    "prices": "<f8",
}
"""The arrays and their types, the same on every machine. All but segment_starts have one entry a row; features
and prices are (rows, columns)."""

PRICE_COLUMNS = ("open", "high", "low", "close", "spread", "rate_gain", "rate_loss")
"""Columns of `prices`: bid prices, what ask stands above bid (price units), and the profit currency's worth in account
currency for gains and for losses as known at the row's close. With them a backtest of a snapshot needs no store."""


@dataclass(frozen=True)
class SnapshotManifest:
    """What a snapshot says about itself. span: UTC s of the first and last row. feeds: one for each symbol.
    provenance: words about the origin of its numbers (mode, cost source, batches), shown with every result.
    files: sha256 of each array's file."""

    feeds: tuple[str, ...]
    symbols: tuple[str, ...]
    timeframe: str
    feature_hash: str
    feature_names: tuple[str, ...]
    warmup_bars: int
    label_spec: LabelSpec
    span: tuple[int, int]
    rows: int
    provenance: Mapping[str, Any]
    files: Mapping[str, str]
    schema: int = SCHEMA

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, so that equal manifests are equal bytes."""
        text = json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")


def read_manifest(folder: Path) -> SnapshotManifest:
    """Manifest of the snapshot in that folder. Raises `Final` for a newer schema or one that was changed."""
    path = folder / MANIFEST
    if not path.is_file():
        raise Final(f"snapshot {folder}: there is no {MANIFEST}; give the folder of a snapshot")
    content = path.read_bytes()
    try:
        found: dict[str, Any] = json.loads(content)
        schema = found["schema"]
    except (ValueError, TypeError, KeyError):
        raise Final(f"snapshot {folder}: {MANIFEST} is not a snapshot's manifest; make the snapshot again") from None
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise Final(f"snapshot {folder}: schema {schema!r} is not known here, the newest known is {SCHEMA}; update tradewind")
    if folder_name(content) != folder.name:
        raise Final(f"snapshot {folder}: {MANIFEST} does not hash to the folder's name; it was changed, or the folder renamed")
    odd = sorted(found.keys() ^ {f.name for f in fields(SnapshotManifest)})
    if odd:
        raise Final(f"snapshot {folder}: {MANIFEST} has missing or unknown keys: {', '.join(odd)}; make the snapshot again")
    sequences = {name: tuple(found[name]) for name in ("feeds", "symbols", "feature_names", "span")}
    return SnapshotManifest(**{**found, **sequences, "label_spec": LabelSpec(**found["label_spec"])})


def folder_name(manifest: bytes) -> str:
    """Name of the folder of a snapshot with that manifest."""
    return sha256(manifest).hexdigest()[:NAME_DIGITS]


def file_name(array: str) -> str:
    return f"{array}.npy"


def hash_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_array(path: Path) -> npt.NDArray[Any]:
    """The file's array, memory-mapped and read-only."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
