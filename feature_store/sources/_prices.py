"""What numbers mean: prices multiplied by a power of ten, spreads in points or in price."""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_store._errors import FeatureStoreError
from feature_store.symbols import assumed_spec

# Worth in US dollars of one unit, lowest and highest since 1995 with some room. Wide enough for every real quote,
# narrow enough that no power of ten fits in twice.
_WORTH = {
    "USD": (1.0, 1.0), "EUR": (0.8, 1.65), "GBP": (1.0, 2.2), "CHF": (0.53, 1.45), "JPY": (0.0058, 0.0136),
    "CAD": (0.6, 1.12), "AUD": (0.46, 1.13), "NZD": (0.38, 0.91), "SEK": (0.088, 0.175), "NOK": (0.084, 0.21),
    "DKK": (0.11, 0.22), "PLN": (0.2, 0.51), "HUF": (0.0021, 0.0071), "CZK": (0.024, 0.071), "TRY": (0.015, 1.0),
    "ZAR": (0.048, 0.28), "MXN": (0.036, 0.135), "SGD": (0.53, 0.86), "HKD": (0.12, 0.135), "CNH": (0.11, 0.17),
    "THB": (0.018, 0.041), "ILS": (0.19, 0.35), "XAU": (240.0, 8000.0), "XAG": (3.4, 120.0), "XPT": (330.0, 3500.0),
    "XPD": (110.0, 3800.0), "BTC": (50.0, 500_000.0), "ETH": (5.0, 20_000.0),
}  # fmt: skip
_ROOM = 1.15


def plausible_range(symbol: str) -> tuple[float, float] | None:
    """Lowest and highest price that a pair of known currencies can have; None for other symbols."""
    base, profit = _WORTH.get(symbol[:3]), _WORTH.get(symbol[3:6])
    if base is None or profit is None or len(symbol) != 6:
        return None
    return base[0] / profit[1] / _ROOM, base[1] / profit[0] * _ROOM


def divisor_of(symbol: str, close: pl.Series) -> int:
    """Power of ten that whole-number prices must be divided by to be prices of `symbol`, 1 when they are already.

    The usual number of digits of the symbol wins where several powers fit.
    """
    known = close.drop_nulls()
    known = known.filter(known.is_finite() & (known > 0)).head(100_000)
    limits = plausible_range(symbol)
    # Not all: multiplied back and forth, some become 158897.99999999997 or keep a half.
    if limits is None or known.is_empty() or ((known - known.round(0)).abs() < 1e-6).mean() < 0.9:  # type: ignore[operator]
        return 1
    middle = float(np.median(known.to_numpy()))
    if limits[0] <= middle <= limits[1]:
        return 1
    usual = round(1 / point_of(symbol, close))
    fitting = [10**power for power in range(1, 9) if limits[0] <= middle / 10**power <= limits[1]]
    return usual if usual in fitting else next(iter(fitting), 1)


def is_plausible(symbol: str, close: pl.Series) -> bool:
    """Whether the middle price is one that `symbol` can have; True where nothing is known of it."""
    limits = plausible_range(symbol)
    known = close.drop_nulls().head(100_000)
    middle = float(np.median(known.to_numpy())) if len(known) else None
    return limits is None or middle is None or not np.isfinite(middle) or limits[0] <= middle <= limits[1]


def point_of(symbol: str, close: pl.Series) -> float:
    """Smallest price step: of the usual specification, else of the decimals that the prices have."""
    try:
        return assumed_spec("", symbol).point
    except FeatureStoreError:
        known = close.drop_nulls().head(10_000)
        return next((10.0**-d for d in range(8) if (known.round(d) == known).all()), 1e-8)


def spread_is_price(spread: pl.Series, point: float) -> bool:
    """Whether spreads are written in price and not in points: fractions, and none of a size that only points have."""
    known = spread.drop_nulls()
    known = known.filter(known.is_finite() & (known != 0)).abs()
    if known.is_empty() or not (known != known.round(0)).any():
        return False
    return float(np.median(known.to_numpy())) < 300 * point
