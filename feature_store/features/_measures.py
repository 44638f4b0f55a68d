"""Units that features are measured in, each computed once per frame and named by features as an input."""

from __future__ import annotations

import polars as pl

from feature_store.atr import ATR_BARS, mean_true_range
from feature_store.features._feature import measure

VOLATILITY_BARS = 48


@measure(lookback_bars=ATR_BARS + 1)
def atr(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Average true range in points."""
    return mean_true_range(high, low, close, atr_bars=ATR_BARS)


@measure(lookback_bars=2)
def change(close: pl.Expr) -> pl.Expr:
    """Price change over one bar in points."""
    return close.diff()


@measure(lookback_bars=VOLATILITY_BARS + 1)
def volatility(close: pl.Expr) -> pl.Expr:
    """Root mean square of the one-bar price change in points. No mean is taken off: over two days it is noise."""
    return ((close.diff() ** 2).rolling_sum(VOLATILITY_BARS) / VOLATILITY_BARS).sqrt()
