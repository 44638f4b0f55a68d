"""Volatility: how much the market moves now, against what it did before and against its price.

The estimators from high and low are written for logarithms of prices. Here they work on points: over one
window the logarithm is a straight line to a few parts in a thousand, and sums of whole numbers are exact.
"""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature

_PARKINSON = 4 * math.log(2)


@feature(lookback_bars=lambda recent_bars: recent_bars + 1, recent_bars=12)
def volatility_ratio(change: pl.Expr, volatility: pl.Expr, *, recent_bars: int) -> pl.Expr:
    """Realised volatility of the last bars over that of the last 48: above 1 the market wakes up."""
    return ((change**2).rolling_sum(recent_bars) / recent_bars).sqrt() / volatility


@feature(lookback_bars=1)
def normalised_atr(close: pl.Expr, atr: pl.Expr) -> pl.Expr:
    """ATR in basis points of the price (NATR): what kind of market this is."""
    return atr / close * 10_000


@feature(lookback_bars=48)
def parkinson_ratio(high: pl.Expr, low: pl.Expr, volatility: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Volatility told by highs and lows over that told by closes: above 1 bars go back and forth, below 1 they run.

    Parkinson, The extreme value method for estimating the variance of the rate of return, Journal of Business 1980.
    """
    return (((high - low) ** 2).rolling_sum(lookback_bars) / (_PARKINSON * lookback_bars)).sqrt() / volatility


@feature(lookback_bars=lambda past_bars: past_bars, recent_bars=6, past_bars=48)
def garman_klass_ratio(
    open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr, *, recent_bars: int, past_bars: int
) -> pl.Expr:
    """Garman-Klass volatility of the last bars over that of the last 48: the same question as of closes, asked sooner.

    Garman & Klass, On the estimation of security price volatilities from historical data, Journal of Business 1980.
    """
    ranges, bodies = (high - low) ** 2, (close - open) ** 2
    recent, past = (ranges.rolling_sum(n) * 0.5 - bodies.rolling_sum(n) * (2 * math.log(2) - 1) for n in (recent_bars, past_bars))
    return (recent / past * (past_bars / recent_bars)).sqrt()


@feature(lookback_bars=24)
def rogers_satchell_ratio(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Rogers-Satchell volatility, which leaves drift out, over Parkinson's, which does not: low where bars run one way.

    Rogers & Satchell, Estimating variance from high, low and closing prices, Annals of Applied Probability 1991.
    """
    free_of_drift = ((high - close) * (high - open) + (low - close) * (low - open)).rolling_sum(lookback_bars)
    return (free_of_drift * _PARKINSON / ((high - low) ** 2).rolling_sum(lookback_bars)).sqrt()


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=96)
def yang_zhang(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Yang-Zhang volatility of one bar in basis points of the price: gaps, drift and ranges taken in.

    Yang & Zhang, Drift-independent volatility estimation based on high, low, open, and close, Journal of Business 2000.
    """
    gap, body = open - close.shift(1), close - open
    share = 0.34 / (1.34 + (over_bars + 1) / (over_bars - 1))
    scatter = [(x**2).rolling_sum(over_bars) * over_bars - x.rolling_sum(over_bars) ** 2 for x in (gap, body)]
    inside = ((high - close) * (high - open) + (low - close) * (low - open)).rolling_sum(over_bars)
    of_gaps_and_bodies = (scatter[0] + scatter[1] * share) / (over_bars * (over_bars - 1))
    return (of_gaps_and_bodies + inside * ((1 - share) / over_bars)).sqrt() / close * 10_000


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=48)
def volatility_of_volatility(change: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Standard deviation of the size of one-bar changes over its mean: 0.76 where changes are normal, higher in bursts."""
    path = change.abs().rolling_sum(over_bars)
    return ((change**2).rolling_sum(over_bars) * over_bars - path**2).sqrt() / path


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=48)
def jump_share(change: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Share of the variance that came in jumps: 1 less bipower over realised variance, near 0 where moves are smooth.

    Barndorff-Nielsen & Shephard, Power and bipower variation with stochastic volatility and jumps,
    Journal of Financial Econometrics 2004.
    """
    size = change.abs()
    smooth = (size * size.shift(1)).rolling_sum(over_bars - 1) * (math.pi / 2 * over_bars / (over_bars - 1))
    return 1 - smooth / (change**2).rolling_sum(over_bars)


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=24)
def semivariance_balance(change: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Variance of rises less that of falls, as a share of all, -1 to 1: on which side the large moves were.

    Barndorff-Nielsen, Kinnebrock & Shephard, Measuring downside risk: realised semivariance, 2010.
    """
    return (change * change.abs()).rolling_sum(over_bars) / (change**2).rolling_sum(over_bars)


@feature(lookback_bars=20)
def bollinger_width(close: pl.Expr, atr: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Standard deviation of the last 20 closes in ATR: a squeeze is low, a trend is high.

    Bollinger, Bollinger on Bollinger Bands, 2001; the bands stand two of these off the mean.
    """
    total, squares = close.rolling_sum(lookback_bars), (close**2).rolling_sum(lookback_bars)
    return (squares * lookback_bars - total**2).sqrt() / lookback_bars / atr
