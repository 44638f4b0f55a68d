"""Samples with a known edge, and the fits that several tests share."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo._family import Context, Params, Samples, family_names, get

EXTENSIONS = Path(__file__).parents[1] / "extensions"
FAMILIES = tuple(family_names(EXTENSIONS))
N_FEATURES, WINDOW_BARS, ROUNDS = 10, 3, 40


def planted(rows: int = 2500, seed: int = 0, edge: float = 1.0) -> Samples:
    """Two segments of `rows` bars in all. The first two of ten features move the next trade by `edge` ATR a standard deviation;
    the third lies on a coarse grid, the fourth is constant, the fifth misses a third of its values."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, N_FEATURES)).astype(np.float32)
    move = edge * (0.8 * X[:, 0] - 0.6 * X[:, 1]) + rng.standard_normal(rows)
    X[:, 2] = np.round(X[:, 2] * 20) / 20
    X[:, 3] = 1.5
    X[rng.random(rows) < 0.33, 4] = np.nan
    X[rng.random(rows) < 0.02, 0] = np.nan
    r_long, r_short = (move - 0.4).astype(np.float32), (-move - 0.4).astype(np.float32)
    label = np.where(r_long > 0, 2, np.where(r_short > 0, 0, 1)).astype(np.int8)
    starts = np.array([0, rows // 3], dtype=np.int64)
    ends_a_sample = np.ones(rows, dtype=bool)
    for start in starts:
        ends_a_sample[start : start + WINDOW_BARS - 1] = False
    weights = rng.uniform(0.2, 1.0, rows).astype(np.float32)
    return Samples(
        X, np.flatnonzero(ends_a_sample), starts, WINDOW_BARS, label, r_long, r_short, weights, move.astype(np.float32) / 100
    )


def split(samples: Samples, share: float = 0.7) -> tuple[Samples, Samples]:
    """The earlier `share` of the rows and the rest."""
    cut = int(len(samples) * share)
    return samples.take(samples.rows[:cut]), samples.take(samples.rows[cut:])


def extremes() -> Samples:
    """Rows that no market shows and that a feed's mistake may: only missing, zeros of both signs, denormals, float32's ends,
    infinities, and a mixture of all of them."""
    info = np.finfo(np.float32)
    values = np.array(
        [np.nan, 0.0, -0.0, info.smallest_subnormal, info.tiny, 1e-35, info.max, -info.max, np.inf, -np.inf], np.float32
    )
    constant_rows = np.repeat(values[:, None], N_FEATURES, axis=1)
    mixed = np.random.default_rng(5).choice(values, (300, N_FEATURES)).astype(np.float32)
    X = np.concatenate([np.zeros((WINDOW_BARS - 1, N_FEATURES), np.float32), constant_rows, mixed])
    zeros = np.zeros(len(X), np.float32)
    rows = np.arange(WINDOW_BARS - 1, len(X))
    return Samples(X, rows, np.array([0]), WINDOW_BARS, zeros.astype(np.int8), zeros, zeros, zeros + 1, zeros)


def few_rounds(name: str, rounds: int = ROUNDS) -> Params:
    """The family's defaults, with few rounds where it has rounds."""
    return {"rounds": rounds} if "rounds" in get(name, EXTENSIONS).defaults else {}


@cache
def fitted(name: str) -> Any:
    """The family's model of the planted edge, fitted once for all tests that only read it."""
    return get(name, EXTENSIONS).fit(split(planted())[0], None, few_rounds(name), seed=7, context=Context())


def exported(name: str, model: Any) -> bytes:
    """The bytes of the graph that the family writes for `model`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        get(name, EXTENSIONS).export_onnx(model, path, WINDOW_BARS, N_FEATURES)
        return path.read_bytes()


def digests() -> dict[str, str]:
    """sha256 of every family's graph."""
    return {name: hashlib.sha256(exported(name, fitted(name))).hexdigest() for name in FAMILIES}
