"""Calendar: the hour at which the bar is known, in the New York day, the only clock in which the FX day stands still."""

from __future__ import annotations

import math

import polars as pl

from feature_store.features._feature import feature

_DAY_S = 86400


@feature(lookback_bars=1)
def new_york_hour_sin(new_york_s: pl.Expr) -> pl.Expr:
    """Sine of the time of the New York day at the bar's close: 1 at 6:00, -1 at 18:00."""
    return (new_york_s % _DAY_S * (2 * math.pi / _DAY_S)).sin()


@feature(lookback_bars=1)
def new_york_hour_cos(new_york_s: pl.Expr) -> pl.Expr:
    """Cosine of the time of the New York day at the bar's close: 1 at midnight, -1 at noon."""
    return (new_york_s % _DAY_S * (2 * math.pi / _DAY_S)).cos()
