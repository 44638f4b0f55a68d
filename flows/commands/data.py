"""`ingest`, `data`, `export`, `features`: what is known of the market."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from feature_store.clock import SystemClock  # noqa: E402
from feature_store.features import all_features  # noqa: E402
from feature_store.store import Batch, Store  # noqa: E402
from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import load  # noqa: E402
from tasks import ingest as tasks_ingest  # noqa: E402
from tasks.dataset import feature_set_of  # noqa: E402
from tasks.home import Home  # noqa: E402

SCHEMA = 1


def ingest(
    home: tuple[Path, bool],
    paths: list[str],
    *,
    feed: str,
    symbol: str | None,
    timeframe: str | None,
    clock: str | None,
    undo: int | None,
    as_json: bool,
) -> None:
    """Bring bars in, or take a batch back."""
    root, _ = home
    settings = load(root)
    place = Home(root)
    if undo is not None:
        if paths:
            raise FlowError("--undo takes a batch back and reads no files; leave the paths out")
        _show([Store(place.store, lock_wait_s=settings.lock_wait_s).undo(undo)], [], as_json)
        return
    now = SystemClock()
    with console.watching():
        if paths:
            batches = tasks_ingest.ingest_files.fn(
                place.store,
                feed,
                paths,
                symbol=symbol.upper() if symbol else None,
                timeframe=timeframe,
                clock_rule=clock,
                at=now.now_utc(),
                lock_wait_s=settings.lock_wait_s,
            )
        else:
            batches = _from_terminal(root, feed, timeframe or "M1")
    symbols = list(dict.fromkeys(b.symbol for b in batches if b.rows_read > b.rows_rejected))
    reports = tasks_ingest.quality.fn(place.store, feed, symbols, lock_wait_s=settings.lock_wait_s)
    _show(batches, [line for r in reports for line in r.lines()], as_json)


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


def _show(batches: list[Batch], quality: list[str], as_json: bool) -> None:
    if as_json:
        console.print_json({"schema": SCHEMA, "batches": [_batch(b) for b in batches], "quality": quality})
        return
    for b in batches:
        span = f"{b.first:%Y-%m-%d %H:%M} to {b.last:%Y-%m-%d %H:%M} UTC" if b.first and b.last else "no bars"
        if b.undone:
            console.out.print(
                f"batch {b.id} undone: {b.feed} {b.symbol} {b.timeframe}, {b.rows_new:,} bars gone, {b.rows_changed:,} restored"
            )
            continue
        rejected = "".join(f", {count:,} rejected ({reason})" for reason, count in b.rejects.items())
        console.out.print(
            f"batch {b.id}: {b.feed} {b.symbol} {b.timeframe}, {b.rows_new:,} new, {b.rows_changed:,} changed, "
            f"{b.rows_same:,} already there{rejected}; {span}; clock {b.clock_rule}"
        )
    for line in quality:
        console.out.print(f"  {line}")


def _batch(batch: Batch) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(batch).items()}


def data(home: tuple[Path, bool], *, quality: bool, batches: bool, as_json: bool) -> None:
    """What the store holds."""
    root, _ = home
    settings = load(root)
    store = Store(Home(root).store, lock_wait_s=settings.lock_wait_s)
    inventory = store.inventory()
    document: dict[str, Any] = {"schema": SCHEMA, "home": str(root), "series": inventory.to_dicts()}
    if batches:
        document["batches"] = store.batches().to_dicts()
    lines: list[str] = []
    if quality:
        reports = []
        for feed in sorted(set(inventory["feed"].to_list())):
            symbols = sorted(set(inventory.filter(feed=feed)["symbol"].to_list()))
            reports += tasks_ingest.quality.fn(Home(root).store, feed, symbols, lock_wait_s=settings.lock_wait_s)
        document["quality"] = [r.as_dict() for r in reports]
        lines = [line for r in reports for line in r.lines()]
    if as_json:
        console.print_json(document)
        return
    if inventory.is_empty():
        console.out.print(f"{root} holds no bars yet; try: tradewind ingest FILE.csv --clock eet")
        return
    rows = [[str(v) for v in row.values()] for row in inventory.to_dicts()]
    console.print_table(f"Bars in {root}", inventory.columns, rows)
    if batches:
        table = store.batches()
        shown = [c for c in table.columns if c not in ("sha256", "rejects")]
        console.print_table("Batches", shown, [[str(r[c]) for c in shown] for r in table.to_dicts()])
    for line in lines:
        console.out.print(line)


def export(home: tuple[Path, bool], *, symbol: str, timeframe: str, out: Path, feed: str | None, as_json: bool) -> None:
    """Bars as stored, to a Parquet file."""
    root, _ = home
    settings = load(root)
    store = Store(Home(root).store, lock_wait_s=settings.lock_wait_s)
    name = symbol.upper()
    feeds = sorted(set(store.inventory().filter(symbol=name)["feed"].to_list()))
    if feed is None:
        if len(feeds) != 1:
            there = f"feeds {', '.join(feeds)} have it; add --feed" if feeds else "no feed has it; ingest it first"
            raise FlowError(f"which {name}? {there}")
        feed = feeds[0]
    rows = store.export(feed, name, timeframe, out)
    if as_json:
        console.print_json(
            {"schema": SCHEMA, "feed": feed, "symbol": name, "timeframe": timeframe, "rows": rows, "file": str(out)}
        )
    else:
        console.out.print(f"{rows:,} bars of {feed} {name} {timeframe} written to {out}")


def features(home: tuple[Path, bool], *, pipeline: str | None, as_json: bool) -> None:
    """The features, and which a pipeline uses."""
    root, _ = home
    used: list[str] | None = None
    digest = None
    if pipeline is not None:
        chosen = feature_set_of(load(root).pipeline(pipeline), {})
        used, digest = list(chosen.names), chosen.hash
    rows = [
        {
            "name": f.name,
            "group": f.group,
            "meaning": f.description,
            "lookback_bars": f.lookback_bars,
            "inputs": [i.name for i in f.inputs],
            "version": f.version,
            "used": None if used is None else f.name in used,
        }
        for f in all_features()
    ]
    if as_json:
        console.print_json({"schema": SCHEMA, "features": rows, "pipeline": pipeline, "columns": used, "hash": digest})
        return
    table = [
        [
            str(r["name"]),
            str(r["group"]),
            str(r["lookback_bars"]),
            "" if r["used"] is None else ("yes" if r["used"] else "no"),
            str(r["meaning"]),
        ]
        for r in rows
    ]
    console.print_table(
        f"{len(rows)} features" + (f", hash {digest[:16]}" if digest else ""),
        ["name", "group", "lookback", "used", "meaning"],
        table,
    )
