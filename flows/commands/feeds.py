"""`feeds`: which feeds there are, how two of them differ, and what a broker calls our symbols."""

from __future__ import annotations

from pathlib import Path

from flows.quiet import quiet_environment

quiet_environment()

from feature_store.compare import Comparison  # noqa: E402
from feature_store.symbol_names import Proposal  # noqa: E402
from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import FILE_NAME, Settings, load  # noqa: E402
from flows.settings_edit import write_symbols  # noqa: E402
from flows.terminals import open_terminal  # noqa: E402
from tasks import feeds as tasks_feeds  # noqa: E402

SCHEMA = 1
USAGE = "feeds | feeds compare A B | feeds map FEED"


def feeds(
    home: tuple[Path, bool], words: list[str], *, symbol: str | None, timeframe: str | None, confirm: bool, as_json: bool
) -> None:
    """List feeds, compare two, or map a broker's symbols."""
    root, _ = home
    settings = load(root)
    name = symbol.upper() if symbol else None
    action, *names = words or ["list"]
    if confirm and action != "map":
        raise FlowError("--confirm writes what `feeds map FEED` proposes; use it there")
    if action == "list" and not names:
        _list(root, settings, as_json)
    elif action == "compare" and len(names) == 2:
        _compare(root, settings, names[0], names[1], name, timeframe, as_json)
    elif action == "map" and len(names) == 1:
        _map(root, settings, names[0], name, confirm, as_json)
    else:
        raise FlowError(f"feeds {' '.join(words)}: not known; use {USAGE}")


def _list(root: Path, settings: Settings, as_json: bool) -> None:
    readers = {name: pipeline.feed for name, pipeline in settings.pipelines.items()}
    found = tasks_feeds.list_feeds(root, settings.feeds, readers, lock_wait_s=settings.lock_wait_s)
    if as_json:
        console.print_json({"schema": SCHEMA, "feeds": [line.as_dict() for line in found]})
        return
    if not found:
        console.out.print(f"{root} knows no feed yet; try: tradewind ingest FILE.csv --feed NAME")
        return
    for line in found:
        used = f"; read by {', '.join(line.pipelines)}" if line.pipelines else ""
        console.say(f"{line.name}: {line.source}, server clock {line.clock}, {line.bars:,} bars{used}")
        for ours, theirs in line.symbols.items():
            called = "" if ours == theirs else f" (its {theirs})"
            stored = ", ".join(line.timeframes[ours]) or "no bars yet"
            spread = f"; spreads: {line.spreads[ours]}" if ours in line.spreads else ""
            console.say(f"  {ours}{called}: {stored}{spread}")


def _compare(root: Path, settings: Settings, a: str, b: str, symbol: str | None, timeframe: str | None, as_json: bool) -> None:
    with console.watching():
        found = tasks_feeds.compare_feeds.fn(
            root, a, b, settings.feed, symbol=symbol, timeframe=timeframe, lock_wait_s=settings.lock_wait_s
        )
    if as_json:
        console.print_json({"schema": SCHEMA, "comparisons": [c.as_dict() for c in found]})
        return
    for comparison in found:
        for line in comparison.lines():
            console.say(line)
        _spreads(comparison)


def _spreads(comparison: Comparison) -> None:
    columns = [
        "New York hour",
        comparison.feed_a,
        comparison.feed_b,
        f"{comparison.feed_a} charged",
        f"{comparison.feed_b} charged",
    ]
    rows = [
        [f"{s.hour:02d}", *(console.number(v, ".6g") for v in (s.own_a, s.own_b, s.table_a, s.table_b))]
        for s in comparison.spreads
    ]
    console.print_table(
        f"{comparison.symbol}: median spread that bars recorded, and the least that is charged, in price", columns, rows
    )


def _map(root: Path, settings: Settings, feed: str, symbol: str | None, confirm: bool, as_json: bool) -> None:
    if feed not in settings.feeds:
        there = ", ".join(sorted(settings.feeds)) or "none"
        raise FlowError(f"feed {feed!r} is not in {FILE_NAME}; there is: {there}; add a table [feeds.{feed}]")
    read = tuple(s for p in settings.pipelines.values() if p.feed == feed for s in p.symbols)
    terminal, _ = open_terminal(root, feed, settings.feeds[feed])
    found = tasks_feeds.propose_symbols.fn(feed, settings.feeds[feed], terminal, (symbol,) if symbol else read)
    if symbol is not None:
        found = [p for p in found if p.symbol == symbol]
    chosen = {p.symbol: p.broker_symbol for p in found if p.broker_symbol}
    if confirm and chosen:
        write_symbols(root / FILE_NAME, feed, chosen)
    if as_json:
        console.print_json({"schema": SCHEMA, "feed": feed, "proposals": [vars(p) for p in found], "written": confirm})
    else:
        _show(root, feed, found, confirm)


def _show(root: Path, feed: str, found: list[Proposal], confirm: bool) -> None:
    for p in found:
        console.say(f"{p.symbol} -> {p.broker_symbol or '?'}: {p.reason}")
    count = sum(1 for p in found if p.broker_symbol)
    if confirm:
        console.say(f"{count} written to [feeds.{feed}.symbols] of {root / FILE_NAME}")
    elif count:
        console.say(f"nothing is written yet; to keep these {count}: tradewind feeds map {feed} --confirm")
