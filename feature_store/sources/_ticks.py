"""Ticks become bars of one minute: prices of the bid, a count, and the middle of the spreads that can be true."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from feature_store.bars import SCHEMA

_MINUTE = pl.col("time").dt.truncate("1m")


@dataclass
class TickTally:
    """What was counted on the way."""

    ticks: int = 0
    crossed: int = 0
    zero: int = 0

    def note(self) -> str:
        """One line for the user."""
        counted = f"{self.ticks:,} ticks made into M1 bars"
        if not self.crossed and not self.zero:
            return counted
        return f"{counted}; {self.crossed:,} crossed and {self.zero:,} zero-spread quotes left out of the spread"


def minute_bars(frames: Iterable[pl.DataFrame], point: float, tally: TickTally) -> Iterator[pl.DataFrame]:
    """Bars of M1 (columns of `bars.SCHEMA` and `source_row` of the first tick) from ticks in the order of the file.

    frames: time, bid, ask, source_row. tick_volume: ticks with a bid. spread_points: median of the positive spreads
    of the minute, null when it has none. A tick without time or bid price becomes a row of its own that has none
    either, so that the store counts it. The last minute of a frame waits for the next one.
    """
    waiting: pl.DataFrame | None = None
    for frame in frames:
        ticks = frame if waiting is None else pl.concat([waiting, frame])
        open_minute = pl.col("time").is_not_null() & (_MINUTE.max() == _MINUTE)
        waiting = ticks.filter(open_minute)
        done = ticks.filter(~open_minute)
        if done.height:
            yield _minutes(done, point, tally)
    if waiting is not None and waiting.height:
        yield _minutes(waiting, point, tally)


def _minutes(ticks: pl.DataFrame, point: float, tally: TickTally) -> pl.DataFrame:
    usable = pl.col("time").is_not_null() & pl.col("bid").is_finite() & (pl.col("bid") > 0)
    good = ticks.filter(usable.fill_null(False))
    spread = pl.col("ask") - pl.col("bid")
    quoted = good.filter(pl.col("ask").is_finite() & (pl.col("ask") > 0))
    tally.ticks += ticks.height
    tally.crossed += int(quoted.select((spread < 0).sum()).item())
    tally.zero += int(quoted.select((spread == 0).sum()).item())
    if not good["time"].is_sorted():
        good = good.sort("time", maintain_order=True)
    in_points = (spread / point).filter((pl.col("ask") > 0) & pl.col("ask").is_finite() & (spread > 0))
    bars = good.group_by(_MINUTE.alias("time"), maintain_order=True).agg(
        pl.col("bid").first().alias("open"),
        pl.col("bid").max().alias("high"),
        pl.col("bid").min().alias("low"),
        pl.col("bid").last().alias("close"),
        pl.len().alias("tick_volume"),
        in_points.median().round(0).alias("spread_points"),
        pl.col("source_row").first(),
    )
    bad = ticks.filter(~usable.fill_null(False)).select("time", "source_row")
    return pl.concat([_conformed(bars), _conformed(bad)])


def _conformed(frame: pl.DataFrame) -> pl.DataFrame:
    columns = {**SCHEMA, "source_row": pl.Int64()}
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype) for name, dtype in columns.items()
    )
