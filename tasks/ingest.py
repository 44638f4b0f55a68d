"""Bars into the store: from files and from terminals, each ingest a batch, each with its quality report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from feature_store._accept import OFF_GRID
from feature_store.bars import seconds
from feature_store.clock import Clock
from feature_store.settings import FeedSettings
from feature_store.sources._raw import RawBars, Side, going_on
from feature_store.sources._source import SourceBars, read_path
from feature_store.sources.terminal import read_terminal
from feature_store.store import Batch, Store
from feature_store.symbols import SymbolSpec
from serving.terminal.broker import Broker
from tasks import progress
from tasks._step import step
from tasks.clocks import Told, in_utc, retell, tell_clock
from tasks.quality import quality as quality

# Bars fetched again behind the newest stored one: a broker may still correct its latest.
_OVERLAP_BARS = 100


@dataclass(frozen=True)
class Ingested:
    """What became of files: the batches stored, a line for each file that was not, and what speaks against a clock."""

    batches: list[Batch]
    refused: list[str]
    warnings: list[str]


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
    side: Side | None = None,
    ask_spread_points: float | None = None,
) -> Ingested:
    """What these files, folders or globs became. A file that is refused leaves nothing behind and stops no other.

    clock_rule: of all of them; None asks the content, then the bars. side, ask_spread_points: see `read_path`.
    """
    store = Store(store_path, lock_wait_s=lock_wait_s)
    done = Ingested([], [], [])
    raws = read_path(
        *(Path(path) for path in paths),
        symbol=symbol,
        timeframe=timeframe,
        clock_rule=clock_rule,
        side=side,
        ask_spread_points=ask_spread_points,
        refused=done.refused.append,
        skipped=done.warnings.append,
    )
    for raw in raws:
        progress.tell("ingest", len(done.batches), 0, f"{raw.symbol} {raw.timeframe}: {raw.origin}")
        with going_on(done.refused.append):
            told = tell_clock(store, feed, raw, given=clock_rule)
            done.batches.append(_store_raw(store, feed, raw, told, at))
            done.refused.extend(_nothing_stored(done.batches[-1]))
            if told.warning:
                done.warnings.append(f"{raw.origin}: {told.warning}")
    return done


def _nothing_stored(batch: Batch) -> list[str]:
    """The line that says so when every row of a source was turned away."""
    if batch.rows_rejected < batch.rows_read:
        return []
    why = ", ".join(f"{count:,} {reason}" for reason, count in batch.rejects.items()) or "it has none"
    daily = "; a daily bar opens at 17:00 New York: pass the --clock that puts it there, or ingest a shorter timeframe"
    hint = daily if batch.timeframe == "D1" and OFF_GRID in batch.rejects else ""
    return [f"{batch.origin}: none of its {batch.rows_read:,} rows could be stored ({why}){hint}"]


def _store_raw(store: Store, feed: str, raw: RawBars, told: Told, at: datetime) -> Batch:
    label = (f"{raw.label}, read by clock {told.rule}",) if raw.label else ()
    return store.ingest(
        feed,
        raw.symbol,
        raw.timeframe,
        _frames_in_utc(raw, told.rule),
        origin=raw.origin,
        sha256=raw.sha256,
        clock_rule=told.rule,
        at=at,
        clock=told.clock,
        content=raw.content,
        notes=label + raw.notes,
    )


def _frames_in_utc(raw: RawBars, rule: str) -> Iterator[pl.DataFrame]:
    rows = 0
    for frame in raw.chunks():
        yield in_utc(frame, rule)
        rows += frame.height
        progress.tell("read", rows, 0, f"{raw.symbol} {raw.timeframe}: {rows:,} rows")


@step("reclock {feed}")
def reclock(store_path: Path, feed: str, rule: str, *, symbol: str | None, at: datetime, lock_wait_s: float) -> Ingested:
    """The batches that hold the feed's bars at the times of `rule`, `infer`: of the clock that the bars tell.

    All of them or none are stored. Where the bars do not tell, the line is among the refused ones.
    """
    store = Store(store_path, lock_wait_s=lock_wait_s)
    if rule != "infer":
        return Ingested(store.reclock(feed, rule, symbol=symbol, at=at), [], [])
    told = retell(store, feed, symbol)
    moved = store.reclock(feed, told.rules, symbol=symbol, at=at, clocks=told.clocks)
    return Ingested(moved, list(told.refused), [])


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
        batches += [_store_part(store, feed, part, clock.now_utc()) for part in bars]
        _keep_spec(store, broker.spec(symbol), timeframe)
    progress.tell("ingest", len(names), len(names))
    return batches


def _store_part(store: Store, feed: str, part: SourceBars, at: datetime) -> Batch:
    return store.ingest(
        feed,
        part.symbol,
        part.timeframe,
        part.bars,
        origin=part.origin,
        sha256=part.sha256,
        clock_rule=part.clock_rule,
        at=at,
    )


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
