"""Context: the same market on longer bars, and another market beside it, both as known at the bar's close."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._measures import VOLATILITY_BARS


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=6)
def h4_return(h4__close: pl.Expr, h4__volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change over the last day in H4 bars, in standard deviations of such a change."""
    return h4__close.diff(over_bars) / (h4__volatility * math.sqrt(over_bars))


@feature(lookback_bars=20)
def h4_distance_to_mean(h4__close: pl.Expr, h4__atr: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """H4 close less its moving average, in H4 ATR."""
    return (h4__close - h4__close.rolling_sum(lookback_bars) / lookback_bars) / h4__atr


@feature(lookback_bars=lambda volatility_bars: volatility_bars + 1, over_bars=5, volatility_bars=10)
def d1_return(d1__close: pl.Expr, *, over_bars: int, volatility_bars: int) -> pl.Expr:
    """Price change over the last week in D1 bars, in standard deviations of such a change."""
    variance = (d1__close.diff() ** 2).rolling_sum(volatility_bars) / volatility_bars
    return d1__close.diff(over_bars) / (variance * over_bars).sqrt()


@feature(lookback_bars=1)
def day_before_position(close: pl.Expr, d1__high: pl.Expr, d1__low: pl.Expr) -> pl.Expr:
    """Close within the range of the day before, 0 at its low and 1 at its high; outside once it is broken."""
    return (close - d1__low) / (d1__high - d1__low)


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=3)
def lead_return(lead__close: pl.Expr, lead__volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change of the lead symbol over its last bars, in standard deviations of such a change."""
    return lead__close.diff(over_bars) / (lead__volatility * math.sqrt(over_bars))


@feature(lookback_bars=VOLATILITY_BARS + 1)
def lead_correlation(change: pl.Expr, volatility: pl.Expr, lead__close: pl.Expr) -> pl.Expr:
    """Correlation of one-bar changes with the lead symbol over the bars of `volatility`, -1 to 1; no mean is taken off."""
    lead_change = lead__close.diff()
    lead_size = (lead_change**2).rolling_sum(VOLATILITY_BARS).sqrt()
    return (change * lead_change).rolling_sum(VOLATILITY_BARS) / (volatility * lead_size * math.sqrt(VOLATILITY_BARS))
