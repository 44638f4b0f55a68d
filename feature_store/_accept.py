"""Which rows of a source may be stored, and why the others may not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_store.bars import SCHEMA, bar_close, bar_open, conform, epoch_s

_PRICES = ("open", "high", "low", "close")
# Sources aggregate and round sides apart; a millionth of the price is far below any point size.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Sorted:
    """Rows in time order that may be stored, and how many may not, by reason."""

    accepted: pl.DataFrame
    rejects: dict[str, int]
    spreads_cleared: int  # rows kept whose negative spread is stored as unknown


def _price_reason() -> pl.Expr:
    bad_number = pl.any_horizontal(pl.col(c).is_null() | ~pl.col(c).is_finite() for c in _PRICES)
    slack = pl.col("close") * _ROUNDING
    outside = (pl.max_horizontal("open", "close") > pl.col("high") + slack) | (
        pl.min_horizontal("open", "close") < pl.col("low") - slack
    )
    return (
        pl.when(pl.col("time").is_null())
        .then(pl.lit("time unreadable"))
        .when(bad_number)
        .then(pl.lit("price missing"))
        .when(pl.min_horizontal(*_PRICES) <= 0)
        .then(pl.lit("price not positive"))
        .when(pl.col("high") < pl.col("low"))
        .then(pl.lit("high below low"))
        .when(outside)
        .then(pl.lit("open or close outside low to high"))
        .when((pl.col("tick_volume") < 0) | (pl.col("real_volume") < 0))
        .then(pl.lit("volume negative"))
    )


def _count(frame: pl.DataFrame, reason: str, rejects: dict[str, int]) -> None:
    if frame.height:
        rejects[reason] = rejects.get(reason, 0) + frame.height


def _split(frame: pl.DataFrame, bad: pl.Expr | pl.Series, reason: str, rejects: dict[str, int]) -> pl.DataFrame:
    mask = frame.select(bad.alias("bad"))["bad"] if isinstance(bad, pl.Expr) else bad
    _count(frame.filter(mask), reason, rejects)
    return frame.filter(~mask)


def sort_rows(bars: pl.DataFrame, timeframe: str, at_s: float) -> Sorted:
    """Split `bars` into rows to store and counted rejects; `at_s` (epoch s) is now: later closes are forming.

    A row is rejected for the first reason that holds: time unreadable, price missing, price not positive,
    high below low, open or close outside low to high, volume negative, time off the grid, forming, duplicate
    (same content; one copy stays), duplicate time with other content (none stays: which is right is unknown).
    """
    frame = conform(bars).with_columns(_price_reason().alias("reason"))
    rejects: dict[str, int] = {}
    bad = frame.filter(pl.col("reason").is_not_null())
    for reason, rows in bad.group_by("reason").len().sort("reason").iter_rows():
        rejects[reason] = rows
    frame = frame.filter(pl.col("reason").is_null()).select(list(SCHEMA))

    times = frame["time"].dt.epoch("ms").to_numpy()
    whole = epoch_s(frame["time"])
    off_grid = (times % 1000 != 0) | (bar_open(whole, timeframe) != whole)
    frame = _split(frame, pl.Series(off_grid), "time off the grid", rejects)
    forming = bar_close(epoch_s(frame["time"]), timeframe) > at_s
    frame = _split(frame, pl.Series(np.asarray(forming)), "forming", rejects)

    if frame["time"].is_unique().all():
        unique = frame
    else:
        unique = frame.unique(maintain_order=True)
        if frame.height > unique.height:
            rejects["duplicate"] = frame.height - unique.height
        unique = _split(unique, unique["time"].is_duplicated(), "duplicate time with other content", rejects)
    negative = unique["spread_points"] < 0
    cleared = int(negative.sum())
    kept = unique.sort("time").with_columns(
        # A bid above the ask is two sides aggregated apart, not a cost.
        pl.when(pl.col("spread_points") >= 0).then(pl.col("spread_points")).alias("spread_points")
    )
    return Sorted(kept, rejects, cleared)
