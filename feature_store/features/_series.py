"""Bars of one symbol on one timeframe, growing live: base bars come in, bars come out once the clock has closed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_store._arrays import F64, I64
from feature_store._errors import Retryable
from feature_store.bars import bar_close, bar_open
from feature_store.clock import from_epoch, new_york_offset_s
from feature_store.features import _context
from feature_store.features._feature import PRICES

_BASE = (*PRICES, "tick_volume", "spread_points")


@dataclass(frozen=True)
class BaseBars:
    """Base bars of one symbol as arrays, checked: made once, then taken by everything that reads the symbol.

    opens_s: (n,) int64 epoch seconds, ascending. values: (6, n) float64: prices, tick volume and spread, NaN where unknown.
    step_s: the least time between two bars; 0 for fewer than two.
    """

    opens_s: I64
    values: F64
    step_s: int

    @classmethod
    def of(cls, bars: pl.DataFrame, symbol: str) -> BaseBars:
        """Bars with the columns of `bars.SCHEMA`. Raises `Final` where they are out of order, or prices are no numbers."""
        if bars.is_empty():
            return cls(np.empty(0, dtype=np.int64), np.empty((len(_BASE), 0)), 0)
        _context.check_order(bars, symbol)
        opens_s = _context.opens_s(bars)
        values = np.stack([bars[name].to_numpy().astype(np.float64, copy=False) for name in _BASE])
        return cls(opens_s, values, _context.step_s(bars) if len(bars) > 1 else 0)

    def __len__(self) -> int:
        return len(self.opens_s)

    @property
    def high_low_close(self) -> F64:
        """(3, n) prices."""
        return self.values[1:4]


def merged(opens_s: I64, values: F64) -> tuple[I64, F64]:
    """Longer bars from base bars: their opens, and the rows of `BaseBars.values` merged as `bars.resample` does.

    opens_s: (n,) open of the longer bar that each base bar lies in, ascending.
    """
    starts = np.flatnonzero(np.concatenate(([True], opens_s[1:] != opens_s[:-1])))
    ends = np.append(starts[1:], len(opens_s)) - 1
    open_, high, low, close, volume, spread = values
    known = np.add.reduceat(~np.isnan(volume), starts, dtype=np.float64)
    total = np.add.reduceat(np.nan_to_num(volume), starts)
    return opens_s[starts], np.stack(
        [
            open_[starts],
            np.maximum.reduceat(high, starts),
            np.minimum.reduceat(low, starts),
            close[ends],
            np.where(known > 0, total, np.nan),  # the sum of nothing known is unknown, not 0
            np.fmin.reduceat(spread, starts),
        ]
    )


class Series:
    """Closed bars of `timeframe` with the columns of a frame plan; what is still forming waits unseen.

    known_s: moment each closed bar is known. version: goes up whenever bars close, for caches.
    """

    def __init__(self, timeframe: str, point: float, columns: Sequence[str]) -> None:
        self._timeframe, self._point, self._columns = timeframe, point, tuple(columns)
        self._waiting: list[tuple[I64, F64]] = []
        self._next_close_s = 0
        self._cut_open_s: int | None = None
        # Whole numbers below 2**53, exact in float64, where NaN can stand for unknown.
        self._values: F64 = np.empty((len(self._columns), 0))
        self.known_s: I64 = np.empty(0, dtype=np.int64)
        self.version = 0

    def add(self, times_s: I64, values: F64) -> None:
        """Take base bars, newer than all before. times_s: their opens; values: those of `BaseBars`.

        Raises `Retryable` when a bar that has been used would change.
        """
        if not self.version and not self._waiting:
            whole = self._whole_bars(times_s)
            times_s, values = times_s[whole:], values[:, whole:]
        if not len(times_s):
            return
        close_s = int(self._closes(times_s[:1])[0])
        if len(self.known_s) and close_s <= self.known_s[-1]:
            raise Retryable(
                f"the bar opened at {from_epoch(times_s[0])} came after the {self._timeframe} bar it is part of was used; "
                "start again with bars from FeatureSet.fetch_from_s on"
            )
        if not self._waiting:
            self._next_close_s = close_s
        self._waiting.append((times_s, values))

    def advance(self, known_at_s: int) -> None:
        """Close every bar that is known at that moment."""
        if not self._waiting or self._next_close_s > known_at_s:
            return
        times_s = np.concatenate([t for t, _ in self._waiting])
        values = np.concatenate([v for _, v in self._waiting], axis=1)
        closes_s = self._closes(times_s)
        closed = int(np.searchsorted(closes_s, known_at_s, side="right"))
        self._append(*merged(bar_open(times_s[:closed], self._timeframe), values[:, :closed]))
        self._waiting = [(times_s[closed:], values[:, closed:])] if closed < len(times_s) else []
        self._next_close_s = int(closes_s[closed]) if self._waiting else 0

    def rows(self, start: int, stop: int) -> F64:
        """(columns, bars): the closed bars from `start` to before `stop`, as `_context.prepared` makes them."""
        return self._values[:, start:stop]

    def drop(self, rows: int) -> None:
        """Forget the oldest `rows` closed bars."""
        self._values, self.known_s = self._values[:, rows:].copy(), self.known_s[rows:].copy()

    def _append(self, opens_s: I64, values: F64) -> None:
        known_s = bar_close(opens_s, self._timeframe)
        new = np.empty((len(self._columns), len(opens_s)))
        for row, name in zip(new, self._columns, strict=True):
            row[:] = self._column(name, values, known_s)
        self._values = np.concatenate([self._values, new], axis=1)
        self.known_s = np.concatenate([self.known_s, known_s])
        self.version += 1

    def _column(self, name: str, values: F64, known_s: I64) -> F64:
        if name == "new_york_s":
            return (known_s + new_york_offset_s(known_s)).astype(np.float64)
        row = values[_BASE.index(name)]
        return _context.points(row, self._point).astype(np.float64) if name in PRICES else row

    def _whole_bars(self, times_s: I64) -> int:
        """Rows to leave out: the first bars may begin in the middle of a longer one, which would lack a part."""
        opens = bar_open(times_s, self._timeframe)
        if self._cut_open_s is None:
            self._cut_open_s = int(opens[0]) if times_s[0] != opens[0] else -1
        return int(np.searchsorted(opens, self._cut_open_s, side="right"))

    def _closes(self, times_s: I64) -> I64:
        return bar_close(bar_open(times_s, self._timeframe), self._timeframe)
