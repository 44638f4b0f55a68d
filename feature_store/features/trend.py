"""Trend: where the price goes, how far it has run from its mean, and whether it goes anywhere at all."""

from __future__ import annotations

from functools import cache

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._measures import efficiency, exponential_weights

_ROWS = 2**24


@feature(lookback_bars=lambda slow_bars: slow_bars, fast_bars=12, slow_bars=48)
def momentum(close: pl.Expr, atr: pl.Expr, *, fast_bars: int, slow_bars: int) -> pl.Expr:
    """Fast moving average less the slow one, in ATR: MACD without smoothing."""
    return (close.rolling_sum(fast_bars) / fast_bars - close.rolling_sum(slow_bars) / slow_bars) / atr


@feature(lookback_bars=20)
def distance_to_mean(close: pl.Expr, atr: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Close less its moving average, in ATR."""
    return (close - close.rolling_sum(lookback_bars) / lookback_bars) / atr


@feature(lookback_bars=lambda rsi_bars: rsi_bars + 1, rsi_bars=14)
def rsi(change: pl.Expr, *, rsi_bars: int) -> pl.Expr:
    """Relative strength index, 0 to 100, from plain sums (Cutler's): share of the path that went up."""
    # Wilder's own smoothing never forgets; a plain sum needs exactly its own bars, live as in history.
    return 100 * change.clip(lower_bound=0).rolling_sum(rsi_bars) / change.abs().rolling_sum(rsi_bars)


@feature(
    lookback_bars=lambda line_bars, signal_bars: line_bars + signal_bars - 1,
    fast=12, slow=26, signal=9, line_bars=120, signal_bars=40,
)  # fmt: skip
def macd_histogram(
    close: pl.Expr, atr: pl.Expr, *, fast: int, slow: int, signal: int, line_bars: int, signal_bars: int
) -> pl.Expr:
    """MACD less its signal line, in ATR: whether the trend gains or loses speed.

    Appel, Technical Analysis: Power Tools for Active Investors, 2005. The exponential means are cut off after
    `line_bars` and `signal_bars` bars, where 1e-4 of their weight is left; the three are one weighted sum.
    """
    weights = macd_histogram_weights(fast, slow, signal, line_bars, signal_bars)
    return close.rolling_sum(len(weights), weights=[*weights]) / atr


@cache
def macd_histogram_weights(fast: int, slow: int, signal: int, line_bars: int, signal_bars: int) -> tuple[float, ...]:
    """Weights of the closes, oldest first; their sum is 0."""
    slows, fasts = exponential_weights(slow, line_bars), exponential_weights(fast, line_bars)
    line = [f - s for f, s in zip(fasts, slows, strict=True)]
    weights = [0.0] * (signal_bars - 1) + line
    for start, share in enumerate(exponential_weights(signal, signal_bars)):
        for at, weight in enumerate(line, start):
            weights[at] -= share * weight
    return tuple(weights)


@feature(lookback_bars=lambda path_bars: path_bars + 1, path_bars=24)
def efficiency_ratio(close: pl.Expr, *, path_bars: int) -> pl.Expr:
    """Distance covered as a share of the path walked, 0 to 1: 1 is a straight line, near 0 is noise.

    Kaufman, Trading Systems and Methods, 1995.
    """
    return efficiency(close, path_bars)


@feature(lookback_bars=lambda step_bars: 96 + step_bars, step_bars=(4, 12))
def variance_ratio(close: pl.Expr, *, step_bars: int) -> pl.Expr:
    """Variance of changes over some bars against that of one bar as often: 1 is a random walk, above 1 a trend.

    Lo & MacKinlay, Stock market prices do not follow random walks, Review of Financial Studies 1988. What
    Hurst's exponent H measures: the ratio of a self-similar walk is `step_bars` ** (2 H - 1).
    """
    single = (close.diff() ** 2).rolling_sum(96)
    return (close.diff(step_bars) ** 2).rolling_sum(96) / (single * step_bars)


@feature(lookback_bars=24)
def trend_correlation(close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Correlation of the last 24 closes with time, -1 to 1: its square is the fit of a straight line."""
    middle = (lookback_bars - 1) / 2
    slope = close.rolling_sum(lookback_bars, weights=[at - middle for at in range(lookback_bars)])
    scatter = (close**2).rolling_sum(lookback_bars) * lookback_bars - close.rolling_sum(lookback_bars) ** 2
    return slope / (scatter * ((lookback_bars**2 - 1) / 12)).sqrt()


@feature(lookback_bars=lambda direction_bars: direction_bars + 1, direction_bars=14)
def directional_balance(high: pl.Expr, low: pl.Expr, *, direction_bars: int) -> pl.Expr:
    """+DI less -DI over their sum, -1 to 1: which side pushed the range on. Plain sums instead of Wilder's smoothing.

    Wilder, New Concepts in Technical Trading Systems, 1978.
    """
    plus, minus = _directional_movement(high, low, direction_bars)
    return (plus - minus) / (plus + minus).clip(lower_bound=1)


@feature(lookback_bars=lambda direction_bars: 2 * direction_bars, direction_bars=14)
def adx(high: pl.Expr, low: pl.Expr, *, direction_bars: int) -> pl.Expr:
    """Average directional index, 0 to 100: how one-sided the bars were, whichever the side. Plain means, not Wilder's.

    Wilder, New Concepts in Technical Trading Systems, 1978.
    """
    plus, minus = _directional_movement(high, low, direction_bars)
    index = (plus - minus).abs() / (plus + minus).clip(lower_bound=1)
    return 100 * index.rolling_sum(direction_bars) / direction_bars


def _directional_movement(high: pl.Expr, low: pl.Expr, bars: int) -> tuple[pl.Expr, pl.Expr]:
    up, down = high.diff().clip(lower_bound=0), (low.shift(1) - low).clip(lower_bound=0)
    larger = (up - down).sign()
    # A bar counts for the side that it went further on, and for none where both are equal.
    plus, minus = up * larger.clip(lower_bound=0), down * (-larger).clip(lower_bound=0)
    return plus.rolling_sum(bars), minus.rolling_sum(bars)


@feature(lookback_bars=lambda period: period + 1, period=25)
def aroon(high: pl.Expr, low: pl.Expr, *, period: int) -> pl.Expr:
    """Aroon oscillator, -100 to 100: whether the newest high of the last 25 bars or the newest low is fresher.

    Chande, A time price oscillator, Technical Analysis of Stocks & Commodities 1995.
    """
    # The row number rides in the low digits of the price, so that the extreme brings along when it was; of equal
    # extremes the newest wins.
    row = high.cum_count()
    high_at = (high * _ROWS + row).rolling_max(period + 1) % _ROWS
    low_at = _ROWS - (low * _ROWS + _ROWS - row).rolling_min(period + 1) % _ROWS
    return (high_at - low_at) * (100 / period)
