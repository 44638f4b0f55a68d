"""What crossing the spread costs at each hour of the New York day. Zero is never free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import epoch_s, seconds
from feature_store.clock import new_york_hour
from feature_store.symbols import SymbolSpec

FloatArray = npt.NDArray[np.float64]

ROLL_HOUR = 17  # New York; liquidity leaves for an hour when the FX day rolls

# Points (5 digits, JPY 3, gold 2) by day and at the roll hour: the median of a retail MetaTrader account in
# 2021 to 2024 by day, its 95th percentile at the roll. Gold: 95th percentile throughout, brokers differ most there.
_RETAIL_POINTS: dict[str, tuple[float, float]] = {
    "EURUSD": (16, 43),
    "GBPUSD": (19, 91),
    "USDJPY": (15, 55),
    "USDCHF": (19, 143),
    "USDCAD": (18, 69),
    "AUDUSD": (16, 52),
    "EURJPY": (20, 113),
    "EURGBP": (18, 99),
    "XAUUSD": (22, 193),
}
# Others: twice what a major costs relative to its price (about 1.5 bp), four times that at the roll.
_OTHER_BY_DAY, _OTHER_AT_ROLL = 3e-4, 12e-4

_MIN_SPREADS = 500  # fewer known spreads than this say little about an account
_MIN_PER_HOUR = 20
MAX_ZERO_SHARE = 0.10  # feeds that record a bar's minimum are 15 % to 94 % zeros, believable ones below 5 %


@dataclass(frozen=True, eq=False)
class SpreadTable:
    """Spread by New York hour. points: (24,) float64, all above 0, in points of the symbol at that feed."""

    points: FloatArray
    source: Literal["measured", "assumed"]

    def at(self, times_s: npt.NDArray[np.int64]) -> FloatArray:
        """Points at each UTC moment (epoch s)."""
        return self.points[new_york_hour(times_s)]


def assumed_table(spec: SymbolSpec, price: float) -> SpreadTable:
    """Usual retail spreads of the symbol; of other symbols, a share of `price`."""
    if spec.symbol in _RETAIL_POINTS:
        standard = 1e-3 if spec.profit_currency == "JPY" else 1e-2 if spec.symbol == "XAUUSD" else 1e-5
        by_day, at_roll = (points * standard / spec.point for points in _RETAIL_POINTS[spec.symbol])
    else:
        by_day, at_roll = (price * share / spec.point for share in (_OTHER_BY_DAY, _OTHER_AT_ROLL))
    points = np.full(24, max(by_day, 1.0))
    points[ROLL_HOUR] = max(at_roll, 1.0)
    return SpreadTable(points, "assumed")


def spread_table(bars: pl.DataFrame, timeframe: str, spec: SymbolSpec) -> SpreadTable:
    """Median of the positive known spreads by New York hour, or the assumed table when they cannot be believed.

    bars: columns time, close, spread_points of one symbol, at least one row. Spreads are believed when at
    least 500 are positive, at most 10 % are zero and bars are no longer than an hour (a longer bar records
    the minimum of many hours). Hours with fewer than 20 take the shape of the assumed table.
    """
    assumed = assumed_table(spec, float(bars["close"][-1]))
    known = bars.filter(pl.col("spread_points").is_not_null())
    positive = known.filter(pl.col("spread_points") > 0)
    zero_share = 1.0 - positive.height / max(known.height, 1)
    if positive.height < _MIN_SPREADS or zero_share > MAX_ZERO_SHARE or seconds(timeframe) > 3600:
        return assumed
    hours = new_york_hour(epoch_s(positive["time"]))
    spreads = positive["spread_points"].to_numpy().astype(np.float64)
    points = assumed.points * (np.median(spreads) / np.median(assumed.points))
    for hour in range(24):
        here = spreads[hours == hour]
        if len(here) >= _MIN_PER_HOUR:
            points[hour] = np.median(here)
    return SpreadTable(np.maximum(points, 1.0), "measured")
