"""Which bars have closed by the clock, and getting them from the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_store.bars import SCHEMA, bar_close, bar_open, seconds
from feature_store.clock import is_open_s
from feature_store.features import BaseBars
from serving._errors import Retryable
from serving._trader_lines import Line
from serving.terminal.broker import Broker, Disconnected

_OVERLAP_BARS = 2


@dataclass(frozen=True)
class Due:
    """A bar of a line that has closed by the clock and waits for its decision."""

    bar_s: int  # its open
    close_s: int


class Schedule:
    """Closes of the lines' bars. A line's next bar replaces one that still waits, which was then missed."""

    def __init__(self, feed: str, now_s: float) -> None:
        self._feed, self._started_s = feed, now_s
        self._next_close_s: dict[str, int] = {}
        self.due: dict[str, Due] = {}

    def next_close_s(self, timeframes: Iterable[str]) -> int:
        """The next close of a bar of any of these timeframes."""
        return min(self._next(timeframe) for timeframe in timeframes)

    def _next(self, timeframe: str) -> int:
        if timeframe not in self._next_close_s:
            self._next_close_s[timeframe] = _close_after(int(self._started_s), timeframe)
        return self._next_close_s[timeframe]

    def advance(self, now_s: float, lines: Iterable[Line]) -> list[tuple[str, Due]]:
        """Puts every line whose bar closed by now into `due`; gives back those that were missed meanwhile."""
        missed = []
        by_timeframe: dict[str, list[str]] = {}
        for line in lines:
            by_timeframe.setdefault(line.timeframe, []).append(line.name)
        for timeframe, names in by_timeframe.items():
            while (close_s := self._next(timeframe)) <= now_s:
                bar_s = int(bar_open(np.array([close_s - 1]), timeframe)[0])
                self._next_close_s[timeframe] = _close_after(close_s, timeframe)
                if not quoted_within(self._feed, bar_s, close_s):
                    continue  # no market, no bar: nothing was missed
                missed += [(name, self.due[name]) for name in names if name in self.due]
                self.due.update({name: Due(bar_s, close_s) for name in names})
        return missed


def _close_after(moment_s: int, timeframe: str) -> int:
    return int(bar_close(bar_open(np.array([moment_s]), timeframe), timeframe)[0])


def quoted_within(feed: str, start_s: int, end_s: int) -> bool:
    """Whether the market of `feed` is open at any time in [start, end)."""
    return bool(is_open_s(feed, np.arange(start_s, end_s, min(300, end_s - start_s))).any())


class Bars:
    """Closed base bars of the lines' symbols; one request serves all lines that need the same."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def warm_up(self, line: Line, now_s: float, from_s: int | None = None) -> None:
        """Gives the line everything it needs before its first window, back to `from_s` at least."""
        start_s = line.warmup_from_s(int(now_s))
        start_s = start_s if from_s is None else min(start_s, from_s)
        count = int(now_s - start_s) // seconds(line.base_timeframe) + _OVERLAP_BARS
        bars = {s: BaseBars.of(self._broker.closed_bars(s, line.base_timeframe, count), s) for s in line.symbols}
        line.take(bars, int(now_s))

    def newest(self, lines: Iterable[Line], now_s: float) -> Mapping[tuple[str, str], BaseBars]:
        """Base bars that the lines do not have yet, by (symbol, base timeframe)."""
        counts: dict[tuple[str, str], int] = {}
        for line in lines:
            last_s = line.warmup_from_s(int(now_s)) if line.last_base_s is None else line.last_base_s
            behind = int(now_s - last_s) // seconds(line.base_timeframe)
            for symbol in line.symbols:
                key = symbol, line.base_timeframe
                counts[key] = max(counts.get(key, 0), behind + _OVERLAP_BARS)
        return {key: self._fetch(*key, count) for key, count in counts.items()}

    def _fetch(self, symbol: str, timeframe: str, count: int) -> BaseBars:
        try:
            return BaseBars.of(self._broker.closed_bars(symbol, timeframe, count), symbol)
        except Retryable as error:
            # Context that is missing now is missing to the features too, as in history; a lost pipe is not that.
            if isinstance(error, Disconnected):
                raise
            return BaseBars.of(pl.DataFrame(schema=SCHEMA), symbol)

    def held_elsewhere(self, symbol: str, timeframe: str, bar_s: int, horizon_bars: int) -> int:
        """Bars of `timeframe` closed after the one opened at `bar_s`, for a position whose line is gone."""
        shorter = timeframe if seconds(timeframe) <= 3600 else "H1"  # longer ones are cut by us, not by the broker
        count = (horizon_bars + 2) * (seconds(timeframe) // seconds(shorter))
        opens = self._broker.closed_bars(symbol, shorter, count)["time"].dt.epoch("s").to_numpy()
        return int((np.unique(bar_open(opens.astype(np.int64), timeframe)) > bar_s).sum())
