"""The account as the decision functions take it: positions, quotes and specifications as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_store.clock import Clock, is_open, is_open_s
from feature_store.symbols import SymbolSpec
from serving import conversion
from serving._errors import Final
from serving.decision import FOREIGN, Positions, Quotes, Specs
from serving.journal import Exit, Intent
from serving.terminal.broker import Broker, OpenPosition, Quote

_LONGEST_AGE_S = 3 * 86400


@dataclass(frozen=True)
class Held:
    """One row of `Positions`: a position of ours with its exit, a foreign one, or an open intent that nobody
    knows the fate of, which counts as if it were filled."""

    position: OpenPosition | None
    exit: Exit | None
    symbol: str
    line: int
    side: int
    lots: float
    entry: float
    stop: float
    target: float
    bars_held: int
    horizon_bars: int


@dataclass(frozen=True)
class Scene:
    """One moment of the account. `held[p]` is what row p of `positions` stands for."""

    held: list[Held]
    positions: Positions
    quotes: Quotes
    specs: Specs
    symbols: dict[str, int]


class Desk:
    """Asks the broker what a scene needs: quotes and specifications of traded, held and converting symbols."""

    def __init__(self, broker: Broker, clock: Clock, feed: str, currency: str, symbols: Iterable[str]) -> None:
        self._broker, self._clock, self._feed, self._currency = broker, clock, feed, currency
        self._traded = tuple(dict.fromkeys(symbols))
        self._converting: dict[str, tuple[str, ...]] = {}
        self._specs: dict[str, SymbolSpec] = {}
        self._margins: dict[str, float] = {}
        self._open = 0, False  # (second, whether the market is open in it)

    def is_open(self) -> bool:
        """Whether the feed's market is open now."""
        now = self._clock.now_utc()
        second = int(now.timestamp())
        if self._open[0] != second:
            self._open = second, is_open(self._feed, now)
        return self._open[1]

    def refresh(self) -> None:
        """Specifications and margins are asked anew at their next use."""
        self._specs.clear()
        self._margins.clear()
        self._broker.refresh_specs()

    def spec(self, symbol: str) -> SymbolSpec:
        if symbol not in self._specs:
            self._specs[symbol] = self._broker.spec(symbol)
        return self._specs[symbol]

    def scene(self, held: Sequence[Held], signal_symbols: Sequence[str] = ()) -> Scene:
        """The moment now; `signal_symbols` get rows in `quotes` besides the traded and the held ones."""
        names = tuple(dict.fromkeys((*self._traded, *signal_symbols, *(h.symbol for h in held))))
        prices = {symbol: self._broker.quote(symbol) for symbol in names}
        rates = {symbol: (q.bid, q.ask) for symbol, q in prices.items() if q}
        for symbol in {c for name in names for c in self._conversion_symbols(name)} - rates.keys():
            quote = self._broker.quote(symbol)
            if quote:
                rates[symbol] = (quote.bid, quote.ask)
        index = {symbol: i for i, symbol in enumerate(names)}
        return Scene(list(held), _positions(held, index), self._quotes(prices), self._spec_arrays(prices, rates), index)

    def _quotes(self, prices: Mapping[str, Quote | None]) -> Quotes:
        now_s = self._clock.now_utc().timestamp()
        ages = [math.nan if q is None else open_age_s(self._feed, q.time_s, now_s) for q in prices.values()]
        return Quotes(
            bid=np.array([q.bid if q else math.nan for q in prices.values()]),
            ask=np.array([q.ask if q else math.nan for q in prices.values()]),
            age_s=np.array(ages, dtype=np.float64),
            open=np.full(len(prices), int(self.is_open()), dtype=np.int64),
        )

    def _spec_arrays(self, prices: Mapping[str, Quote | None], rates: Mapping[str, tuple[float, float]]) -> Specs:
        specs = [self.spec(symbol) for symbol in prices]
        currencies = {c: i for i, c in enumerate(sorted({c for s in specs for c in (s.base_currency, s.profit_currency)}))}
        keyed = {symbol_key(s): rates[s.symbol] for s in specs if s.symbol in rates} | dict(rates)
        return Specs(
            point=np.array([s.point for s in specs]),
            volume_min=np.array([s.volume_min for s in specs]),
            volume_max=np.array([s.volume_max for s in specs]),
            volume_step=np.array([s.volume_step for s in specs]),
            stops_level=np.array([s.stops_level_points * s.point for s in specs]),
            value_per_price=np.array([s.contract_size * self._rate(s.profit_currency, keyed) for s in specs]),
            commission_per_lot=np.array([2.0 * s.commission_per_lot for s in specs]),
            margin_per_lot=np.array([self._margin(symbol, quote) for symbol, quote in prices.items()]),
            notional_per_lot=np.array([s.contract_size * self._rate(s.base_currency, keyed) for s in specs]),
            base_currency=np.array([currencies[s.base_currency] for s in specs], dtype=np.int64),
            profit_currency=np.array([currencies[s.profit_currency] for s in specs], dtype=np.int64),
        )

    def _rate(self, currency: str, rates: Mapping[str, tuple[float, float]]) -> float:
        try:
            return conversion.rate(currency, self._currency, rates)
        except Final:
            return math.nan  # the decision refuses what it cannot convert, and says so

    def _margin(self, symbol: str, quote: Quote | None) -> float:
        if symbol not in self._margins and quote is not None:
            self._margins[symbol] = self._broker.margin_per_lot(symbol, 1, quote.ask)
        return self._margins.get(symbol, math.nan)

    def _conversion_symbols(self, symbol: str) -> tuple[str, ...]:
        """Symbols of this broker that lead from the symbol's currencies to the account's, straight or through USD."""
        if symbol not in self._converting:
            spec, found = self.spec(symbol), []
            pairs = [(c, self._currency) for c in (spec.base_currency, spec.profit_currency)]
            pairs += [(c, conversion.COMMON) for c, _ in pairs] + [(conversion.COMMON, self._currency)]
            for name in (n for a, b in pairs if a != b for n in (a + b, b + a)):
                if self._broker.has_symbol(name):
                    self._broker.select(name)
                    found.append(name)
            self._converting[symbol] = tuple(dict.fromkeys(found))
        return self._converting[symbol]


