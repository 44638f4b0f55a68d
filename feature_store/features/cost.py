"""Cost: what a trade pays to the spread now. NaN where the feed does not tell the spread."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._zscore import zscore


@feature(lookback_bars=48)
def spread_zscore(spread_points: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Spread against its own recent past, in standard deviations."""
    return zscore(spread_points, lookback_bars)


@feature(lookback_bars=1)
def spread_atr(spread_points: pl.Expr, atr: pl.Expr) -> pl.Expr:
    """Spread in ATR: the share of an ordinary bar that a trade pays away."""
    return spread_points / atr


@feature(lookback_bars=lambda past_bars: past_bars, recent_bars=6, past_bars=96)
def spread_trend(spread_points: pl.Expr, *, recent_bars: int, past_bars: int) -> pl.Expr:
    """Mean spread of the last bars over that of the last 96."""
    return spread_points.rolling_sum(recent_bars) / spread_points.rolling_sum(past_bars) * (past_bars / recent_bars)


@feature(lookback_bars=lambda pairs: pairs + 1, pairs=24)
def high_low_spread(high: pl.Expr, low: pl.Expr, atr: pl.Expr, *, pairs: int) -> pl.Expr:
    """Spread told by highs and lows alone, in ATR: what a trade may cost where the feed does not say.

    Corwin & Schultz, A simple way to estimate bid-ask spreads from daily high and low prices, Journal of Finance
    2012: two bars' ranges hold two spreads and the variance of two bars, the range of both one and the same
    variance. In points instead of logarithms; pairs that come out negative count as 0.
    """
    span, above, below = high - low, high.diff(), low.diff()
    both = high - above.clip(upper_bound=0) - (low - below.clip(lower_bound=0))
    root = (span**2 + span.shift(1) ** 2).sqrt()
    divisor = 3 - 2 * math.sqrt(2)
    spread = root * ((math.sqrt(2) - 1) / divisor) - both * (1 / math.sqrt(divisor))
    return spread.clip(lower_bound=0).rolling_sum(pairs) / pairs / atr
