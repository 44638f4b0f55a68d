"""From bars in the store to a snapshot that training reads instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.atr import atr
from feature_store.bars import bar_close, epoch_s, resample
from feature_store.features import FeatureSet, FeatureSpec, all_features
from feature_store.labels import Labels, LabelSpec, label_trades
from feature_store.settings import FeedSettings
from feature_store.snapshot import SymbolPart, write_snapshot
from feature_store.spreads import SpreadTable
from feature_store.store import Store
from feature_store.symbols import SymbolSpec
from serving.conversion import COMMON, rate_series
from tasks import progress
from tasks._errors import Final
from tasks._step import step
from tasks.costs import BarCosts, bar_costs, specs_between, spread_table
from tasks.home import Home
from tasks.settings import PipelineSettings

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """One symbol's bars of the pipeline's timeframe with what the labels and the backtest need beside them."""

    specs: tuple[SymbolSpec, ...]  # in force over these bars, oldest first
    bars: pl.DataFrame
    close_s: npt.NDArray[np.int64]
    costs: BarCosts  # of each bar, as of it
    table: SpreadTable

    @property
    def spec(self) -> SymbolSpec:
        """The newest specification."""
        return self.specs[-1]

    @property
    def spread(self) -> F64:
        """Spread that each bar pays, price units: the larger of its own and the feed's table."""
        return self.costs.spread


@dataclass(frozen=True)
class Dataset:
    """All bars of a pipeline on the way into a snapshot."""

    base: dict[str, pl.DataFrame]
    rows: dict[str, Rows]
    base_timeframe: str


def load(
    home: Home, pipeline: PipelineSettings, feed: FeedSettings, *, lock_wait_s: float, until: datetime | None = None
) -> Dataset:
    """Bars of the pipeline's symbols, its context, and of what its account currency needs. Raises `Final` when some lack."""
    store = Store(home.store, lock_wait_s=lock_wait_s)
    here = require_bars(store, pipeline)
    wanted = dict.fromkeys((*pipeline.symbols, *pipeline.context_symbols))
    wanted |= dict.fromkeys(s for s in sorted(here) if _converts(s, pipeline))
    start, end = _span(pipeline.start, pipeline.end, until)
    base: dict[str, pl.DataFrame] = {}
    rows: dict[str, Rows] = {}
    for symbol in wanted:
        base_timeframe = store.base_timeframe(pipeline.feed, symbol)
        bars = store.bars(pipeline.feed, symbol, base_timeframe, start, end)
        if until is not None:
            # A bar that opened before may have closed after: then nobody knew it.
            bars = bars.filter(pl.Series(bar_close(epoch_s(bars["time"]), base_timeframe) <= until.timestamp()))
        if bars.is_empty():
            raise Final(f"{symbol}: feed {pipeline.feed!r} has no bars between {start or 'its start'} and {end or 'its end'}")
        base[symbol] = bars
        longer = resample(bars, pipeline.timeframe)
        rows[symbol] = rows_of(store, pipeline.feed, feed, symbol, longer, pipeline.timeframe)
    return Dataset(base=base, rows=rows, base_timeframe=store.base_timeframe(pipeline.feed, pipeline.symbols[0]))


def require_bars(store: Store, pipeline: PipelineSettings) -> set[str]:
    """Symbols that the pipeline's feed has. Raises `Final` when one of the pipeline's own is not among them."""
    here = set(store.inventory().filter(feed=pipeline.feed)["symbol"].to_list())
    if missing := [s for s in dict.fromkeys((*pipeline.symbols, *pipeline.context_symbols)) if s not in here]:
        there = ", ".join(sorted(here)) or "nothing"
        raise Final(f"feed {pipeline.feed!r} has no bars of {', '.join(missing)}; it has {there}: ingest them first")
    return here


