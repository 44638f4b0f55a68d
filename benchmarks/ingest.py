"""Rows a second into the store, beside writing the same frame as plain Parquet in the same run.

python -m benchmarks.ingest [ROWS]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

from feature_store.bars import SCHEMA
from feature_store.store import Store

KNOWN = {"origin": "benchmark", "sha256": "0" * 64, "clock_rule": "utc", "at": datetime(2100, 1, 1, tzinfo=UTC)}


def make_bars(rows: int) -> pl.DataFrame:
    """M1 bars without gaps, a random walk on a 5-digit grid."""
    random = np.random.default_rng(0)
    close = np.round(1.1 * np.exp(np.cumsum(random.normal(0, 1e-5, rows))), 5)
    open_ = np.concatenate([[1.1], close[:-1]])
    return pl.DataFrame(
        {
            "time": pl.Series((1_500_000_000 // 60 * 60 + 60 * np.arange(rows)) * 1000).cast(pl.Datetime("ms")),
            "open": open_,
            "high": np.round(np.maximum(open_, close) + 1e-5, 5),
            "low": np.round(np.minimum(open_, close) - 1e-5, 5),
            "close": close,
            "tick_volume": random.integers(1, 500, rows),
            "spread_points": random.integers(5, 30, rows).astype(np.int32),
            "real_volume": np.zeros(rows, dtype=np.int64),
        },
        schema_overrides=SCHEMA,
    )


def main(rows: int) -> None:
    bars = make_bars(rows)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.duckdb")
        parquet_s = measured("plain Parquet write", rows, lambda: bars.write_parquet(Path(folder) / "bars.parquet"))
        work: list[tuple[str, Callable[[], object]]] = [
            ("ingest, all new", lambda: store.ingest("bench", "EURUSD", "M1", bars, **KNOWN)),
            ("ingest, all the same", lambda: store.ingest("bench", "EURUSD", "M1", bars, **KNOWN)),
            (
                "ingest, all changed",
                lambda: store.ingest("bench", "EURUSD", "M1", bars.with_columns(pl.col("high") * 2), **KNOWN),
            ),
            ("undo of that", lambda: store.undo(3)),
            ("read M1", lambda: store.bars("bench", "EURUSD", "M1")),
            ("read H1, resampled", lambda: store.bars("bench", "EURUSD", "H1")),
        ]
        for name, call in work:
            print(f"{'':22} {measured(name, rows, call) / parquet_s:8.2f} x the Parquet write")


def measured(name: str, rows: int, call: Callable[[], object]) -> float:
    """Seconds of one call, printed with its rate."""
    started = perf_counter()
    call()
    seconds = perf_counter() - started
    print(f"{name:22} {seconds:8.3f} s {rows / seconds:14,.0f} rows/s")
    return seconds


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_500_000)
