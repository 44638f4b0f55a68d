"""Context: the same market on longer bars, and another market beside it, both as known at the bar's close."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._measures import DAYS, VOLATILITY_BARS


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=6)
def h4_return(h4__close: pl.Expr, h4__volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change over the last day in H4 bars, in standard deviations of such a change."""
    return h4__close.diff(over_bars) / (h4__volatility * math.sqrt(over_bars))


@feature(lookback_bars=20)
def h4_distance_to_mean(h4__close: pl.Expr, h4__atr: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """H4 close less its moving average, in H4 ATR."""
    return (h4__close - h4__close.rolling_sum(lookback_bars) / lookback_bars) / h4__atr


@feature(lookback_bars=30)
def h4_range_position(h4__high: pl.Expr, h4__low: pl.Expr, h4__close: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """H4 close within the range of the last 30 H4 bars, a week: 0 at its low and 1 at its high."""
    lowest = h4__low.rolling_min(lookback_bars)
    return (h4__close - lowest) / (h4__high.rolling_max(lookback_bars) - lowest)


@feature(lookback_bars=lambda recent_bars: recent_bars + 1, recent_bars=12)
def h4_volatility_ratio(h4__change: pl.Expr, h4__volatility: pl.Expr, *, recent_bars: int) -> pl.Expr:
    """Realised volatility of the last 12 H4 bars over that of the last 48."""
    return ((h4__change**2).rolling_sum(recent_bars) / recent_bars).sqrt() / h4__volatility


@feature(lookback_bars=lambda volatility_bars: volatility_bars + 1, over_bars=5, volatility_bars=10)
def d1_return(d1__close: pl.Expr, *, over_bars: int, volatility_bars: int) -> pl.Expr:
    """Price change over the last week in D1 bars, in standard deviations of such a change."""
    variance = (d1__close.diff() ** 2).rolling_sum(volatility_bars) / volatility_bars
    return d1__close.diff(over_bars) / (variance * over_bars).sqrt()


@feature(lookback_bars=1)
def day_before_position(close: pl.Expr, d1__high: pl.Expr, d1__low: pl.Expr) -> pl.Expr:
    """Close within the range of the day before, 0 at its low and 1 at its high; outside once it is broken."""
    return (close - d1__low) / (d1__high - d1__low)


@feature(lookback_bars=1)
def day_return(close: pl.Expr, d1__close: pl.Expr, d1__volatility_of_ten: pl.Expr) -> pl.Expr:
    """Price change since 17:00 New York, in standard deviations of a day: how much of a day's move is spent."""
    return (close - d1__close) / d1__volatility_of_ten


@feature(lookback_bars=1)
def days_range_position(close: pl.Expr, d1__high_of_ten: pl.Expr, d1__low_of_ten: pl.Expr) -> pl.Expr:
    """Close within the range of the last ten D1 bars, 0 at their low and 1 at their high; outside once it is broken."""
    return (close - d1__low_of_ten) / (d1__high_of_ten - d1__low_of_ten)


@feature(lookback_bars=DAYS)
def d1_range_ratio(d1__high: pl.Expr, d1__low: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Range of the day before over the mean range of ten days: below 1 the market waits."""
    span = d1__high - d1__low
    return span * lookback_bars / span.rolling_sum(lookback_bars)


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


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=24)
def lead_trend(lead__close: pl.Expr, lead__volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change of the lead symbol over its last 24 bars, in standard deviations of such a change."""
    return lead__close.diff(over_bars) / (lead__volatility * math.sqrt(over_bars))


@feature(lookback_bars=lambda recent_bars: recent_bars + 1, recent_bars=12)
def lead_volatility_ratio(lead__change: pl.Expr, lead__volatility: pl.Expr, *, recent_bars: int) -> pl.Expr:
    """Realised volatility of the lead symbol over its last 12 bars over that of its last 48."""
    return ((lead__change**2).rolling_sum(recent_bars) / recent_bars).sqrt() / lead__volatility


@feature(lookback_bars=VOLATILITY_BARS + 2)
def lead_lag_correlation(change: pl.Expr, volatility: pl.Expr, lead__close: pl.Expr) -> pl.Expr:
    """Correlation of one-bar changes with those of the lead symbol one bar before: whether it leads indeed.

    Lo & MacKinlay, When are contrarian profits due to stock market overreaction?, Review of Financial Studies 1990.
    """
    before = lead__close.diff().shift(1)
    size = (before**2).rolling_sum(VOLATILITY_BARS).sqrt() * math.sqrt(VOLATILITY_BARS)
    return (change * before).rolling_sum(VOLATILITY_BARS) / (volatility * size)


@feature(lookback_bars=VOLATILITY_BARS + 1, over_bars=12)
def lead_residual(close: pl.Expr, change: pl.Expr, volatility: pl.Expr, lead__close: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change over 12 bars less what the lead symbol's explains, in standard deviations: what is this market's own.

    The explained part is beta, from the bars of `volatility` and without means, times the lead's change.
    """
    lead_change = lead__close.diff()
    beta = (change * lead_change).rolling_sum(VOLATILITY_BARS) / (lead_change**2).rolling_sum(VOLATILITY_BARS)
    return (close.diff(over_bars) - beta * lead__close.diff(over_bars)) / (volatility * math.sqrt(over_bars))


@feature(lookback_bars=VOLATILITY_BARS + 1)
def lead_turbulence(change: pl.Expr, volatility: pl.Expr, lead__close: pl.Expr) -> pl.Expr:
    """Mahalanobis distance of the last change of this and the lead symbol from nothing: how odd the two are together.

    Kritzman & Li, Skulls, financial turbulence, and risk management, Financial Analysts Journal 2010.
    """
    lead_change = lead__close.diff()
    squares = (lead_change**2).rolling_sum(VOLATILITY_BARS)
    products = (change * lead_change).rolling_sum(VOLATILITY_BARS)
    own = volatility**2 * VOLATILITY_BARS
    odd = change**2 * squares + lead_change**2 * own - change * lead_change * products * 2
    return (odd / (own * squares - products**2) * VOLATILITY_BARS).sqrt()
