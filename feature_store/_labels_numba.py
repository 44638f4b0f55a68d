"""The loop behind the labels, compiled. Imported only when labels are made: live never needs numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from feature_store._arrays import F64, I64


def _walk(
    entry: F64, open: F64, high: F64, low: F64, close: F64, atr: F64, stop_atr: float, target_atr: float, horizon_bars: int
) -> tuple[F64, I64]:
    """Gross result in ATR units of buying at `entry[i + 1]`, and the bar in which that trade ended (-1: none).

    Prices are those at which the trade can be closed. A short is the same trade on negated prices.
    """
    n = len(close)
    result = np.full(n, np.nan)
    last = np.full(n, -1, np.int64)
    for i in range(n - horizon_bars):
        unit = atr[i]
        if not (unit > 0.0 and unit < np.inf):
            continue
        paid = entry[i + 1]
        stop = paid - stop_atr * unit
        target = paid + target_atr * unit
        end = i + horizon_bars
        gross = (close[end] - paid) / unit
        for j in range(i + 1, end + 1):
            if low[j] <= stop:  # first, because a bar does not tell which of both it touched first
                gross = -stop_atr if open[j] >= stop else (open[j] - paid) / unit
                end = j
                break
            if high[j] >= target:
                # The multiple itself, not (target - paid) / unit: two winning sides must tie exactly.
                gross = target_atr
                end = j
                break
        result[i] = gross
        last[i] = end
    return result, last


walk: Any = njit(cache=True)(_walk)
