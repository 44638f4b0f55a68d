"""Files into the store, beside DuckDB's own CREATE TABLE AS SELECT of the same file in the same run.

python -m benchmarks.ingest [ROWS]

Whole: recognised, clock told, validated, deduplicated, stored. Then the store alone, and 3,000 M1 bars made into M5.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb
import numpy as np
import polars as pl

from feature_store.bars import SCHEMA, resample
from feature_store.clock import is_open_s, utc_to_server
from feature_store.store import Store
from tasks.ingest import ingest_files

KNOWN = {"origin": "benchmark", "sha256": "0" * 64, "clock_rule": "utc", "at": datetime(2100, 1, 1, tzinfo=UTC)}


ROUNDS = 5


def make_bars(rows: int) -> pl.DataFrame:
    """M1 bars of open hours, a random walk on a 5-digit grid that moves most in London's and New York's day."""
    random = np.random.default_rng(0)
    opens = 1_325_376_000 + 60 * np.arange(rows * 3 // 2 + 10_000, dtype=np.int64)
    opens = opens[is_open_s("bench", opens)][:rows]
    hour = opens // 3600 % 24
    close = np.round(1.1 * np.exp(np.cumsum(random.normal(0, 1e-5, rows) * np.where((hour >= 7) & (hour < 17), 3, 1))), 5)
    open_ = np.concatenate([[1.1], close[:-1]])
    return pl.DataFrame(
        {
            "time": pl.Series(opens * 1000).cast(pl.Datetime("ms")),
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
        whole_files(bars, Path(folder))
        the_store(bars, Path(folder))
    resampling(bars.head(3000))


def whole_files(bars: pl.DataFrame, folder: Path) -> None:
    """Seconds of the whole ingest of a csv and a Parquet on New York + 7 h, and as a multiple of DuckDB's own."""
    seconds = bars["time"].to_physical().to_numpy() // 1000
    written = bars.with_columns(pl.Series("time", utc_to_server(seconds, "ny+7") * 1000).cast(pl.Datetime("ms")))
    files = {"csv": folder / "EURUSD_M1.csv", "Parquet": folder / "EURUSD_M1.parquet"}
    written.write_csv(files["csv"], datetime_format="%Y-%m-%d %H:%M:%S")
    written.write_parquet(files["Parquet"])
    for name, file in files.items():
        ours, theirs = [], []
        for number in range(ROUNDS + 1):  # the first warms both up
            theirs.append(seconds_of(lambda to=folder / f"{name}{number}.duckdb", f=file: copy_by_duckdb(f, to)))
            ours.append(seconds_of(lambda to=folder / f"{name}{number}" / "bars.duckdb", f=file: ingest_whole(f, to)))
        ratios = sorted(a / b for a, b in zip(ours[1:], theirs[1:], strict=True))
        print(
            f"{name:8} {bars.height:,} rows: whole ingest {median(ours[1:]):.3f} s, DuckDB's copy {median(theirs[1:]):.3f} s, "
            f"{median(ratios):.2f} x (of {ROUNDS} pairs {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def copy_by_duckdb(file: Path, to: Path) -> None:
    with duckdb.connect(str(to)) as connection:
        connection.execute(f"CREATE TABLE bars AS SELECT * FROM '{file}'")


def ingest_whole(file: Path, to: Path) -> None:
    asked = {"symbol": None, "timeframe": None, "clock_rule": None, "at": KNOWN["at"], "lock_wait_s": 30.0}
    done = ingest_files.fn(to, "bench", [str(file)], **asked)
    assert [b.clock_rule for b in done.batches] == ["ny+7"], done


def the_store(bars: pl.DataFrame, folder: Path) -> None:
    """Rows a second into and out of the store, beside writing the same frame as plain Parquet."""
    rows, store = bars.height, Store(folder / "store.duckdb")
    parquet_s = measured("plain Parquet write", rows, lambda: bars.write_parquet(folder / "bars.parquet"))
    work: list[tuple[str, Callable[[], object]]] = [
        ("ingest, all new", lambda: store.ingest("bench", "EURUSD", "M1", bars, **KNOWN)),
        ("ingest, all the same", lambda: store.ingest("bench", "EURUSD", "M1", bars, **KNOWN)),
        ("ingest, all changed", lambda: store.ingest("bench", "EURUSD", "M1", bars.with_columns(pl.col("high") * 2), **KNOWN)),
        ("undo of that", lambda: store.undo(3)),
        ("reclock by two hours", lambda: store.reclock("bench", "utc+2", at=KNOWN["at"])),
        ("undo of that", lambda: store.undo(4)),
        ("read M1", lambda: store.bars("bench", "EURUSD", "M1")),
        ("read H1, resampled", lambda: store.bars("bench", "EURUSD", "H1")),
    ]
    for name, call in work:
        print(f"{'':22} {measured(name, rows, call) / parquet_s:8.2f} x the Parquet write")


def resampling(bars: pl.DataFrame) -> None:
    took = sorted(seconds_of(lambda: resample(bars, "M5")) for _ in range(200))
    print(f"{bars.height:,} M1 bars to M5: median {1000 * median(took):.2f} ms, worst of 200 {1000 * took[-1]:.2f} ms")


def seconds_of(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def measured(name: str, rows: int, call: Callable[[], object]) -> float:
    """Seconds of one call, printed with its rate."""
    seconds = seconds_of(call)
    print(f"{name:22} {seconds:8.3f} s {rows / seconds:14,.0f} rows/s")
    return seconds


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
