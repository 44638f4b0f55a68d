"""Speed of all features: a long history and the live row, beside the same features written in pandas.

    python -m benchmarks.features [--bars 1000000] [--rows 300]

Prints wall and processor time, of live rows the median and the 99th percentile, and the peak memory. On a shared
machine processor time is the one to compare.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.pandas_features import in_pandas, pandas_features
from feature_store.bars import SCHEMA, bar_close, epoch_s
from feature_store.clock import is_open_s
from feature_store.features import FeatureSet, FeatureSpec, LiveFeatures

Market = dict[str, pl.DataFrame]
POINTS = {"EURUSD": 1e-5, "USDJPY": 1e-3}
SPEC = FeatureSpec(names=None, timeframe="M1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))


def random_market(bars: int, step_s: int, seed: int = 7) -> Market:
    """`bars` bars of two symbols in open hours, a random walk on the grid of points."""
    opens = int(datetime(2021, 1, 3, tzinfo=UTC).timestamp()) + step_s * np.arange(bars * 3 // 2, dtype=np.int64)
    opens = opens[is_open_s("feed", opens)][:bars]
    random = np.random.default_rng(seed)
    market = {}
    for symbol, start in (("EURUSD", 110_000), ("USDJPY", 150_000)):
        close = start + np.cumsum(np.rint(random.standard_t(4, bars) * 8).astype(np.int64))
        open_ = np.concatenate(([start], close[:-1]))
        high, low = np.maximum(open_, close) + random.integers(0, 9, bars), np.minimum(open_, close) - random.integers(0, 9, bars)
        prices = {n: a * POINTS[symbol] for n, a in (("open", open_), ("high", high), ("low", low), ("close", close))}
        volumes = {"tick_volume": random.integers(1, 300, bars), "spread_points": random.integers(5, 30, bars).astype(np.int32)}
        time_column = pl.Series(opens * 1000).cast(pl.Datetime("ms"))
        market[symbol] = pl.DataFrame(
            {"time": time_column, **prices, **volumes, "real_volume": volumes["tick_volume"]}, schema_overrides=SCHEMA
        )
    return market


# --- timing -----------------------------------------------------------------------------------------------------


@dataclass
class Sample:
    """Wall and processor seconds of the same work, time after time."""

    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall_s.append(time.perf_counter() - wall)
        self.processor_s.append(time.process_time() - processor)

    def in_ms(self) -> str:
        """Median and 99th percentile of both, the first, which warms up, left out."""
        wall, processor = (np.percentile(np.array(s[1:]) * 1e3, [50, 99]) for s in (self.wall_s, self.processor_s))
        return f"wall {wall[0]:7.3f} / {wall[1]:7.3f} ms   processor {processor[0]:7.3f} / {processor[1]:7.3f} ms"


def live_seconds(features: FeatureSet, market: Market, rows: int, T: int) -> Sample:
    """From the newly closed M1 bars to the window, over `rows` H1 rows."""
    live = LiveFeatures(features, "EURUSD", longest_window=T)
    opens_s = epoch_s(features.compute(market, "EURUSD")["time"])[-rows:]
    times = {s: epoch_s(b["time"]) + 60 for s, b in market.items()}
    fed, sample = dict.fromkeys(market, 0), Sample()
    for known_s, open_s in zip(bar_close(opens_s, "H1"), opens_s, strict=True):
        upto = {s: int(np.searchsorted(t, known_s, side="right")) for s, t in times.items()}
        new, fed = {s: market[s][fed[s] : upto[s]] for s in market}, upto
        with sample.timed():
            live.update(new)
            live.window(int(open_s), T)
    return sample


def pandas_live_seconds(market: Market, rows: int, T: int) -> Sample:
    """The same with pandas over as many H1 bars as the set looks back, already resampled."""
    step = pd.Timedelta(hours=1)
    h1 = {s: in_pandas(b).resample("1h").agg({"open": "first", "high": "max", "low": "min", "close": "last",
          "tick_volume": "sum", "spread_points": "min"}).dropna() for s, b in market.items()}  # fmt: skip
    sample = Sample()
    for end in range(len(h1["EURUSD"]) - rows, len(h1["EURUSD"])):
        own, lead = (h1[s].iloc[max(end - 312 - T, 0) : end] for s in ("EURUSD", "USDJPY"))
        with sample.timed():
            pandas_features(own, lead, POINTS["EURUSD"], step).to_numpy(dtype=np.float32)[-T:]
    return sample


def peak_gib(bars: int) -> float:
    """Peak memory in GiB of a process of its own that makes the market and computes the features once."""
    code = (
        "import resource, sys\n"
        "from benchmarks.features import POINTS, SPEC, FeatureSet, random_market\n"
        f"FeatureSet(SPEC, points=POINTS).compute(random_market({bars}, 60), 'EURUSD')\n"
        "unit = 1 if sys.platform == 'darwin' else 1024\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=300)
    arguments = parser.parse_args()
    features, market = FeatureSet(SPEC, points=POINTS), random_market(arguments.bars, 60)
    own, lead = in_pandas(market["EURUSD"]), in_pandas(market["USDJPY"])
    minute = pd.Timedelta(minutes=1)
    print(f"history, {len(features.names)} features, {arguments.bars:,} M1 bars; best of 5 and 1")
    for who, work, repeats in (
        ("Tradewind", lambda: features.compute(market, "EURUSD"), 5),
        ("pandas", lambda: pandas_features(own, lead, POINTS["EURUSD"], minute), 1),
    ):
        sample = Sample()
        for _ in range(repeats):
            with sample.timed():
                work()
        print(f"    {who:12}wall {min(sample.wall_s):7.3f} s   processor {min(sample.processor_s):7.3f} s")
    print(f"    peak memory of a process with market and features {peak_gib(arguments.bars):.2f} GiB")
    hourly, small = FeatureSet(replace(SPEC, timeframe="H1"), points=POINTS), random_market(60_000, 60)
    for T in (1, 16):
        print(f"live row of H1 from M1, window of {T}")
        for who, sample in (
            ("Tradewind", live_seconds(hourly, small, arguments.rows, T)),
            ("pandas", pandas_live_seconds(small, arguments.rows // 10, T)),
        ):
            print(f"    {who:12}{sample.in_ms()}")


if __name__ == "__main__":
    main()
