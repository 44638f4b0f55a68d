"""The market as the broker sees it: every symbol's series at one moment, conversion rates, trading hours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from feature_store.bars import seconds
from feature_store.clock import from_epoch, is_open, server_to_utc, utc_to_server
from serving._errors import Final
from serving.terminal._config import SimulatedConfig, SymbolConfig
from serving.terminal._rates import TIMEFRAME_S, RateTable
from serving.terminal._series import Series

DAY_MS = 86_400_000


class NoQuote(Exception):
    """A price is needed that the market has not quoted yet."""


class Market:
    """All symbols at `now_ms`. Cursors follow lazily: a quote is looked up when somebody asks for it."""

    def __init__(self, config: SimulatedConfig) -> None:
        length_s = seconds(config.base_timeframe)
        self.length_s = length_s
        self.symbols: dict[str, SymbolConfig] = {symbol.name: symbol for symbol in config.symbols}
        self.series: dict[str, Series] = {
            symbol.name: Series(symbol, config.bars(symbol), length_s, config.server_clock) for symbol in config.symbols
        }
        self.now_ms = round(config.start.timestamp() * 1000)
        self._feed, self._rule = config.feed, config.server_clock
        self._tables: dict[tuple[str, int], RateTable] = {}
        self._open: tuple[int, bool] = (-1, False)
        self._offset: tuple[int, int] = (-1, 0)
        self._paths: dict[tuple[str, str], tuple[tuple[Series, bool], ...]] = {}

    def at(self, name: str) -> Series:
        """The series of `name`, moved to now."""
        series = self.series[name]
        series.move(self.now_ms)
        return series

    def quote(self, name: str) -> tuple[float, float]:
        """(bid, ask) now; (0.0, 0.0) while the symbol was never quoted."""
        series = self.series[name]
        if self.now_ms >= series.next_ms:
            series.move(self.now_ms)
        return series.quote(self.now_ms) if series.spikes else (series.bid, series.ask)

    def is_open(self) -> bool:
        """Whether the feed's market quotes now. Trading hours begin and end on full hours."""
        hour = self.now_ms // 3_600_000
        if self._open[0] != hour:
            self._open = (hour, is_open(self._feed, from_epoch(hour * 3600)))
        return self._open[1]

    def server_ms(self, utc_ms: int) -> int:
        """Server wall-clock time, written as if it were UTC, in milliseconds."""
        hour = utc_ms // 3_600_000
        if self._offset[0] != hour:
            at = np.array([hour * 3600], dtype=np.int64)
            self._offset = (hour, int(utc_to_server(at, self._rule)[0] - at[0]) * 1000)
        return utc_ms + self._offset[1]

    def next_midnight_ms(self) -> int:
        """UTC moment of the next server midnight."""
        midnight_s = (self.server_ms(self.now_ms) // DAY_MS + 1) * 86400
        return int(server_to_utc(np.array([midnight_s], dtype=np.int64), self._rule)[0]) * 1000

    def table(self, name: str, timeframe: int) -> RateTable | None:
        """Bars of `timeframe`; None when they cannot be made of the market's own bars."""
        length = TIMEFRAME_S.get(timeframe)
        if length is None or length % self.length_s:
            return None
        key = (name, timeframe)
        if key not in self._tables:
            self._tables[key] = RateTable(self.series[name], timeframe)
        self.at(name)
        return self._tables[key]

    def tick(self, name: str, bid: float, ask: float) -> None:
        """Quote `name` by hand until its market moves again."""
        series = self.at(name)
        series.set_manual(bid, ask, self.now_ms)
        for (symbol, _), table in self._tables.items():
            if symbol == name and series.bar >= 0:
                table.widen(series.bar, bid)

    def _path(self, source: str, target: str) -> tuple[tuple[Series, bool], ...]:
        """Series to multiply by (True) or divide by (False), one after another, to turn `source` into `target`."""
        direct: dict[tuple[str, str], tuple[Series, bool]] = {}
        for series in self.series.values():
            base, profit = series.symbol.currency_base, series.symbol.currency_profit
            direct.setdefault((base, profit), (series, True))
            direct.setdefault((profit, base), (series, False))
        if (source, target) in direct:
            return (direct[source, target],)
        for first, middle in direct:
            if first == source and (middle, target) in direct:
                return (direct[source, middle], direct[middle, target])
        raise Final(f"no symbols convert {source} to {target}; add {target}{source} or {source}{target} to the config's symbols")

    def path(self, source: str, target: str) -> tuple[tuple[Series, bool], ...]:
        """Conversion steps from one currency to another, found once. Raises `Final` when there are none."""
        if source == target:
            return ()
        key = (source, target)
        if key not in self._paths:
            self._paths[key] = self._path(source, target)
        return self._paths[key]

    def can_convert(self, source: str, target: str) -> bool:
        """Whether every step from one currency to the other has a quote by now."""
        return all(self.quote(series.symbol.name)[0] > 0 for series, _ in self.path(source, target))

    def convert(self, amount: float, source: str, target: str, *, at_ask: bool) -> float:
        """`amount` of `source` in `target`, every step at its ask or every step at its bid."""
        for series, multiply in self.path(source, target):
            series.move(self.now_ms)
            bid, ask = series.quote(self.now_ms)
            price = ask if at_ask else bid
            if price <= 0:
                raise NoQuote(series.symbol.name)
            amount = amount * price if multiply else amount / price
        return amount

    def convert_result(self, amount: float, source: str, target: str) -> float:
        """Profit or loss in `target`, each step at the side that is worse for the client."""
        for series, multiply in self.path(source, target):
            series.move(self.now_ms)
            bid, ask = series.quote(self.now_ms)
            price = ask if (amount > 0) != multiply else bid
            if price <= 0:
                raise NoQuote(series.symbol.name)
            amount = amount * price if multiply else amount / price
        return amount

    def reset(self, now_ms: int) -> None:
        """Stand at `now_ms`, earlier than before perhaps."""
        self.now_ms = now_ms
        for series in self.series.values():
            series.reset(now_ms)

    def named(self, symbol: str) -> Iterable[Series]:
        """The series of `symbol`, or all of them when it is empty."""
        return (self.series[symbol],) if symbol else tuple(self.series.values())
