"""Bars to try features on: a generated market with the holes of a real one, or a series of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA, SECONDS, epoch_s, resample, seconds
from feature_store.features import Feature, FeatureSet, FeatureSpec
from feature_store.sources.generator import MarketConfig, generate
from feature_store.store import Store
from feature_store.symbols import assumed_spec

# The last rows hold two weekends and the night of 10 March 2024, in which New York changes its clocks.
_START, _DAYS, _SEED = datetime(2023, 11, 6, tzinfo=UTC), 136, 5
_BASE = "M5"
_LOST, _UNKNOWN, _HOURS = 0.02, 0.02, 0.002
# One of them for sure among the rows on which live is held against history.
_UNKNOWN_HOUR = 100
_OWN, _LEAD = "EURUSD", "USDJPY"
_STORED_ROWS, _WARM_DAYS = 2500, 200


@dataclass(frozen=True)
class Ground:
    """Base bars by symbol, and which rows are made of them.

    name: what the bars are, in words. points: price step by symbol.
    """

    name: str
    base: Mapping[str, pl.DataFrame]
    base_timeframe: str
    symbol: str
    timeframe: str
    context_symbols: tuple[str, ...]
    points: Mapping[str, float]

    def features(self, names: Sequence[str], *, extensions: Path | None = None) -> FeatureSet:
        """A set of these features for this ground. Raises `Final` for one that the ground has no context for."""
        spec = FeatureSpec(tuple(names), self.timeframe, self.context_symbols, (self.symbol,))
        return FeatureSet(spec, points=self.points, extensions=extensions)

    def lacks_context(self, feature: Feature) -> str:
        """Longer bars or symbols that the feature reads and this ground has not; empty where nothing is missing."""
        for context in sorted({i.context for i in feature.inputs} - {""}):
            if context.upper() in SECONDS:
                if seconds(context.upper()) <= seconds(self.timeframe):
                    return f"row shorter than {context.upper()}"
            elif context == "lead":
                if not any(s != self.symbol for s in self.context_symbols):
                    return "second symbol"
            elif context.upper() not in self.context_symbols:
                return context.upper()
        return ""

    def lacks(self, feature: Feature) -> str:
        """Whatever the feature would need to be judged here and does not find; empty where nothing is missing."""
        if lacking := self.lacks_context(feature):
            return lacking
        if len(self.base[self.symbol]) < 2:  # one bar does not even tell how long it is
            return "second bar"
        for column in ("spread_points", "tick_volume"):
            read = [i.context for i in feature.inputs if i.column == column]
            if any(self._unknown_share(context, column) > 0.2 for context in read):
                return f"known {column}"
        return ""

    def _unknown_share(self, context: str, column: str) -> float:
        bars = self.base[self._symbol_of(context)]
        return bars[column].null_count() / max(len(bars), 1)

    def _symbol_of(self, context: str) -> str:
        if context == "lead":
            return next(s for s in self.context_symbols if s != self.symbol)
        return self.symbol if not context or context.upper() in SECONDS else context.upper()


def generated_ground(features: Iterable[Feature], timeframe: str = "H1") -> Ground:
    """M5 bars of EURUSD, USDJPY and every other pair the features name, over 136 days: the same ones every time."""
    symbols = (_OWN, _LEAD, *sorted(s for s in _symbols_named(features) - {_OWN, _LEAD} if _can_be_generated(s)))
    base = _market(symbols)
    return Ground("generated", base, _BASE, _OWN, timeframe, symbols, {s: assumed_spec("", s).point for s in symbols})


def rows_for(feature: Feature) -> str:
    """The longest timeframe, up to H1, on which every longer bar that the feature reads is longer indeed."""
    read_s = [seconds(i.context.upper()) for i in feature.inputs if i.context.upper() in SECONDS]
    return next((t for t in ("H1", "M30", "M15", _BASE) if seconds(t) < min(read_s, default=SECONDS["W1"])), _BASE)


def _symbols_named(features: Iterable[Feature]) -> set[str]:
    return {i.context.upper() for f in features for i in f.inputs} - {"", "LEAD", *SECONDS}


def _config(symbols: tuple[str, ...]) -> MarketConfig:
    return MarketConfig(symbols=symbols, start=_START, days=_DAYS, seed=_SEED)


def _can_be_generated(symbol: str) -> bool:
    try:
        return bool(_config((symbol,)))
    except Final:
        return False


@cache
def _market(symbols: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    market = generate(_config(symbols))
    return {s: _with_holes(resample(market.bars(s), _BASE), number) for number, s in enumerate(symbols)}


def _with_holes(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The bars without some, as where nobody dealt, and with some spreads unknown; single bars and whole hours of both.

    Spreads wander by the hour: the market's own stand still for days, and most of what is told from them is then unknown.
    """
    random = np.random.default_rng(seed)
    hours, hour = np.unique(epoch_s(bars["time"]) // 3600, return_inverse=True)
    lost, unknown = (
        (random.random(len(bars)) < share) | (random.random(len(hours)) < _HOURS)[hour] for share in (_LOST, _UNKNOWN)
    )
    unknown |= hour == len(hours) - _UNKNOWN_HOUR
    wandering = pl.col("spread_points") + pl.Series(random.integers(0, 9, len(hours))[hour].astype(np.int32))
    holed = bars.with_columns(spread_points=pl.when(pl.Series(unknown)).then(None).otherwise(wandering))
    return holed.filter(pl.Series(~lost))


def stored_grounds(
    store: Store,
    features: Sequence[Feature],
    *,
    feed: str | None = None,
    symbol: str | None = None,
    timeframe: str | None = None,
    rows: int | None = _STORED_ROWS,
) -> list[Ground]:
    """One ground for each feed of the store: its symbol with the most bars, or the one that is named.

    Rows are of `timeframe`, by default H1 where the stored bars allow it; None for `rows` takes all there are.
    Raises `Final` where feed or symbol is named and not stored.
    """
    inventory = store.inventory()
    asked = [pl.col(name) == value for name, value in (("feed", feed), ("symbol", symbol)) if value]
    here = inventory.filter(*asked) if asked else inventory
    if here.is_empty() and asked:
        stored = ", ".join(sorted({f"{r['feed']}/{r['symbol']}" for r in inventory.to_dicts()})) or "nothing"
        raise Final(f"no bars of {feed or 'any feed'}/{symbol or 'any symbol'} are stored; there is: {stored}")
    chosen = here.sort("rows", descending=True).unique("feed", keep="first", maintain_order=True).sort("feed")
    return [stored_ground(store, row["feed"], row["symbol"], features, timeframe, rows=rows) for row in chosen.to_dicts()]


def stored_ground(
    store: Store, feed: str, symbol: str, features: Sequence[Feature], timeframe: str | None = None, *, rows: int | None = None
) -> Ground:
    """Bars of that series and of the feed's symbols that the features read: the newest ones, enough for some `rows` rows
    beside their warm-up, or all. Raises `Final` where the stored bars are longer than `timeframe`."""
    base_timeframe = store.base_timeframe(feed, symbol)
    wanted = timeframe or max("H1", base_timeframe, key=seconds)
    if seconds(wanted) < seconds(base_timeframe):
        raise Final(f"{feed} {symbol} is stored as {base_timeframe}, {wanted} cannot be made from it; name a longer timeframe")
    inventory = store.inventory().filter(feed=feed, timeframe=base_timeframe)
    last = inventory.row(by_predicate=pl.col("symbol") == symbol, named=True)["last"].replace(tzinfo=UTC)
    # Five days of seven, and the warm-up of features that look back over months of days.
    start = None if rows is None else last - timedelta(seconds=rows * seconds(wanted) * 7 / 5, days=_WARM_DAYS)
    base = {symbol: store.bars(feed, symbol, base_timeframe, start).select(list(SCHEMA))}
    for other in _others(inventory, symbol, _symbols_named(features)):
        bars = store.bars(feed, other, base_timeframe, start).select(list(SCHEMA))
        if _covers(bars, base[symbol]):
            base[other] = bars
    points = {s: store.symbol(feed, s, last).point for s in base}
    return Ground(f"{feed} {symbol} {wanted}", base, base_timeframe, symbol, wanted, tuple(base), points)


def _others(inventory: pl.DataFrame, symbol: str, named: set[str]) -> list[str]:
    """Symbols of the feed that features name, and one to be the lead."""
    there = [s for s in inventory["symbol"].to_list() if s != symbol]
    return [s for number, s in enumerate(there) if s in named or number == 0]


def _covers(bars: pl.DataFrame, own: pl.DataFrame) -> bool:
    """Whether context is known over the whole of the row's own bars, but for some days at either end."""
    slack = timedelta(days=7)
    if len(bars) < 2 or len(own) < 2:
        return False
    return bool(bars["time"][0] <= own["time"][0] + slack and bars["time"][-1] >= own["time"][-1] - slack)
