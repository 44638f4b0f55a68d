"""Calendar: the moment at which the bar is known, in the New York day, the only clock in which the FX day stands still."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import polars as pl

from feature_store.features._column import Column
from feature_store.features._feature import feature

_DAY_S = 86400
_TO_MIDNIGHT_S = 7 * 3600
"""From the end of the trading day, 17:00 New York, to the end of the calendar day."""


@feature(lookback_bars=1)
def new_york_hour_sin(new_york_s: pl.Expr) -> pl.Expr:
    """Sine of the time of the New York day at the bar's close: 1 at 6:00, -1 at 18:00."""
    return (new_york_s % _DAY_S * (2 * math.pi / _DAY_S)).sin()


@feature(lookback_bars=1)
def new_york_hour_cos(new_york_s: pl.Expr) -> pl.Expr:
    """Cosine of the time of the New York day at the bar's close: 1 at midnight, -1 at noon."""
    return (new_york_s % _DAY_S * (2 * math.pi / _DAY_S)).cos()


@feature(lookback_bars=1, open_hour=19)
def minutes_since_tokyo(new_york_s: pl.Expr, *, open_hour: int) -> pl.Expr:
    """Minutes since Tokyo opened, 0 to 1439: at 19:00 New York, 9:00 there (10:00 while New York has summer time)."""
    return _minutes_since(new_york_s, open_hour)


@feature(lookback_bars=1, open_hour=3)
def minutes_since_london(new_york_s: pl.Expr, *, open_hour: int) -> pl.Expr:
    """Minutes since London opened, 0 to 1439: at 3:00 New York, 8:00 there but for the weeks between the clock changes."""
    return _minutes_since(new_york_s, open_hour)


@feature(lookback_bars=1, open_hour=8)
def minutes_since_new_york(new_york_s: pl.Expr, *, open_hour: int) -> pl.Expr:
    """Minutes since New York opened, 0 to 1439: at 8:00 there."""
    return _minutes_since(new_york_s, open_hour)


def _minutes_since(new_york_s: pl.Expr, hour: int) -> pl.Expr:
    return (new_york_s - hour * 3600) % _DAY_S / 60


@feature(lookback_bars=1)
def day_of_week(new_york_s: pl.Expr) -> pl.Expr:
    """Trading day of the week, 0 on Monday to 4 on Friday: each from 17:00 New York on the eve to 17:00."""
    # Day 0 of the epoch was a Thursday.
    return (_trading_day(new_york_s) + 3) % 7


@feature(lookback_bars=1)
def days_to_month_end(new_york_s: pl.Expr) -> pl.Expr:
    """Calendar days from the trading day to the last of its month, 0 to 30: funds trade their hedges at the end."""
    day = cast("pl.Expr | Column", _trading_day(new_york_s))
    if isinstance(day, Column):
        date = day.values.astype(np.int64).astype("datetime64[D]")
        end = (date.astype("datetime64[M]") + 1).astype("datetime64[D]")
        return cast("pl.Expr", Column((end - date).astype(np.float64) - 1))
    date_of = day.cast(pl.Int32).cast(pl.Date)
    return (date_of.dt.month_end() - date_of).dt.total_days()


def _trading_day(new_york_s: pl.Expr) -> pl.Expr:
    """Day of the epoch that the second before the bar's close belongs to."""
    return (new_york_s + (_TO_MIDNIGHT_S - 1)) // _DAY_S
