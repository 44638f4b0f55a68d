"""`ingest` and what became of it: files and terminals into the store, batches taken back, clocks corrected, rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from flows.quiet import quiet_environment

quiet_environment()

from feature_store.clock import SystemClock  # noqa: E402
from feature_store.sources._names import symbol_in_cell  # noqa: E402
from feature_store.sources._raw import Side  # noqa: E402
from feature_store.store import Batch, Store  # noqa: E402
from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import Settings, load  # noqa: E402
from tasks import ingest as tasks_ingest  # noqa: E402
from tasks.clocks import clock_lines  # noqa: E402
from tasks.home import Home  # noqa: E402
from tasks.ingest import Ingested  # noqa: E402

SCHEMA = 1
_SHOWN_REJECTS = 50


@dataclass(frozen=True)
class Asked:
    """What the user says of files, None where content and bars shall tell."""

    symbol: str | None
    timeframe: str | None
    clock: str | None
    side: str | None
    ask_spread_points: float | None


def ingest(
    home: tuple[Path, bool],
    paths: list[str],
    *,
    feed: str,
    asked: Asked,
    undo: int | None,
    reclock: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Bring bars in, take a batch back, or move batches to another clock."""
    root, _ = home
    settings = load(root)
    place = Home(root)
    if (undo is not None or reclock is not None) and paths:
        raise FlowError("--undo and --reclock work on what is stored and read no files; leave the paths out")
    if undo is not None and reclock is not None:
        raise FlowError("--undo and --reclock are two steps; do one after the other")
    if undo is not None:
        _show([Store(place.store, lock_wait_s=settings.lock_wait_s).undo(undo)], [], [], [], as_json)
        return
    with console.watching():
        if reclock is not None:
            feed = reclock[0]
            done = _reclock(place, settings, *reclock, symbol=asked.symbol)
        elif paths:
            done = _from_files(place, settings, feed, paths, asked)
        else:
            done = Ingested(_from_terminal(root, feed, asked.timeframe or "M1"), [], [])
    symbols = list(dict.fromkeys(b.symbol for b in done.batches if b.rows_read > b.rows_rejected))
    quality: list[str] = []
    try:
        reports = tasks_ingest.quality.fn(place.store, feed, symbols, lock_wait_s=settings.lock_wait_s, pages=place.quality)
        quality = [line for r in reports for line in r.lines()]
    finally:  # the bars are stored, even where no page of them can be written
        _show(done.batches, done.warnings, done.refused, quality, as_json)
    if done.refused:
        _say_refused(done.refused)


def _from_files(place: Home, settings: Settings, feed: str, paths: Sequence[str], asked: Asked) -> Ingested:
    return tasks_ingest.ingest_files.fn(
        place.store,
        feed,
        paths,
        symbol=symbol_in_cell(asked.symbol) if asked.symbol else None,
        timeframe=asked.timeframe,
        clock_rule=asked.clock,
        side=cast("Side | None", asked.side),
        ask_spread_points=asked.ask_spread_points,
        at=SystemClock().now_utc(),
        lock_wait_s=settings.lock_wait_s,
    )


def _reclock(place: Home, settings: Settings, feed: str, rule: str, *, symbol: str | None) -> Ingested:
    done = tasks_ingest.reclock.fn(
        place.store,
        feed,
        rule,
        symbol=symbol.upper() if symbol else None,
        at=SystemClock().now_utc(),
        lock_wait_s=settings.lock_wait_s,
    )
    rules = {b.clock_rule for b in done.batches}
    terminal = feed in settings.feeds and settings.feed(feed).source == "terminal"
    if terminal and rules and rules != {settings.feed(feed).clock}:
        done.warnings.append(
            f'[feeds.{feed}] in tradewind.toml still says clock = "{settings.feed(feed).clock}"; what comes from its '
            f"terminal next is read by that: write {' or '.join(sorted(rules))} there"
        )
    return done


