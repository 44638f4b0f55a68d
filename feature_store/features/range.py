"""Range: where the price stands in what it has covered, and the shape of the last bar."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=24)
def range_position(high: pl.Expr, low: pl.Expr, close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Close within the range of the last bars, 0 at the low and 1 at the high: the stochastic %K."""
    lowest = low.rolling_min(lookback_bars)
    return (close - lowest) / (high.rolling_max(lookback_bars) - lowest)


@feature(lookback_bars=1)
def bar_body(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Body of the bar as a share of its range, -1 to 1: near 0 the bar went nowhere."""
    return (close - open) / (high - low)


@feature(lookback_bars=2)
def gap(open: pl.Expr, close: pl.Expr, atr: pl.Expr) -> pl.Expr:
    """Open less the close before it, in ATR: news over a weekend or between two bars."""
    return (open - close.shift(1)) / atr
