"""Cost: what a trade pays to the spread now. NaN where the feed does not tell the spread."""

from __future__ import annotations

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
