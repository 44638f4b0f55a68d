"""`data --quality`: what is odd about stored bars, as lines, as JSON and as pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

import polars as pl  # noqa: E402

from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from tasks.home import Home  # noqa: E402
from tasks.quality import quality as quality_of  # noqa: E402
from tasks.quality_page import page_path  # noqa: E402


@dataclass(frozen=True)
class Found:
    """Reports on the chosen series: for `--json`, as lines, and the pages written (none unless asked for)."""

    document: list[dict[str, Any]]
    lines: list[str]
    pages: list[str]


def chosen(inventory: pl.DataFrame, feed: str | None, symbol: str | None) -> pl.DataFrame:
    """Rows of `Store.inventory()` of that feed and symbol. Raises `FlowError` when one is named and nothing matches."""
    rows = only(inventory, feed, symbol)
    if rows.is_empty() and (feed or symbol):
        asked = " ".join(word for word in (feed, symbol) if word)
        there = ", ".join(sorted({f"{f} {s}" for f, s in inventory.select("feed", "symbol").iter_rows()})) or "nothing yet"
        raise FlowError(f"no stored bars of {asked}; the store holds {there}")
    return rows


def only(rows: pl.DataFrame, feed: str | None, symbol: str | None) -> pl.DataFrame:
    """Rows of that feed and symbol, in any case; all where none is named."""
    name = symbol.upper() if symbol else None
    for column, value in (("feed", feed), ("symbol", name)):
        rows = rows if value is None else rows.filter(pl.col(column) == value)
    return rows


def quality(home: Path, series: pl.DataFrame, *, html: bool, lock_wait_s: float) -> Found:
    """Reports on these rows of `Store.inventory()`; with `html`, their pages too."""
    place = Home(home)
    pages = place.quality if html else None
    reports = []
    with console.watching():
        for feed in sorted(set(series["feed"].to_list())):
            symbols = sorted(set(series.filter(feed=feed)["symbol"].to_list()))
            reports += quality_of.fn(place.store, feed, symbols, lock_wait_s=lock_wait_s, pages=pages)
    return Found(
        document=[r.as_dict() for r in reports],
        lines=[line for r in reports for line in r.lines()],
        pages=[] if pages is None else [str(page_path(pages, r)) for r in reports],
    )
