"""Activity: how busy the market is, and on which side. Its level is the broker's own count, so only ratios are used."""

from __future__ import annotations

import polars as pl

from feature_store.features._feature import feature
from feature_store.features._zscore import zscore


@feature(lookback_bars=48)
def tick_volume_zscore(tick_volume: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Tick volume against its own recent past, in standard deviations. Its level is the broker's, so it is not used."""
    return zscore(tick_volume, lookback_bars)


@feature(lookback_bars=lambda past_bars: past_bars, recent_bars=6, past_bars=96)
def volume_trend(tick_volume: pl.Expr, *, recent_bars: int, past_bars: int) -> pl.Expr:
    """Mean tick volume of the last bars over that of the last 96."""
    return tick_volume.rolling_sum(recent_bars) / tick_volume.rolling_sum(past_bars) * (past_bars / recent_bars)


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=24)
def signed_volume(change: pl.Expr, tick_volume: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Volume of bars that closed up less that of bars that closed down, as a share of all, -1 to 1.

    On-balance volume of a window: Granville, New Key to Stock Market Profits, 1963.
    """
    return (change.sign() * tick_volume).rolling_sum(over_bars) / tick_volume.rolling_sum(over_bars)


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=48)
def volume_move_correlation(change: pl.Expr, tick_volume: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Correlation of tick volume with the size of the one-bar change, -1 to 1: whether business moves the price.

    Karpoff, The relation between price changes and trading volume, Journal of Financial and Quantitative Analysis 1987.
    """
    size = change.abs()
    totals = [x.rolling_sum(over_bars) for x in (size, tick_volume)]
    scatter = [(x**2).rolling_sum(over_bars) * over_bars - t**2 for x, t in zip((size, tick_volume), totals, strict=True)]
    together = (size * tick_volume).rolling_sum(over_bars) * over_bars - totals[0] * totals[1]
    return together / (scatter[0].sqrt() * scatter[1].sqrt())


@feature(lookback_bars=lambda past_bars: past_bars + 1, recent_bars=12, past_bars=96)
def illiquidity_ratio(change: pl.Expr, tick_volume: pl.Expr, *, recent_bars: int, past_bars: int) -> pl.Expr:
    """Price path per tick over the last bars against the last 96: above 1 the book is thin.

    Amihud, Illiquidity and stock returns, Journal of Financial Markets 2002.
    """
    size = change.abs()
    recent, past = (size.rolling_sum(n) / tick_volume.rolling_sum(n) for n in (recent_bars, past_bars))
    return recent / past


@feature(lookback_bars=21)
def money_flow(high: pl.Expr, low: pl.Expr, close: pl.Expr, tick_volume: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Chaikin money flow, -1 to 1: volume weighed by where in their ranges the bars closed."""
    # A bar of no range closed in the middle of it.
    place = (close * 2 - high - low) / (high - low).clip(lower_bound=1)
    return (place * tick_volume).rolling_sum(lookback_bars) / tick_volume.rolling_sum(lookback_bars)


@feature(lookback_bars=48)
def volume_mean_distance(close: pl.Expr, tick_volume: pl.Expr, atr: pl.Expr, *, lookback_bars: int) -> pl.Expr:
    """Close less its mean weighed by tick volume, in ATR: how far the price is from where business was done."""
    return (close - (close * tick_volume).rolling_sum(lookback_bars) / tick_volume.rolling_sum(lookback_bars)) / atr