def _converts(symbol: str, pipeline: PipelineSettings) -> bool:
    """Whether the pair may be needed to bring profits into the account currency."""
    currencies = {c for s in pipeline.symbols for c in (s[:3], s[3:6])} | {pipeline.account_currency, COMMON}
    return {symbol[:3], symbol[3:6]} <= currencies and {symbol[:3], symbol[3:6]} & {pipeline.account_currency, COMMON} != set()


def _span(start: date | None, end: date | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    first = None if start is None else datetime(start.year, start.month, start.day, tzinfo=UTC)
    last = None if end is None else datetime(end.year, end.month, end.day, tzinfo=UTC)
    if until is not None:
        last = until if last is None else min(last, until)
    return first, last


def rows_of(store: Store, feed: str, settings: FeedSettings, symbol: str, bars: pl.DataFrame, timeframe: str) -> Rows:
    """A symbol's bars of `timeframe` with what they cost; at least one bar."""
    opens = epoch_s(bars["time"])
    close_s = bar_close(opens, timeframe)
    specs = specs_between(store, feed, symbol, int(opens[0]), int(close_s[-1]), settings)
    table = spread_table(store, feed, symbol, settings)
    return Rows(tuple(specs), bars, close_s, bar_costs(bars, specs, table), table)


def rates(dataset: Dataset, currency: str, account_currency: str, at_s: npt.NDArray[np.int64]) -> tuple[F64, F64]:
    """(gain, loss) rates from `currency` to the account's at each moment, from the last bar known then."""
    bid: dict[str, F64] = {}
    ask: dict[str, F64] = {}
    for symbol, rows in dataset.rows.items():
        index = np.searchsorted(rows.close_s, at_s, side="right") - 1
        close = rows.bars["close"].to_numpy()
        bid[symbol] = np.where(index >= 0, close[index], np.nan)
        ask[symbol] = bid[symbol] + np.where(index >= 0, rows.spread[index], np.nan)
    return rate_series(currency, account_currency, bid, ask, len(at_s))


def cost_source(dataset: Dataset, symbols: tuple[str, ...], feed: FeedSettings) -> str:
    """Whose word the costs rest on, the weakest of all: `broker`, `user` or `assumed`.

    A real terminal does not tell its commission: there it is the user's word when the feed's settings state one.
    """
    rows = [dataset.rows[s] for s in symbols]
    if any(r.table.source == "assumed" or any(spec.source == "assumed" for spec in r.specs) for r in rows):
        return "assumed"
    if any(r.table.lender for r in rows):
        return "user"
    if feed.source == "generator":
        return "broker"
    return "user" if "commission_per_lot" in feed.model_fields_set else "assumed"


@step("snapshot {name}")
def build_snapshot(
    home_root: Path,
    name: str,
    pipeline: PipelineSettings,
    feed: FeedSettings,
    *,
    lock_wait_s: float,
    until: datetime | None = None,
) -> Path:
    """The snapshot of the pipeline's bars up to `until`; the same content gives the same folder."""
    home = Home(home_root)
    progress.tell("snapshot", 0, len(pipeline.symbols))
    dataset = load(home, pipeline, feed, lock_wait_s=lock_wait_s, until=until)
    feature_set = feature_set_of(pipeline, {s: r.spec.point for s, r in dataset.rows.items()}, extensions=home.extensions)
    label_spec = LabelSpec(**pipeline.label.model_dump())
    parts = []
    for done, symbol in enumerate(pipeline.symbols):
        parts.append(_part(dataset, feature_set, label_spec, pipeline, symbol))
        progress.tell("snapshot", done + 1, len(pipeline.symbols), symbol)
    provenance: dict[str, Any] = {
        "pipeline": name,
        "mode": "simulated" if feed.source == "generator" else "real",
        "cost_source": cost_source(dataset, pipeline.symbols, feed),
        "account_currency": pipeline.account_currency,
        "base_timeframe": dataset.base_timeframe,
        "feature_spec": feature_set.spec.as_dict(),
        "specs": {s: _spec_words(dataset.rows[s].spec) for s in pipeline.symbols},
        "spreads": {s: dataset.rows[s].table.evidence for s in pipeline.symbols},
    }
    return write_snapshot(
        home.snapshots,
        parts,
        timeframe=pipeline.timeframe,
        feature_names=feature_set.names,
        feature_hash=feature_set.hash,
        warmup_bars=feature_set.warmup_bars,
        label_spec=label_spec,
        provenance=provenance,
    )


def feature_set_of(pipeline: PipelineSettings, points: dict[str, float], *, extensions: Path | None = None) -> FeatureSet:
    """The features of a pipeline: those it names, by default all that its timeframe and context allow, the user's own too."""
    spec = FeatureSpec(
        names=None, timeframe=pipeline.timeframe, context_symbols=pipeline.context_symbols, symbols=pipeline.symbols
    )
    if pipeline.features != ("all",):
        spec = replace(spec, names=_named(pipeline, extensions))
    return FeatureSet(spec, points=points, extensions=extensions)


def _named(pipeline: PipelineSettings, extensions: Path | None) -> tuple[str, ...]:
    """Names that the pipeline's words stand for; a group stands for its features that timeframe and context allow."""
    allowed = {*feature_set_of(pipeline.model_copy(update={"features": ("all",)}), {}, extensions=extensions).names}
    groups: dict[str, list[str]] = {}
    for feature in all_features(extensions):
        if feature.name in allowed:
            groups.setdefault(feature.group, []).append(feature.name)
    return tuple(dict.fromkeys(name for word in pipeline.features for name in groups.get(word, [word])))


def _spec_words(spec: SymbolSpec) -> dict[str, Any]:
    return {k: (v.isoformat() if isinstance(v, datetime) else v) for k, v in vars(spec).items()}


def _part(
    dataset: Dataset, feature_set: FeatureSet, label_spec: LabelSpec, pipeline: PipelineSettings, symbol: str
) -> SymbolPart:
    rows = dataset.rows[symbol]
    computed = feature_set.compute(dataset.base, symbol)
    # A last bar that may still be forming gives no features; then it gives no row at all.
    bars, close_s, spread = rows.bars.head(computed.height), rows.close_s[: computed.height], rows.spread[: computed.height]
    if not bars["time"].equals(computed["time"]):
        raise Final(f"{symbol}: features and bars do not stand on the same times; this is a fault, please report it")
    open_, high, low, close = (bars[c].to_numpy() for c in ("open", "high", "low", "close"))
    gain, loss = rates(dataset, rows.spec.profit_currency, pipeline.account_currency, rows.close_s)
    labels = label_rows(rows, gain, loss, label_spec, count=computed.height)
    gain, loss = gain[: computed.height], loss[: computed.height]
    return SymbolPart(
        feed=pipeline.feed,
        symbol=symbol,
        times_s=close_s,
        features=computed.drop("time").to_numpy().astype(np.float32),
        labels=labels,
        segment_starts=np.array([0], dtype=np.int64),
        prices=np.column_stack([open_, high, low, close, spread, gain, loss]),
    )


def label_rows(rows: Rows, gain: F64, loss: F64, spec: LabelSpec, *, count: int) -> Labels:
    """Labels of a symbol's first `count` bars from its own prices and costs.

    gain, loss: rates of its profit currency in the account's at each bar. Raises `Final` when there is none at all.
    """
    commission = rows.costs.commission_price((gain + loss) / 2.0)[:count]
    if np.isnan(commission).all():
        raise Final(f"{rows.spec.symbol}: no rate from {rows.spec.profit_currency} to the account's currency at any bar")
    # The first bars may lie before the converting pair begins; their cost is the first one known.
    commission = pl.Series(commission).fill_nan(None).backward_fill().to_numpy()
    open_, high, low, close = (rows.bars[c].to_numpy()[:count] for c in ("open", "high", "low", "close"))
    unit = atr(high, low, close, spec.atr_bars)
    return label_trades(open_, high, low, close, rows.close_s[:count], unit, rows.spread[:count], commission, spec)
