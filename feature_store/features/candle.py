"""Candles: the shape of the last bars, as shares of their own range."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=1)
def upper_wick(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Part of the bar's range above its body, 0 to 1: how far buyers came and could not stay."""
    return (high - open - (close - open).clip(lower_bound=0)) / (high - low)


@feature(lookback_bars=1)
def lower_wick(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Part of the bar's range below its body, 0 to 1: how far sellers came and could not stay."""
    return (open + (close - open).clip(upper_bound=0) - low) / (high - low)


@feature(lookback_bars=12)
def wick_balance(open: pl.Expr, high: pl.Expr, low: pl.Expr, close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Lower wicks less upper ones over the last bars, as a share of their ranges, -1 to 1."""
    # Body's top and bottom together are open and close together.
    return (open + close - high - low).rolling_sum(lookback_bars) / (high - low).rolling_sum(lookback_bars)


@feature(lookback_bars=2)
def bar_size(true_range: pl.Expr, atr: pl.Expr) -> pl.Expr:
    """True range of the bar in ATR: whether this bar is an event."""
    return true_range / atr


@feature(lookback_bars=2)
def bar_overlap(high: pl.Expr, low: pl.Expr) -> pl.Expr:
    """Range that the last two bars share over the range of both, 1 where they are alike; below 0 where a hole is between."""
    above, below = high.diff(), low.diff()
    shared = high - above.clip(lower_bound=0) - (low - below.clip(upper_bound=0))
    both = high - above.clip(upper_bound=0) - (low - below.clip(lower_bound=0))
    return shared / both
