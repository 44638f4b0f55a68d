"""Units that features are measured in, each computed once per frame and named by features as an input."""

from __future__ import annotations

import math

import polars as pl

from feature_store import atr as ranges
from feature_store.features._feature import measure
from feature_store.features._zscore import zscore

VOLATILITY_BARS = 48
PAST_BARS = 192
"""Bars that the scores of a regime are told from: eight days of H1."""
DAYS = 10
_RECENT_BARS = 12
_PATH_BARS = 24


@measure(lookback_bars=ranges.ATR_BARS + 1)
def atr(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Average true range in points."""
    return ranges.mean_true_range(high, low, close, atr_bars=ranges.ATR_BARS)


@measure(lookback_bars=2)
def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Range of the bar in points, stretched to the close before it."""
    return ranges.true_range(high, low, close)


@measure(lookback_bars=2)
def change(close: pl.Expr) -> pl.Expr:
    """Price change over one bar in points."""
    return close.diff()


@measure(lookback_bars=VOLATILITY_BARS + 1)
def volatility(close: pl.Expr) -> pl.Expr:
    """Root mean square of the one-bar price change in points. No mean is taken off: over two days it is noise."""
    return ((close.diff() ** 2).rolling_sum(VOLATILITY_BARS) / VOLATILITY_BARS).sqrt()


@measure(lookback_bars=DAYS + 1)
def volatility_of_ten(close: pl.Expr) -> pl.Expr:
    """`volatility` of the last ten bars: for days, of which 48 would be too many to wait for."""
    return ((close.diff() ** 2).rolling_sum(DAYS) / DAYS).sqrt()


@measure(lookback_bars=DAYS)
def high_of_ten(high: pl.Expr) -> pl.Expr:
    """Highest high of the last ten bars in points."""
    return high.rolling_max(DAYS)


@measure(lookback_bars=DAYS)
def low_of_ten(low: pl.Expr) -> pl.Expr:
    """Lowest low of the last ten bars in points."""
    return low.rolling_min(DAYS)


@measure(lookback_bars=PAST_BARS + _RECENT_BARS)
def volatility_score(close: pl.Expr) -> pl.Expr:
    """Standard score of the volatility of the last 12 bars in its own past, of its root: one wild day weighs less."""
    # The root of whole numbers is none itself, but bounded below and tame: the residue of its rolling sums stays
    # ten digits below its deviation, a dead market aside, where there is nothing to tell.
    return zscore((close.diff() ** 2).rolling_sum(_RECENT_BARS).sqrt().sqrt(), PAST_BARS)


@measure(lookback_bars=PAST_BARS + _PATH_BARS)
def trend_score(close: pl.Expr) -> pl.Expr:
    """Standard score of the efficiency ratio of the last 24 bars in its own past."""
    return zscore(efficiency(close, _PATH_BARS), PAST_BARS)


def efficiency(close: pl.Expr, bars: int) -> pl.Expr:
    """Distance covered over `bars` bars as a share of the path walked, 0 to 1."""
    path = close.diff().abs().rolling_sum(bars)
    # A path of no point covers none: 0, where 0 / 0 would be unknown and spoil every window that holds it.
    return close.diff(bars).abs() / path.clip(lower_bound=1)


def exponential_weights(span: int, bars: int) -> tuple[float, ...]:
    """Weights of an exponential mean of `span` over the last `bars` bars, oldest first, with a sum of 1.

    An exponential mean never forgets, so no finite lookback gives its value. Cut off after `bars` bars, what is
    left out weighs (1 - 2 / (span + 1)) ** bars, and the rest is raised to make up for it.
    """
    keep = 1 - 2 / (span + 1)
    raw = [keep**age for age in range(bars - 1, -1, -1)]
    total = math.fsum(raw)
    return tuple(weight / total for weight in raw)
