"""Returns: how far the price came, against how far it usually comes."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=(1, 3, 6, 12, 24))
def scaled_return(close: pl.Expr, volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change over the last `over_bars` bars, in standard deviations of such a change."""
    return close.diff(over_bars) / (volatility * math.sqrt(over_bars))
