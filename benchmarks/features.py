"""Speed of the 24 features: a long history and the live row, beside the same features written in pandas.

    python -m benchmarks.features [--bars 1000000] [--rows 300]

Prints wall and processor time; on a shared machine the second is the one to compare.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl

from feature_store.bars import SCHEMA, bar_close, epoch_s
from feature_store.clock import is_open_s
from feature_store.features import FeatureSet, FeatureSpec, LiveFeatures

Market = dict[str, pl.DataFrame]
POINTS = {"EURUSD": 1e-5, "USDJPY": 1e-3}


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


# --- the same in pandas -----------------------------------------------------------------------------------------


def in_pandas(bars: pl.DataFrame) -> pd.DataFrame:
    """Bars indexed by their open, UTC."""
    columns = {c: bars[c].to_numpy() for c in SCHEMA if c not in ("time", "real_volume")}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars["time"].to_numpy()).tz_localize("UTC"))


def longer_bars(bars: pd.DataFrame, hours: int) -> pd.DataFrame:
    """H4 or D1 bars cut on New York close, indexed by the moment they are known."""
    server = bars.index.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=7)
    grouped = bars.groupby(server.floor(f"{hours}h"))
    longer = grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    known = longer.index + pd.Timedelta(hours=hours - 7)
    longer.index = known.tz_localize("America/New_York").tz_convert("UTC")
    return longer


def average_true_range(bars: pd.DataFrame) -> pd.Series:
    previous = bars["close"].shift(1)
    ranges = pd.concat([bars["high"] - bars["low"], (bars["high"] - previous).abs(), (bars["low"] - previous).abs()], axis=1)
    return ranges.max(axis=1).where(previous.notna()).rolling(14).mean()


def volatility(close: pd.Series, bars: int = 48) -> pd.Series:
    return np.sqrt((close.diff() ** 2).rolling(bars).mean())


def zscore(column: pd.Series) -> pd.Series:
    rolling = column.rolling(48)
    return (column - rolling.mean()) / rolling.std(ddof=0)


def as_known(values: pd.DataFrame, known: pd.DatetimeIndex) -> pd.DataFrame:
    """Newest values known at each moment."""
    left = pd.DataFrame({"known": known})
    right = values.rename_axis("known").reset_index()
    right["known"] = right["known"].astype(left["known"].dtype)
    return pd.merge_asof(left, right, on="known").drop(columns="known")


def pandas_features(own: pd.DataFrame, lead: pd.DataFrame, point: float, step: pd.Timedelta) -> pd.DataFrame:
    """The 24 features as one writes them in pandas: own and lead bars of the set's timeframe, indexed by open."""
    close, high, low = own["close"], own["high"], own["low"]
    atr, sigma, change = average_true_range(own), volatility(close), close.diff()
    known = own.index + step
    out: dict[str, object] = {f"scaled_return_{n}": close.diff(n) / (sigma * n**0.5) for n in (1, 3, 6, 12, 24)}
    out["momentum"] = (close.rolling(12).mean() - close.rolling(48).mean()) / atr
    out["distance_to_mean"] = (close - close.rolling(20).mean()) / atr
    out["rsi"] = 100 * change.clip(lower=0).rolling(14).sum() / change.abs().rolling(14).sum()
    lowest, highest = low.rolling(24).min(), high.rolling(24).max()
    out["range_position"] = (close - lowest) / (highest - lowest)
    out["bar_body"] = (close - own["open"]) / (high - low)
    out["gap"] = (own["open"] - close.shift(1)) / atr
    out["volatility_ratio"] = volatility(close, 12) / sigma
    out["normalised_atr"] = atr / close * 10_000
    out["spread_zscore"] = zscore(own["spread_points"])
    out["spread_atr"] = own["spread_points"] * point / atr
    out["tick_volume_zscore"] = zscore(own["tick_volume"])
    new_york = known.tz_convert("America/New_York")
    turn = 2 * np.pi * (new_york.hour * 3600 + new_york.minute * 60 + new_york.second) / 86400
    out["new_york_hour_sin"], out["new_york_hour_cos"] = np.sin(turn), np.cos(turn)

    h4, d1 = longer_bars(own, 4), longer_bars(own, 24)
    of_h4 = pd.DataFrame(
        {
            "h4_return": h4["close"].diff(6) / (volatility(h4["close"]) * 6**0.5),
            "h4_distance_to_mean": (h4["close"] - h4["close"].rolling(20).mean()) / average_true_range(h4),
        }
    )
    of_d1 = d1.assign(d1_return=d1["close"].diff(5) / (volatility(d1["close"], 10) * 5**0.5))[["d1_return", "high", "low"]]
    h4_known, d1_known = as_known(of_h4, known), as_known(of_d1, known)
    out |= {name: h4_known[name].to_numpy() for name in of_h4}
    out["d1_return"] = d1_known["d1_return"].to_numpy()
    day_high, day_low = d1_known["high"].to_numpy(), d1_known["low"].to_numpy()
    out["day_before_position"] = (close - day_low) / (day_high - day_low)

    lead_close = lead["close"]
    of_lead = pd.DataFrame({"lead_return": lead_close.diff(3) / (volatility(lead_close) * 3**0.5), "close": lead_close})
    of_lead.index = of_lead.index + step
    lead_known = as_known(of_lead, known)
    out["lead_return"] = lead_known["lead_return"].to_numpy()
    lead_change = pd.Series(lead_known["close"].to_numpy(), index=own.index).diff()
    product, size = (change * lead_change).rolling(48).mean(), volatility(lead_change.cumsum().fillna(0))
    out["lead_correlation"] = product / (sigma * size)
    return pd.DataFrame(out, index=own.index)


