"""Bars: their columns, their timeframes, and how bars of one timeframe become bars of a longer one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._errors import Final
from feature_store.clock import new_york_offset_s

IntArray = npt.NDArray[np.int64]

SECONDS: dict[str, int] = {
    "M1": 60, "M2": 120, "M3": 180, "M5": 300, "M10": 600, "M15": 900, "M20": 1200, "M30": 1800,
    "H1": 3600, "H2": 7200, "H3": 10800, "H4": 14400, "H6": 21600, "H8": 28800, "H12": 43200,
    "D1": 86400, "W1": 604800,
}  # fmt: skip

SCHEMA: dict[str, pl.DataType] = {
    "time": pl.Datetime("ms"),  # OPEN time, true UTC, no zone attached
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),  # prices are BID
    "tick_volume": pl.Int64(),
    "spread_points": pl.Int32(),  # null when unknown, never 0 for unknown
    "real_volume": pl.Int64(),
}
"""Columns of every frame of bars, in this order. tick_volume, spread_points and real_volume may be null."""

# The FX week starts Sunday 17:00 New York = Monday 00:00 by New York + 7 h. Epoch day 0 was a Thursday.
_WEEK_ORIGIN_S = 4 * 86400
_SERVER_SHIFT_S = 7 * 3600


def seconds(timeframe: str) -> int:
    """Length of a bar of `timeframe` in seconds. Raises `Final` for a name not in `SECONDS`."""
    try:
        return SECONDS[timeframe]
    except KeyError:
        raise Final(f"timeframe {timeframe!r} is not known; use one of {', '.join(SECONDS)}") from None


def epoch_s(times: pl.Series) -> IntArray:
    """Datetime column as int64 epoch seconds, floored. By numpy: the same in polars is a query of 50 microseconds,
    and this stands before every live decision."""
    return times.to_numpy().astype("datetime64[s]").astype(np.int64)


def bar_open(times_s: IntArray, timeframe: str) -> IntArray:
    """Open (UTC epoch s) of the bar of `timeframe` that holds each moment.

    Bars longer than an hour are cut on New York close: H4 at 17, 21, 1, 5, 9, 13 New York, D1 at 17:00.
    """
    length = seconds(timeframe)
    times_s = np.asarray(times_s, dtype=np.int64)
    if length <= 3600:
        return times_s - times_s % length
    return _wall_to_utc(_server_bar_start(times_s, timeframe))


def bar_close(opens_s: IntArray, timeframe: str) -> IntArray:
    """Moment (UTC epoch s) at which the bar that opened at `opens_s` is known."""
    length = seconds(timeframe)
    opens_s = np.asarray(opens_s, dtype=np.int64)
    if length <= 3600:
        return opens_s + length
    return _wall_to_utc(_server_bar_start(opens_s, timeframe) + length)


def _server_bar_start(times_s: IntArray, timeframe: str) -> IntArray:
    """Wall-clock start, New York + 7 h, of the bar that holds each UTC moment."""
    wall = times_s + new_york_offset_s(times_s) + _SERVER_SHIFT_S
    origin = _WEEK_ORIGIN_S if timeframe == "W1" else 0
    return wall - (wall - origin) % seconds(timeframe)


def _wall_to_utc(wall: IntArray) -> IntArray:
    """First UTC moment at which the New York + 7 h clock shows `wall`, or jumps past it on the spring night."""
    summer = wall - _SERVER_SHIFT_S + 4 * 3600
    winter = wall - _SERVER_SHIFT_S + 5 * 3600
    return np.where(new_york_offset_s(summer) == -4 * 3600, summer, winter)


def resample(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Bars of `timeframe` made from shorter ones in time order, columns of `SCHEMA`.

    A bar exists where at least one shorter bar does. Its spread is the smallest known one, as MetaTrader
    records it. The last bar may still be forming: who calls decides by the clock which bars are known.
    """
    if bars.is_empty():
        return conform(bars)
    opens = bar_open(epoch_s(bars["time"]), timeframe)
    grouped = bars.with_columns(pl.Series("time", opens * 1000).cast(pl.Datetime("ms"))).group_by("time", maintain_order=True)
    return grouped.agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        # sum() of nothing known is 0; unknown must stay null.
        *(pl.when(pl.col(c).count() > 0).then(pl.col(c).sum()).alias(c) for c in ("tick_volume", "real_volume")),
        pl.col("spread_points").min(),
    ).select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def conform(bars: pl.DataFrame) -> pl.DataFrame:
    """Same bars with exactly the columns and types of `SCHEMA`; missing optional columns become null."""
    optional = ("tick_volume", "spread_points", "real_volume")
    missing = [c for c in SCHEMA if c not in bars.columns and c not in optional]
    if missing:
        raise Final(f"bars lack the columns {', '.join(missing)}; they need {', '.join(SCHEMA)}")
    try:
        return bars.select(
            (pl.col(name) if name in bars.columns else pl.lit(None).alias(name)).cast(dtype) for name, dtype in SCHEMA.items()
        )
    except pl.exceptions.PolarsError as error:
        kinds = ", ".join(f"{name} {dtype}" for name, dtype in bars.schema.items() if name in SCHEMA)
        raise Final(f"bars cannot be read as {', '.join(SCHEMA)}: their columns are {kinds}") from error
