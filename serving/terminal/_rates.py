"""Bars of every timeframe as the terminal serves them: cut on the server's clock, the forming bar last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.terminal import surface
from serving.terminal._series import I64, Series

Rates = npt.NDArray[np.void]

MINUTE_S, DAY_S, WEEK_S = 60, 86400, 7 * 86400
MONTH = surface.CONSTANTS["TIMEFRAME_MN1"]
# Epoch day 0 was a Thursday; the terminal's week starts on Sunday.
_SUNDAY_S = 3 * DAY_S

_BYTES = np.dtype((np.void, surface.RATES_DTYPE.itemsize))

TIMEFRAME_S: dict[int, int] = {
    value: {0: MINUTE_S, 1: 3600, 2: WEEK_S, 3: 30 * DAY_S}[value >> 14] * (value & 0x3FFF)
    for name, value in surface.CONSTANTS.items()
    if name.startswith("TIMEFRAME_")
}
"""Seconds in a bar by the package's timeframe number; a month counts 30 days."""


def bar_starts(server_s: I64, timeframe: int) -> I64:
    """Open, in server time, of the bar of `timeframe` that holds each moment."""
    if timeframe == MONTH:
        return server_s.astype("datetime64[s]").astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)
    length = TIMEFRAME_S[timeframe]
    origin = _SUNDAY_S if length == WEEK_S else 0
    return server_s - (server_s - origin) % length


class RateTable:
    """All bars of one timeframe of one series, future ones included; `count` says how many can be seen."""

    def __init__(self, series: Series, timeframe: int) -> None:
        self._series = series
        opens = bar_starts(series.server_time, timeframe)
        first = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
        self.time: I64 = np.ascontiguousarray(opens[first])
        self._first = first
        self._first_view = np.ascontiguousarray(first, dtype=np.int64).data
        self._rates = self._all(first)
        self._plain = self._rates.view(_BYTES)
        self._current = 0

    def _all(self, first: npt.NDArray[np.intp]) -> Rates:
        series = self._series
        rates = np.empty(len(first), dtype=surface.RATES_DTYPE)
        rates["time"] = self.time
        rates["open"] = series.open[first]
        rates["high"] = np.maximum.reduceat(series.high, first)
        rates["low"] = np.minimum.reduceat(series.low, first)
        rates["close"] = series.close[np.append(first[1:], len(series.time)) - 1]
        rates["tick_volume"] = np.add.reduceat(series.tick_volume, first)
        rates["spread"] = np.minimum.reduceat(series.spread, first)
        rates["real_volume"] = np.add.reduceat(series.real_volume, first)
        return rates

    def count(self) -> int:
        """Bars visible now, the forming one included."""
        bar = self._series.bar
        if bar < 0:
            return 0
        # Time mostly moves a bar at a time: look beside the last answer before searching.
        row, first = self._current, self._first_view
        if first[row] <= bar:
            if row + 1 == len(first) or bar < first[row + 1]:
                return row + 1
            if row + 2 == len(first) or bar < first[row + 2]:
                self._current = row + 1
                return row + 2
        self._current = int(np.searchsorted(self._first, bar, side="right")) - 1
        return self._current + 1

    def rows(self, start: int, stop: int) -> Rates:
        """Copy of the visible bars [start, stop), counted from the oldest; the forming bar as known by now."""
        # Copying records field by field is ten times slower than copying them as plain bytes.
        rates = np.empty(stop - start, dtype=surface.RATES_DTYPE)
        rates.view(_BYTES)[:] = self._plain[start:stop]
        if stop == self._current + 1 and stop > start:
            rates[-1] = self._forming(stop - 1)
        return rates

    def _forming(self, row: int) -> tuple[int, float, float, float, float, int, int, int]:
        series = self._series
        first, bar = self._first_view[row], series.bar
        now = series.forming()
        done = slice(first, bar)
        real = int(series.real_volume[done].sum()) + (int(series.real_volume[bar]) if now.done else 0)
        if first == bar:
            return (int(self.time[row]), now.open, now.high, now.low, now.close, now.tick_volume, now.spread, real)
        return (
            int(self.time[row]),
            float(series.open[first]),
            max(float(series.high[done].max()), now.high),
            min(float(series.low[done].min()), now.low),
            now.close,
            int(series.tick_volume[done].sum()) + now.tick_volume,
            min(int(series.spread[done].min()), now.spread),
            real,
        )

    def widen(self, bar: int, bid: float) -> None:
        """Take a price that the market did not play into the bar that holds base bar `bar`."""
        row = int(np.searchsorted(self._first, bar, side="right")) - 1
        self._rates["high"][row] = max(self._rates["high"][row], bid)
        self._rates["low"][row] = min(self._rates["low"][row], bid)
