"""Activity: how busy the market is."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._zscore import zscore


@feature(lookback_bars=48)
def tick_volume_zscore(tick_volume: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Tick volume against its own recent past, in standard deviations. Its level is the broker's, so it is not used."""
    return zscore(tick_volume, lookback_bars)