def symbol_key(spec: SymbolSpec) -> str:
    """The pair's plain name, whatever suffix a foreign position's symbol carries."""
    return spec.base_currency + spec.profit_currency


def _positions(held: Sequence[Held], index: Mapping[str, int]) -> Positions:
    def whole(values: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.fromiter(values, dtype=np.int64)

    def real(values: Iterable[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.fromiter(values, dtype=np.float64)

    return Positions(
        symbol=whole(index[h.symbol] for h in held),
        line=whole(h.line for h in held),
        side=whole(h.side for h in held),
        lots=real(h.lots for h in held),
        entry=real(h.entry for h in held),
        stop=real(h.stop for h in held),
        target=real(h.target for h in held),
        bars_held=whole(h.bars_held for h in held),
        horizon_bars=whole(h.horizon_bars for h in held),
    )


def held_rows(
    positions: Iterable[OpenPosition],
    exits: Mapping[int, Exit],
    unresolved: Iterable[Intent],
    numbers: Mapping[str, int],
    bars_held: Callable[[Exit], int],
) -> list[Held]:
    """Rows of a scene. numbers: index of each line; a position of ours whose line is gone gets one beyond them."""
    rows = []
    for p in positions:
        exit_ = exits.get(p.ticket)
        if exit_ is None:
            rows.append(Held(p, None, p.symbol, FOREIGN, p.side, p.lots, p.entry, p.stop, p.target, 0, 0))
            continue
        line, stop, target = numbers.get(exit_.line, len(numbers)), p.stop or exit_.stop, p.target or exit_.target
        held, horizon = bars_held(exit_), exit_.horizon_bars
        rows.append(Held(p, exit_, p.symbol, line, p.side, p.lots, p.entry, stop, target, held, horizon))
    for i in unresolved:
        if i.kind == "open":
            line = numbers.get(i.line, len(numbers))
            rows.append(Held(None, None, i.symbol, line, i.side, i.lots, i.price, i.stop, i.target, 0, i.horizon_bars))
    return rows


def open_age_s(feed: str, since_s: float, now_s: float) -> float:
    """Seconds of open market between two moments; at most three days are counted."""
    age_s = now_s - since_s
    if age_s <= 60.0:
        return max(age_s, 0.0)
    minutes = np.arange(max(since_s, now_s - _LONGEST_AGE_S), now_s, 60.0)
    closed_s = 60.0 * float((~is_open_s(feed, minutes.astype(np.int64))).sum())
    return max(min(age_s, _LONGEST_AGE_S) - closed_s, 0.0)
