"""One symbol's market: its bars, the path of its bid inside each bar, and where on that path we stand.

The stated path of a bar: the bid is the open at its first second, the extreme nearer to the open after a
third of the bar, the other extreme after two thirds, the close one sixtieth before the end (M1: seconds 0,
20, 40, 59). Equally near extremes: a bar that closes lower goes up first, any other goes down first, so the
order is tied to the bar and to nobody's position. Within a bar the bid passes every price between two
points; from the close to the next open it jumps. The spread is constant within a bar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import conform, epoch_s
from feature_store.clock import utc_to_server
from serving._errors import Final
from serving.terminal._config import SymbolConfig

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

NEVER_MS = 1 << 62


class Bar(NamedTuple):
    """The bar being made, as far as it is known."""

    open: float
    high: float
    low: float
    close: float
    tick_volume: int
    spread: int
    done: bool


def _no_null(column: pl.Series, dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    # The terminal's arrays have no "unknown": a volume that nobody knows is served as 0.
    return column.fill_null(0).to_numpy().astype(dtype, copy=False)


class Series:
    """Bars of one symbol and a cursor `point` on their path; -1 stands before the first bar."""

    def __init__(self, symbol: SymbolConfig, bars: pl.DataFrame, length_s: int, clock_rule: str) -> None:
        bars = conform(bars)
        if bars.is_empty():
            raise Final(f"{symbol.name}: no bars to play; the market must hold at least one")
        self.symbol = symbol
        self.length_s = length_s
        self.time: I64 = epoch_s(bars["time"])
        self.server_time: I64 = utc_to_server(self.time, clock_rule)
        if (np.diff(self.time) <= 0).any() or (np.diff(self.server_time) <= 0).any():
            raise Final(
                f"{symbol.name}: bars must ascend in time, on the server's clock {clock_rule} too; sort them, drop repeats"
            )
        self.open: F64 = np.ascontiguousarray(bars["open"].to_numpy())
        self.high: F64 = bars["high"].to_numpy().copy()
        self.low: F64 = bars["low"].to_numpy().copy()
        self.close: F64 = np.ascontiguousarray(bars["close"].to_numpy())
        self._check_prices()
        self.tick_volume = _no_null(bars["tick_volume"], np.uint64)
        self.real_volume = _no_null(bars["real_volume"], np.uint64)
        self.spread = self._known_spread(bars["spread_points"])
        self._lay_path()
        self.manual: tuple[float, float] | None = None
        self.frozen: list[tuple[int, int]] = []
        self.spikes: list[tuple[int, int, int]] = []
        self._spike_seen_ms = -1
        self._widened = (-1, 0.0, 0.0)
        self._before_first()

    def _check_prices(self) -> None:
        bodies_low, bodies_high = np.minimum(self.open, self.close), np.maximum(self.open, self.close)
        good = (self.low > 0) & np.isfinite(self.high) & (self.low <= bodies_low) & (self.high >= bodies_high)
        if not good.all():
            row = int(np.argmin(good))
            raise Final(f"{self.symbol.name}: bar {row} has prices that no bar can have; check the source's quality report")

    def _known_spread(self, column: pl.Series) -> npt.NDArray[np.int32]:
        if column.null_count() and self.symbol.spread_points is None:
            raise Final(
                f"{self.symbol.name}: {column.null_count()} bars do not know their spread; give spread_points in its SymbolConfig"
            )
        filled = column.fill_null(self.symbol.spread_points) if column.null_count() else column
        return np.ascontiguousarray(filled.to_numpy(), dtype=np.int32)

    def _lay_path(self) -> None:
        up, down = self.high - self.open, self.open - self.low
        up_first = (up < down) | ((up == down) & (self.close < self.open))
        first, second = np.where(up_first, self.high, self.low), np.where(up_first, self.low, self.high)
        # buffers hand out Python floats several times faster than arrays hand out scalars
        path = [np.ascontiguousarray(prices) for prices in (self.open, first, second, self.close)]
        spread = self.spread * self.symbol.point
        self._path = tuple(bids.data for bids in path)
        self._asks = tuple(np.round(bids + spread, self.symbol.digits).data for bids in path)
        self._opens = self.time.data
        self._spreads = self.spread.data
        third = self.length_s * 1000 // 3
        self._offsets_ms = (0, third, 2 * third, self.length_s * 1000 * 59 // 60)
        self._last_point = 4 * len(self.time) - 1

    def _before_first(self) -> None:
        self.point, self.bar = -1, -1
        self.bid, self.ask, self.moved_ms = 0.0, 0.0, 0
        self.next_ms = self._opens[0] * 1000
        self.jumped = True

    def _set(self, point: int) -> None:
        bar, k = point >> 2, point & 3
        self.jumped = k == 0 or point != self.point + 1 or self.manual is not None
        self.point, self.bar, self.manual = point, bar, None
        self.bid, self.ask = self._path[k][bar], self._asks[k][bar]
        self.moved_ms = self.next_ms
        if k < 3:
            self.next_ms = self._opens[bar] * 1000 + self._offsets_ms[k + 1]
        else:
            self.next_ms = self._opens[bar + 1] * 1000 if point < self._last_point else NEVER_MS

    def _seek(self, now_ms: int) -> None:
        """Jump to the last point at or before `now_ms`."""
        bar = int(np.searchsorted(self.time, now_ms // 1000, side="right")) - 1
        if bar < 0:
            self._before_first()
            return
        since = now_ms - self._opens[bar] * 1000
        k = max(k for k in range(4) if self._offsets_ms[k] <= since)
        self.point = -2  # whatever comes now is a jump
        self.next_ms = self._opens[bar] * 1000 + self._offsets_ms[k]
        self._set(4 * bar + k)

    def reset(self, now_ms: int) -> None:
        """Stand where the market is at `now_ms`, earlier than before perhaps."""
        self.manual = None
        self._seek(now_ms)

    def move(self, now_ms: int) -> bool:
        """Follow the market up to `now_ms`; True when the quote changed place."""
        if now_ms < self.next_ms:
            return False
        for start, end in self.frozen:
            if start <= now_ms < end:
                return False
        self._set(self.point + 1)
        if now_ms >= self.next_ms:
            self._seek(now_ms)
        if self.frozen:
            self.jumped = True
            self.frozen = [window for window in self.frozen if now_ms < window[1]]
        return True

    def due_ms(self) -> int:
        """Moment of the next change of the quote, frozen feeds respected."""
        due = self.next_ms
        for start, end in self.frozen:
            if start <= due < end:
                due = end
        for start, end, _ in self.spikes:
            # A spread that widens or narrows is a change of the ask: the stops of sells depend on it.
            for edge in (start, end):
                if self._spike_seen_ms < edge < due:
                    due = edge
        return due

    def see_spikes(self, now_ms: int) -> bool:
        """True when a spike began or ended since the last look."""
        changed = any(self._spike_seen_ms < edge <= now_ms for start, end, _ in self.spikes for edge in (start, end))
        self._spike_seen_ms = now_ms
        self.spikes = [spike for spike in self.spikes if now_ms < spike[1]]
        self.jumped |= changed
        return changed

    def quote(self, now_ms: int) -> tuple[float, float]:
        """(bid, ask) where the cursor stands; (0.0, 0.0) before the first bar."""
        if not self.spikes or not self.ask:
            return self.bid, self.ask
        points = sum(points for start, end, points in self.spikes if start <= now_ms < end)
        return self.bid, round(self.ask + points * self.symbol.point, self.symbol.digits)

    def price_at(self, point: int) -> float | None:
        """Bid at a point of the path; 0.0 before the first, None after the last."""
        if point < 0:
            return 0.0
        return self._path[point & 3][point >> 2] if point <= self._last_point else None

    def set_manual(self, bid: float, ask: float, now_ms: int) -> None:
        """Quote `bid` and `ask` until the market moves again; the forming bar takes the bid in."""
        self.manual, self.moved_ms, self.jumped = (bid, ask), now_ms, True
        self.bid, self.ask = bid, round(ask, self.symbol.digits)
        if self.bar >= 0:
            self.high[self.bar] = max(self.high[self.bar], bid)
            self.low[self.bar] = min(self.low[self.bar], bid)
            _, high, low = self._widened if self._widened[0] == self.bar else (self.bar, bid, bid)
            self._widened = (self.bar, max(bid, high), min(bid, low))

    def forming(self) -> Bar:
        """The bar under the cursor as known by now; needs a cursor on a bar."""
        bar, k = self.bar, self.point & 3
        opened, first, second, _ = self._path
        high: float = opened[bar]
        low = high
        for extreme in (first[bar], second[bar])[:k]:
            high, low = max(high, extreme), min(low, extreme)
        if self._widened[0] == bar:
            high, low = max(high, self._widened[1]), min(low, self._widened[2])
        volume = int(self.tick_volume[bar])
        part = volume if k == 3 else max(1, volume * (k + 1) // 4)
        return Bar(opened[bar], high, low, self.bid, part, self._spreads[bar], k == 3 and self.manual is None)
