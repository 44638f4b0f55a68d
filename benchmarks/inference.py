"""Prints what one row costs: each family's graph in ONNX Runtime on one thread, beside the library's own `predict`.

Run from the repository: `python -m benchmarks.inference [--rounds 300] [--features 24] [--calls 3000]`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when a library is loaded: before the imports below

import numpy as np

from model_zoo._family import Context, Samples, family_names, get
from model_zoo._parity import parity
from serving.model import OnnxModel

WINDOW_BARS = 16


def market_like(rows: int, features: int, seed: int = 0) -> Samples:
    """Noise with a faint edge in the first feature and 3 % missing values."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features)).astype(np.float32)
    move = (0.15 * X[:, 0] + rng.standard_normal(rows)).astype(np.float32)
    X[rng.random(X.shape) < 0.03] = np.nan
    label = np.where(move > 0.4, 2, np.where(move < -0.4, 0, 1)).astype(np.int8)
    usable, ones = np.arange(WINDOW_BARS - 1, rows), np.ones(rows, np.float32)
    return Samples(X, usable, np.array([0]), WINDOW_BARS, label, move, -move, ones, move)


def microseconds(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """p50 and p99 of `calls` calls after a tenth as many to warm up."""
    for _ in range(calls // 10):
        call()
    spent = np.empty(calls)
    for i in range(calls):
        started = time.perf_counter()
        call()
        spent[i] = time.perf_counter() - started
    return float(np.percentile(spent, 50)) * 1e6, float(np.percentile(spent, 99)) * 1e6


def main() -> None:
    """One line a family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--features", type=int, default=24)
    parser.add_argument("--calls", type=int, default=3000)
    asked = parser.parse_args()
    samples = market_like(6000, asked.features)
    one = samples.take(samples.rows[:1])
    window = one.windows()  # gathered once, as `one.X` is: what is timed is the model alone
    print("family     rounds     kB  onnx p50   p99 us  native p50  ratio  max |dp|  train s")
    for name in family_names():
        family = get(name)
        params = {"rounds": asked.rounds} if "rounds" in family.defaults else {}
        started = time.perf_counter()
        model = family.fit(samples, None, params, seed=1, context=Context())
        train_s = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            family.export_onnx(model, path, WINDOW_BARS, asked.features)
            content = path.read_bytes()
        graph = OnnxModel.load(content)
        difference = parity(family, model, graph.probabilities, samples).max_abs
        p50, p99 = microseconds(partial(graph.probabilities, window), asked.calls)
        native, _ = microseconds(partial(family.predict, model, one), max(asked.calls // 10, 20))
        print(
            f"{name:10} {family.rounds(model) or '-':>6} {len(content) / 1024:6.0f} {p50:9.1f} {p99:8.1f} {native:11.1f} "
            f"{native / p50:6.1f} {difference:9.1e} {train_s:8.2f}"
        )


if __name__ == "__main__":
    main()
