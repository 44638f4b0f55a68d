"""Oscillators: where the price swings within bounds of its own making."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._zscore import zscore


@feature(lookback_bars=20)
def bollinger_position(close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Close less its moving average, in standard deviations: 2 at the upper Bollinger band, -2 at the lower.

    Bollinger, Bollinger on Bollinger Bands, 2001.
    """
    return zscore(close, lookback_bars)


@feature(lookback_bars=14)
def cci(high: pl.Expr, low: pl.Expr, close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Commodity channel index: typical price less its mean, in mean deviations of 0.015.

    Lambert, Commodity channel index, Commodities 1980.
    """
    typical = high + low + close
    total = typical.rolling_sum(lookback_bars)
    # Three times the price and `lookback_bars` times the mean: whole numbers until the one division.
    off = ((typical.shift(age) * lookback_bars - total).abs() for age in range(lookback_bars))
    return (typical * lookback_bars - total) / (reduce(add, off) * (0.015 / lookback_bars))


@feature(lookback_bars=lambda range_bars: range_bars + 1, range_bars=14)
def choppiness(high: pl.Expr, low: pl.Expr, true_range: pl.Expr, *, range_bars: int) -> pl.Expr:
    """Choppiness index: path walked against the range it stayed in, on a scale of 0 (one way) to 100 (to and fro).

    Dreiss, 1993; no printed source of his own is known.
    """
    span = high.rolling_max(range_bars) - low.rolling_min(range_bars)
    return (true_range.rolling_sum(range_bars) / span).log() * (100 / math.log(range_bars))