def _from_terminal(root: Path, feed: str, timeframe: str) -> list[Batch]:
    from flows.terminals import open_terminal, symbols_of

    settings = load(root)
    if feed not in settings.feeds:
        there = ", ".join(sorted(settings.feeds)) or "none"
        raise FlowError(f"nothing to ingest: name files, or a feed of tradewind.toml that has a terminal (there is: {there})")
    terminal, clock = open_terminal(root, feed, settings.feed(feed))
    symbols = symbols_of(settings.feed(feed))
    place = Home(root)
    return tasks_ingest.ingest_terminal.fn(
        place.store, feed, settings.feed(feed), terminal, symbols, timeframe, clock, lock_wait_s=settings.lock_wait_s
    )


def _say_refused(refused: Sequence[str]) -> None:
    """Every line on stderr, the last one as the command's error."""
    for line in refused[:-1]:
        console.err.print(line, soft_wrap=True, markup=False)
    raise FlowError(refused[-1])


def _show(batches: list[Batch], warnings: list[str], refused: list[str], quality: list[str], as_json: bool) -> None:
    if as_json:
        console.print_json(
            {
                "schema": SCHEMA,
                "batches": [_batch(b) for b in batches],
                "warnings": warnings,
                "refused": refused,
                "quality": quality,
            }
        )
        return
    if not batches and not refused:
        console.say("nothing to do: every bar stands where this clock puts it")
    for b in batches:
        for line in _lines(b):
            console.say(line)
    for line in warnings:
        console.say(f"WARNING {line}")
    for line in quality:
        console.say(f"  {line}")


def _lines(b: Batch) -> list[str]:
    series = f"{b.feed} {b.symbol} {b.timeframe}"
    if b.undone and b.reclocks:
        back = f"batch {b.id} undone: {series}, {b.rows_read:,} bars back on the clock of batch {b.reclocks}"
        return [back, *(f"  {note}" for note in b.notes)]
    if b.undone:
        return [f"batch {b.id} undone: {series}, {b.rows_new:,} bars gone, {b.rows_changed:,} restored"]
    span = f"{b.first:%Y-%m-%d %H:%M} to {b.last:%Y-%m-%d %H:%M} UTC" if b.first and b.last else "no bars"
    rejected = "".join(f", {count:,} rejected ({reason})" for reason, count in b.rejects.items())
    if b.reclocks:
        did = f"{b.rows_changed:,} moved, {b.rows_same:,} already there"
    else:
        did = f"{b.rows_new:,} new, {b.rows_changed:,} changed, {b.rows_same:,} already there"
    lines = [f"batch {b.id}: {series}, {did}{rejected}; {span}; clock {b.clock_rule}"]
    if b.rows_rejected:
        lines.append(f"  rejected rows: tradewind data --rejects {b.id}")
    return lines + [f"  {line}" for line in (*clock_lines(b.clock), *b.notes)]


def _batch(batch: Batch) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(batch).items()}


def rejects(home: tuple[Path, bool], batch_id: int, as_json: bool) -> None:
    """Rows of its source that a batch did not store, each with its reason and text."""
    root, _ = home
    store = Store(Home(root).store, lock_wait_s=load(root).lock_wait_s)
    batch, rows = store.batch(batch_id), store.rejects(batch_id)
    if as_json:
        console.print_json({"schema": SCHEMA, "batch": _batch(batch), "rejects": rows.to_dicts()})
        return
    series = f"{batch.feed} {batch.symbol} {batch.timeframe} from {batch.origin}"
    if batch.rows_rejected > rows.height:  # batches of the first schema counted them only
        console.say(f"batch {batch_id}: {series}; {batch.rows_rejected:,} rejected, their rows were not kept by that version")
        return
    console.say(f"batch {batch_id}: {series}; {rows.height:,} of {batch.rows_read:,} rows rejected")
    for row in rows.head(_SHOWN_REJECTS).to_dicts():
        time = f"{row['time']:%Y-%m-%d %H:%M:%S}" if row["time"] else "no time"
        console.say(f"  row {row['source_row']}  {row['reason']}  {time}  {row['content']}")
    if rows.height > _SHOWN_REJECTS:
        console.say(f"  ... and {rows.height - _SHOWN_REJECTS:,} more: all of them with --json")
