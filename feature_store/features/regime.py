"""Regime: how far today's market is from its own last 192 bars, whatever its level. No window holds the future."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=1)
def volatility_regime(volatility_score: pl.Expr) -> pl.Expr:
    """Volatility of the last 12 bars, its root, against its own last 192 bars, in standard deviations."""
    return volatility_score


@feature(lookback_bars=1)
def regime_distance(volatility_score: pl.Expr, trend_score: pl.Expr) -> pl.Expr:
    """Distance of volatility and trend together from their own past: above 3 the market has shown little of this kind.

    The turbulence of Kritzman & Li, Skulls, financial turbulence, and risk management, Financial Analysts Journal
    2010, without the correlation of the two.
    """
    return (volatility_score**2 + trend_score**2).sqrt()