# --- timing -----------------------------------------------------------------------------------------------------


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Best wall and processor seconds of `work`."""
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def live_seconds(features: FeatureSet, market: Market, rows: int, T: int) -> tuple[float, float]:
    """Median wall and processor seconds from the newly closed M1 bars to the window, over `rows` H1 rows."""
    live = LiveFeatures(features, "EURUSD", longest_window=T)
    opens_s = epoch_s(features.compute(market, "EURUSD")["time"])[-rows:]
    times = {s: epoch_s(b["time"]) + 60 for s, b in market.items()}
    fed, walls, processors = dict.fromkeys(market, 0), [], []
    for known_s, open_s in zip(bar_close(opens_s, "H1"), opens_s, strict=True):
        upto = {s: int(np.searchsorted(t, known_s, side="right")) for s, t in times.items()}
        new, fed = {s: market[s][fed[s] : upto[s]] for s in market}, upto
        wall, processor = time.perf_counter(), time.process_time()
        live.update(new)
        live.window(int(open_s), T)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return float(np.median(walls[1:])), float(np.median(processors[1:]))


def pandas_live_seconds(market: Market, rows: int, T: int) -> tuple[float, float]:
    """The same with pandas over as many H1 bars as the set looks back, already resampled."""
    step = pd.Timedelta(hours=1)
    h1 = {s: in_pandas(b).resample("1h").agg({"open": "first", "high": "max", "low": "min", "close": "last",
          "tick_volume": "sum", "spread_points": "min"}).dropna() for s, b in market.items()}  # fmt: skip
    walls, processors = [], []
    for end in range(len(h1["EURUSD"]) - rows, len(h1["EURUSD"])):
        own, lead = (h1[s].iloc[max(end - 312 - T, 0) : end] for s in ("EURUSD", "USDJPY"))
        wall, processor = time.perf_counter(), time.process_time()
        pandas_features(own, lead, POINTS["EURUSD"], step).to_numpy(dtype=np.float32)[-T:]
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return float(np.median(walls)), float(np.median(processors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=300)
    arguments = parser.parse_args()
    spec = FeatureSpec(names=None, timeframe="M1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))
    features, market = FeatureSet(spec, points=POINTS), random_market(arguments.bars, 60)
    own, lead = in_pandas(market["EURUSD"]), in_pandas(market["USDJPY"])
    minute = pd.Timedelta(minutes=1)
    what = f"history, {len(features.names)} features, {arguments.bars:,} M1 bars"
    lines = [
        (what, "Tradewind", *timed(lambda: features.compute(market, "EURUSD"), 5)),
        ("", "pandas", *timed(lambda: pandas_features(own, lead, POINTS["EURUSD"], minute), 2)),
    ]
    hourly, small = (
        FeatureSet(replace(spec, timeframe="H1"), points=POINTS),
        random_market(60_000, 60),
    )
    for T in (1, 16):
        lines.append((f"live row of H1 from M1, window of {T}", "Tradewind", *live_seconds(hourly, small, arguments.rows, T)))
        lines.append(("", "pandas", *pandas_live_seconds(small, arguments.rows // 3, T)))
    print(f"{'':48}{'':12}{'wall':>12}{'processor':>12}")
    for what, who, wall, processor in lines:
        unit, factor = ("s", 1.0) if wall > 0.2 else ("ms", 1e3)
        print(f"{what:48}{who:12}{wall * factor:9.3f} {unit:2}{processor * factor:9.3f} {unit:2}")


if __name__ == "__main__":
    main()
