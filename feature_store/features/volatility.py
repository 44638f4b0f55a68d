"""Volatility: how much the market moves now, against what it did before and against its price."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=lambda recent_bars: recent_bars + 1, recent_bars=12)
def volatility_ratio(change: pl.Expr, volatility: pl.Expr, *, recent_bars: int) -> pl.Expr:
    """Realised volatility of the last bars over that of the last 48: above 1 the market wakes up."""
    return ((change**2).rolling_sum(recent_bars) / recent_bars).sqrt() / volatility


@feature(lookback_bars=1)
def normalised_atr(close: pl.Expr, atr: pl.Expr) -> pl.Expr:
    """ATR in basis points of the price (NATR): what kind of market this is."""
    return atr / close * 10_000
