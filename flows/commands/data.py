"""`data`, `export`: what is known of the market."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

import polars as pl  # noqa: E402

from feature_store.store import Store  # noqa: E402
from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.commands import quality as quality_command  # noqa: E402
from flows.settings import load  # noqa: E402
from tasks.home import Home  # noqa: E402

SCHEMA = 1


def data(
    home: tuple[Path, bool], *, quality: bool, html: bool, batches: bool, feed: str | None, symbol: str | None, as_json: bool
) -> None:
    """What the store holds of a feed and symbol, or of all; with `quality`, what is odd about it."""
    root, _ = home
    settings = load(root)
    store = Store(Home(root).store, lock_wait_s=settings.lock_wait_s)
    ingests = quality_command.only(store.batches(), feed, symbol) if batches else pl.DataFrame()
    # Ingests are listed even where none of their bars is left.
    pick = quality_command.chosen if ingests.is_empty() else quality_command.only
    inventory = pick(store.inventory(), feed, symbol)
    document: dict[str, Any] = {"schema": SCHEMA, "home": str(root), "series": inventory.to_dicts()}
    if batches:
        document["batches"] = ingests.to_dicts()
    lines: list[str] = []
    if quality:
        found = quality_command.quality(root, inventory, html=html, lock_wait_s=settings.lock_wait_s)
        document |= {"quality": found.document, "pages": found.pages}
        lines = [*found.lines, *(f"page {page}" for page in found.pages)]
    if as_json:
        console.print_json(document)
        return
    if inventory.is_empty():
        console.say(f"{root} holds no bars yet; try: tradewind ingest FILE.csv")
    else:
        rows = [[str(v) for v in row.values()] for row in inventory.to_dicts()]
        console.print_table(f"Bars in {root}", inventory.columns, rows)
    if not ingests.is_empty():
        shown = [c for c in ingests.columns if c not in ("sha256", "rejects", "clock", "notes")]
        console.print_table("Batches", shown, [[str(r[c]) for c in shown] for r in ingests.to_dicts()])
    for line in lines:
        console.say(line)


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
