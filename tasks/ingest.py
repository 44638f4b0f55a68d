"""Bars into the store: from files and from terminals, each ingest a batch, each with its quality report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feature_store.bars import seconds
from feature_store.clock import Clock
from feature_store.quality import QualityReport, report
from feature_store.settings import FeedSettings
from feature_store.sources._source import SourceBars, read_path
from feature_store.sources.terminal import read_terminal
from feature_store.store import Batch, Store
from feature_store.symbols import SymbolSpec
from serving.terminal.broker import Broker
from tasks import artifacts, progress
from tasks._step import step

# Bars fetched again behind the newest stored one: a broker may still correct its latest.
_OVERLAP_BARS = 100


def _keep(store: Store, feed: str, found: Iterator[SourceBars], at: datetime) -> list[Batch]:
    batches: list[Batch] = []
    for part in found:
        progress.tell("ingest", len(batches), 0, f"{part.symbol} {part.timeframe}: {part.bars.height:,} rows")
        batches.append(
            store.ingest(
                feed,
                part.symbol,
                part.timeframe,
                part.bars,
                origin=part.origin,
                sha256=part.sha256,
                clock_rule=part.clock_rule,
                at=at,
            )
        )
    return batches


@step("ingest files into {feed}")
def ingest_files(
    store_path: Path,
    feed: str,
    paths: Sequence[str],
    *,
    symbol: str | None,
    timeframe: str | None,
    clock_rule: str | None,
    at: datetime,
    lock_wait_s: float,
) -> list[Batch]:
    """The batches that these files, folders or globs became. Every path is read before any is stored."""
    found = [part for path in paths for part in read_path(Path(path), symbol=symbol, timeframe=timeframe, clock_rule=clock_rule)]
    return _keep(Store(store_path, lock_wait_s=lock_wait_s), feed, iter(found), at)


@step("ingest {feed} from its terminal")
def ingest_terminal(
    store_path: Path,
    feed: str,
    settings: FeedSettings,
    terminal: Any,
    symbols: Sequence[str],
    timeframe: str,
    clock: Clock,
    *,
    lock_wait_s: float,
) -> list[Batch]:
    """The batches of new closed bars of each symbol, and the terminal's own word on what each symbol is."""
    store = Store(store_path, lock_wait_s=lock_wait_s)
    names = {symbol: settings.symbols.get(symbol, symbol) for symbol in symbols}
    broker = Broker(
        terminal,
        feed=feed,
        clock=clock,
        clock_rule=settings.clock,
        symbols=names,
        commission_per_lot=settings.commission_per_lot,  # terminals do not tell it
    )
    broker.connect()
    batches: list[Batch] = []
    for number, (symbol, broker_symbol) in enumerate(names.items()):
        progress.tell("ingest", number, len(names), symbol)
        bars = read_terminal(
            terminal,
            broker_symbol=broker_symbol,
            symbol=symbol,
            timeframe=timeframe,
            clock_rule=settings.clock,
            clock=clock,
            start=_from(store, feed, symbol, timeframe),
        )
        batches += _keep(store, feed, bars, clock.now_utc())
        _keep_spec(store, broker.spec(symbol), timeframe)
    progress.tell("ingest", len(names), len(names))
    return batches


def _keep_spec(store: Store, spec: SymbolSpec, timeframe: str) -> None:
    """Note what the terminal says of a symbol. Its first word holds for all the history it handed over."""
    there = store.inventory().filter(feed=spec.feed, symbol=spec.symbol, timeframe=timeframe)
    if there.is_empty():
        return
    first: datetime = there["first"][0].replace(tzinfo=UTC)
    known = store.symbol(spec.feed, spec.symbol, spec.valid_from).source == "broker"
    store.put_symbol(spec if known else replace(spec, valid_from=first))


def _from(store: Store, feed: str, symbol: str, timeframe: str) -> datetime | None:
    """Open time from which bars are asked for again, None when nothing is stored."""
    there = store.inventory().filter(feed=feed, symbol=symbol, timeframe=timeframe)
    if there.is_empty():
        return None
    newest: datetime = there["last"][0].replace(tzinfo=UTC)
    return newest - timedelta(seconds=_OVERLAP_BARS * seconds(timeframe))


@step("quality of {feed}")
def quality(store_path: Path, feed: str, symbols: Sequence[str], *, lock_wait_s: float) -> list[QualityReport]:
    """What is odd about the stored bars of each symbol, in the timeframe they are stored in."""
    store = Store(store_path, lock_wait_s=lock_wait_s)
    reports = []
    for symbol in symbols:
        timeframe = store.base_timeframe(feed, symbol)
        reports.append(report(store.bars(feed, symbol, timeframe), feed, symbol, timeframe))
    text = "\n\n".join("\n".join(f"- {line}" for line in r.lines()) for r in reports)
    artifacts.publish_markdown("data-quality", text, f"Quality of the bars of feed {feed}")
    return reports
