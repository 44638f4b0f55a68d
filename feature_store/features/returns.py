"""Returns: how far the price came, against how far it usually comes, and what each bar says of the next."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=lambda over_bars: over_bars + 1, over_bars=(1, 3, 6, 12, 24, 120))
def scaled_return(close: pl.Expr, volatility: pl.Expr, *, over_bars: int) -> pl.Expr:
    """Price change over the last `over_bars` bars, in standard deviations of such a change."""
    return close.diff(over_bars) / (volatility * math.sqrt(over_bars))


@feature(lookback_bars=lambda pairs: pairs + 2, pairs=48)
def autocorrelation(change: pl.Expr, *, pairs: int) -> pl.Expr:
    """First autocorrelation of one-bar changes: above 0 moves go on, below 0 they turn; no mean is taken off.

    Lo & MacKinlay, Stock market prices do not follow random walks, Review of Financial Studies 1988.
    """
    return (change * change.shift(1)).rolling_sum(pairs) / (change**2).rolling_sum(pairs)
