"""The planted edge: a drift, constant inside each hour, that any reader of the closed H1 bars could know.

Momentum of the last day goes on while London and New York trade and turns back in the Asian hours:

    drift = amplitude x STRENGTH[hour] x sd(hour) x level x tanh(STEEPNESS x z)

sd(hour) is the usual sd of an H1 return at that New York hour; level is how lively the symbol has been
lately against it; z is the return of the last `WINDOW_HOURS` bars in standard deviations.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_store.sources._market_draws import FloatArray, IntArray

WINDOW_HOURS = 24
STEEPNESS = 2.0
LEVEL_HALF_LIFE_HOURS = 48
STRENGTH = (
    -0.5, -0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
    1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, -0.5, -0.5, -0.5, -0.5, -0.5,
)  # fmt: skip
"""By New York hour. None around the roll, where bid prices bounce with the spread."""

_GAUSS = math.sqrt(math.pi / 2)  # mean absolute value to sd
_LARGEST_MOVE = 6.0  # one shock must not set the level for days


class Momentum:
    """z and level of one symbol, fed with its closed H1 bars one by one."""

    def __init__(self) -> None:
        self._closes: deque[float] = deque(maxlen=WINDOW_HOURS + 1)
        self._variances: deque[float] = deque(maxlen=WINDOW_HOURS)
        self._weight = 1 - 0.5 ** (1 / LEVEL_HALF_LIFE_HOURS)
        self._level = 1.0

    def update(self, log_close: float, hour_sd: float) -> None:
        """Take the log close of the H1 bar that has just closed and the usual sd of its hour."""
        if self._closes:
            move = min(abs(log_close - self._closes[-1]) / hour_sd, _LARGEST_MOVE)
            self._level += self._weight * (_GAUSS * move - self._level)
        self._closes.append(log_close)
        self._variances.append(hour_sd**2)

    def drift(self, hour_sd: float, strength: float) -> float:
        """Drift of the next hour per unit of amplitude; 0 until the window is full."""
        if len(self._closes) <= WINDOW_HOURS:
            return 0.0
        z = (self._closes[-1] - self._closes[0]) / (self._level * math.sqrt(sum(self._variances)))
        return strength * hour_sd * self._level * math.tanh(STEEPNESS * z)


@dataclass(frozen=True)
class HourlyChart:
    """H1 chart of one major before any drift; arrays by hour of the grid."""

    log_mid: FloatArray  # at the last tick of the hour
    last_minute: IntArray  # of the hour, in which that tick fell
    spread_points: IntArray  # at that tick
    is_open: npt.NDArray[np.bool_]
    new_york_hour: IntArray
    sd: FloatArray  # usual sd of the hour's return
    digits: int


def hourly_drift(chart: HourlyChart, amplitude: float) -> FloatArray:
    """Drift (log return of the hour) of every hour: (hours,).

    It reads what a chart shows, the bid on the price grid with all earlier drift in it, and nothing else.
    """
    drift = np.zeros(len(chart.log_mid))
    if amplitude == 0:
        return drift
    momentum, scale, drifted = Momentum(), 10.0**chart.digits, 0.0
    columns = (chart.log_mid, chart.last_minute, chart.spread_points, chart.is_open, chart.new_york_hour, chart.sd)
    for hour, (mid, minute, spread, is_open, new_york, sd) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        if not is_open:
            continue
        now = amplitude * momentum.drift(sd, STRENGTH[new_york])
        close = math.exp(mid + drifted + now * (minute + 1) / 60)
        momentum.update(math.log(round(close * scale - spread / 2) / scale), sd)
        drift[hour] = now
        drifted += now
    return drift
