"""Trend: where the price goes, and how far it has run from its mean."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature


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
