"""Fractional differences: as little of the price's memory taken off as makes it stationary."""

from __future__ import annotations

import math
from functools import cache

import polars as pl

from feature_store.features._feature import feature


@feature(lookback_bars=lambda width_bars: width_bars, order=0.4, width_bars=96)
def fractional_difference(close: pl.Expr, volatility: pl.Expr, *, order: float, width_bars: int) -> pl.Expr:
    """Close differenced `order` times, between the price (0) and its change (1), in standard deviations of a change.

    Fixed-width window of Lopez de Prado, Advances in Financial Machine Learning, 2018, section 5.5, after
    Hosking, Fractional differencing, Biometrika 1981.
    """
    return close.rolling_sum(width_bars, weights=[*fractional_weights(order, width_bars)]) / volatility


@cache
def fractional_weights(order: float, width_bars: int) -> tuple[float, ...]:
    """Weights of the closes of the window, oldest first; their sum is 0.

    The series of weights is endless. Cut off, its sum is not 0, and the level of the price would come in; the
    oldest close takes the weight of all that would stand before it, as if the price had not moved until then.
    """
    weights = [1.0]
    for age in range(1, width_bars - 1):
        weights.append(-weights[-1] * (order - age + 1) / age)
    weights.append(-math.fsum(weights))
    return tuple(weights[::-1])
