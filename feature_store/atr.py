"""Average true range: the one unit in which stops, targets, costs and many features are measured.

True range after Wilder, New Concepts in Technical Trading Systems, 1978; the mean is a simple one, because it
depends on `atr_bars` + 1 bars and no more, so that live and history agree. Sums run over whole numbers: a
rolling sum of floats drifts along a long history, one of integers does not.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_store._arrays import F64, I64
from feature_store._errors import Final

ATR_BARS = 14

# Finer than any quote, coarse enough that a sum over a million bars of a six-figure price fits 63 bits.
_STEPS_PER_PRICE_UNIT = 1e8


def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Range of each bar, stretched to the close before it. Null at the first bar, which has none before it."""
    previous = close.shift(1)
    return (high - previous).clip(lower_bound=0) - (low - previous).clip(upper_bound=0)


def mean_true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr, *, atr_bars: int) -> pl.Expr:
    """Simple mean of the true range of the last `atr_bars` bars. Inputs are Int64 counts of one step; so is the unit."""
    return true_range(high, low, close).rolling_sum(atr_bars) / atr_bars


def atr_expression(atr_bars: int = ATR_BARS) -> pl.Expr:
    """ATR in price units, known at the bar's close, over the columns high, low and close of a frame of bars.

    Null in the first `atr_bars` rows. Equal to `atr` to the last bit.
    """
    high, low, close = ((pl.col(c) * _STEPS_PER_PRICE_UNIT).round().cast(pl.Int64) for c in ("high", "low", "close"))
    return true_range(high, low, close).rolling_sum(atr_bars) * _price_of_mean(atr_bars)


def atr(high: F64, low: F64, close: F64, atr_bars: int = ATR_BARS) -> F64:
    """ATR in price units, known at the bar's close, one per bar; NaN in the first `atr_bars` rows.

    high, low, close: (n,) float64 prices of one symbol in time order.
    """
    if atr_bars < 1:
        raise Final(f"atr_bars is {atr_bars}; it counts bars, so give 1 or more")
    out = np.full(len(close), np.nan)
    if len(close) <= atr_bars:
        return out
    high_steps, low_steps, close_steps = (_steps(a) for a in (high, low, close))
    previous = close_steps[:-1]
    ranges = np.maximum(high_steps[1:], previous) - np.minimum(low_steps[1:], previous)
    total = np.concatenate(([0], np.cumsum(ranges)))
    out[atr_bars:] = (total[atr_bars:] - total[:-atr_bars]) * _price_of_mean(atr_bars)
    return out


def _price_of_mean(atr_bars: int) -> float:
    # Polars divides by a number through its reciprocal; multiplying by the same one here gives the same last bit.
    return 1 / (atr_bars * _STEPS_PER_PRICE_UNIT)


def _steps(prices: F64) -> I64:
    return np.rint(np.asarray(prices, dtype=np.float64) * _STEPS_PER_PRICE_UNIT).astype(np.int64)
