"""Feeds beside each other: which there are, how two of one symbol differ, and what a terminal calls our symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_store._arrays import I8
from feature_store.bars import seconds
from feature_store.compare import NO_LABEL, Comparison, Side, compare
from feature_store.labels import LabelSpec
from feature_store.settings import FeedSettings
from feature_store.store import Store
from feature_store.symbol_names import Proposal, propose
from serving._errors import ServingError
from serving.terminal.offers import offers
from tasks import progress
from tasks._errors import Final
from tasks._step import step
from tasks.costs import spread_table
from tasks.dataset import Dataset, Rows, label_rows, rates, rows_of
from tasks.home import Home

Feeds = Callable[[str], FeedSettings]
ACCOUNT_CURRENCY = "USD"  # commission of compared labels is paid in it


@dataclass(frozen=True)
class FeedLine:
    """One feed as `feeds` lists it. symbols: ours, with what the source calls them; spreads: evidence by symbol."""

    name: str
    source: str
    clock: str
    symbols: Mapping[str, str]
    timeframes: Mapping[str, tuple[str, ...]]
    bars: int
    spreads: Mapping[str, str]
    pipelines: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "timeframes": {s: list(t) for s, t in self.timeframes.items()}, "pipelines": list(self.pipelines)}


def list_feeds(
    home: Path, feeds: Mapping[str, FeedSettings], pipelines: Mapping[str, str], *, lock_wait_s: float
) -> list[FeedLine]:
    """Every feed that has bars or settings, by name. pipelines: name -> the feed it reads."""
    store = Store(Home(home).store, lock_wait_s=lock_wait_s)
    inventory = store.inventory()
    found = []
    for name in sorted({*feeds, *inventory["feed"].to_list()}):
        settings = feeds.get(name, FeedSettings())
        stored = inventory.filter(feed=name)
        symbols = sorted({*stored["symbol"].to_list(), *settings.symbols})
        there = {s: tuple(sorted(stored.filter(symbol=s)["timeframe"].to_list(), key=seconds)) for s in symbols}
        found.append(
            FeedLine(
                name=name,
                source=settings.source,
                clock=settings.clock,
                symbols={s: settings.symbols.get(s, s) for s in symbols},
                timeframes=there,
                bars=int(stored["rows"].sum()),
                spreads={s: spread_table(store, name, s, settings).evidence for s in symbols if there[s]},
                pipelines=tuple(sorted(p for p, feed in pipelines.items() if feed == name)),
            )
        )
    return found


@step("compare {a} with {b}")
def compare_feeds(
    home: Path, a: str, b: str, feeds: Feeds, *, symbol: str | None, timeframe: str | None, lock_wait_s: float
) -> list[Comparison]:
    """How feeds `a` and `b` differ, a comparison for each symbol both have, or for `symbol` alone.

    timeframe: of the compared bars; None takes the longer of the two shortest that are stored.
    """
    store = Store(Home(home).store, lock_wait_s=lock_wait_s)
    found = []
    names = _common(store, a, b, symbol)
    for number, name in enumerate(names):
        progress.tell("compare", number, len(names), name)
        chosen = timeframe or max((store.base_timeframe(feed, name) for feed in (a, b)), key=seconds)
        notes: list[str] = []
        sides = [_side(store, feed, name, chosen, feeds(feed), notes) for feed in (a, b)]
        found.append(compare(sides[0], sides[1], name, chosen, notes))
    progress.tell("compare", len(names), len(names))
    return found


def _common(store: Store, a: str, b: str, symbol: str | None) -> list[str]:
    if a == b:
        raise Final(f"feed {a!r} compared with itself; name two feeds")
    inventory = store.inventory()
    here = {feed: set(inventory.filter(feed=feed)["symbol"].to_list()) for feed in (a, b)}
    for feed, symbols in here.items():
        if not symbols:
            there = ", ".join(sorted(set(inventory["feed"].to_list()))) or "none"
            raise Final(f"feed {feed!r} has no bars; there are: {there}; ingest some first")
        if symbol is not None and symbol not in symbols:
            raise Final(f"feed {feed!r} has no bars of {symbol}; it has {', '.join(sorted(symbols))}")
    names = sorted(here[a] & here[b]) if symbol is None else [symbol]
    if not names:
        raise Final(f"feeds {a!r} and {b!r} share no symbol: {_listed(here[a])} against {_listed(here[b])}")
    return names


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _side(store: Store, feed: str, symbol: str, timeframe: str, settings: FeedSettings, notes: list[str]) -> Side:
    rows = _rows(store, feed, symbol, timeframe, settings)
    return Side(feed, rows.bars, rows.spec.point, rows.table, _labels(store, feed, rows, timeframe, settings, notes))


def _rows(store: Store, feed: str, symbol: str, timeframe: str, settings: FeedSettings) -> Rows:
    bars = store.bars(feed, symbol, timeframe)
    if bars.is_empty():
        raise Final(f"{symbol}: feed {feed!r} has no whole bar of {timeframe}; ask for a shorter timeframe")
    return rows_of(store, feed, settings, symbol, bars, timeframe)


def _labels(store: Store, feed: str, rows: Rows, timeframe: str, settings: FeedSettings, notes: list[str]) -> I8 | None:
    """Labels under the default spec; without commission, and a note of it, where no rate leads to the dollar."""
    symbol, currency = rows.spec.symbol, rows.spec.profit_currency
    dataset = Dataset(base={}, rows={symbol: rows}, base_timeframe=timeframe)
    held = set(store.inventory().filter(feed=feed)["symbol"].to_list())
    for pair in {currency + ACCOUNT_CURRENCY, ACCOUNT_CURRENCY + currency} & held - {symbol}:
        dataset.rows[pair] = _rows(store, feed, pair, timeframe, settings)
    spec = LabelSpec()
    if rows.bars.height <= max(spec.horizon_bars, spec.atr_bars):
        notes.append(f"no labels of {feed}: {rows.bars.height} bars are too few")
        return None
    try:
        gain, loss = rates(dataset, currency, ACCOUNT_CURRENCY, rows.close_s)
    except ServingError as error:
        notes.append(f"labels of {feed} are without commission: {error}")
        gain = loss = np.full(rows.bars.height, np.inf)
    found = label_rows(rows, gain, loss, spec, count=rows.bars.height)
    return np.where(found.label_end >= 0, found.label, NO_LABEL).astype(np.int8)


@step("map symbols of {feed}")
def propose_symbols(feed: str, settings: FeedSettings, terminal: Any, wanted: tuple[str, ...]) -> list[Proposal]:
    """What the feed's terminal calls our symbols: `wanted`, and those its settings name; all it offers when there are none."""
    progress.tell("symbols", 0, 1, feed)
    found = propose(offers(terminal), (*settings.symbols, *wanted), settings.symbols)
    progress.tell("symbols", 1, 1, feed)
    return found
