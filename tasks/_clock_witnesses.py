"""The series of a store that can tell another one's clock: its symbol at other feeds, and symbols that share a currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import polars as pl

from feature_store.bars import seconds
from feature_store.clock import from_epoch
from feature_store.clock_inference import Reference
from feature_store.store import Store
from feature_store.symbols import is_pair

# Each costs about a tenth of a second per ten years of hours; the first ones share more than the dollar.
_MOST_RELATED = 8

Span = tuple[datetime, datetime]


def span_of(first_s: int, last_s: int) -> Span:
    """UTC moments between which a series lies, whatever clock wrote its first and last bar."""
    return from_epoch(first_s) - timedelta(days=1), from_epoch(last_s) + timedelta(days=1)


def same_symbol(store: Store, symbol: str, timeframe: str, span: Span, *, without_feed: str) -> list[Reference]:
    """Bars of the symbol that other feeds have in the span, in the series' own timeframe where they can be.

    The feed itself is no witness: it may hold the same mistake.
    """
    there = _inventory(store, without_feed)
    return [Reference(feed, *_columns(bars)) for feed, bars in _series(store, there, symbol, timeframe, span)]


def related(store: Store, symbol: str, timeframe: str, span: Span, *, without_feed: str) -> list[Reference]:
    """Bars of other feeds' symbols that share a currency with this one, named by feed and symbol; hours at most.

    Nearest kin first: a shared currency that is not the dollar, then the dollar, metals last; eight at most.
    """
    if not is_pair(symbol):
        return []
    there = _inventory(store, without_feed)
    kin = [name for name in there["symbol"].unique() if name != symbol and is_pair(name) and _shared(name, symbol)]
    kin.sort(key=lambda name: (name.startswith("X"), _shared(name, symbol) == {"USD"}, name))
    # Only whole weeks of a related series are believed, those at the ends of the file too.
    span = span[0] - timedelta(days=7), span[1] + timedelta(days=7)
    longest = min("H1", max("M30", timeframe, key=seconds), key=seconds)
    found = (
        Reference(f"{feed} {name}", *_columns(bars)) for name in kin for feed, bars in _series(store, there, name, longest, span)
    )
    return list(islice(found, _MOST_RELATED))


def _inventory(store: Store, without_feed: str) -> pl.DataFrame:
    return store.inventory().filter(pl.col("feed") != without_feed)


def _shared(name: str, symbol: str) -> set[str]:
    return {name[:3], name[3:]} & {symbol[:3], symbol[3:]}


def _columns(bars: pl.DataFrame) -> tuple[Any, Any]:
    return bars["time"].to_physical().to_numpy() // 1000, bars["close"].to_numpy()


def _series(store: Store, there: pl.DataFrame, symbol: str, timeframe: str, span: Span) -> Iterator[tuple[str, pl.DataFrame]]:
    """By feed, the bars in the span of its series that covers most of it; of equals the shortest timeframe."""
    low, high = (moment.astimezone(UTC).replace(tzinfo=None) for moment in span)
    shared = (pl.min_horizontal("last", pl.lit(high)) - pl.max_horizontal("first", pl.lit(low))).alias("shared")
    mine = there.filter(pl.col("symbol") == symbol).with_columns(shared)
    for (feed,), part in mine.group_by("feed", maintain_order=True):
        rows = sorted(part.iter_rows(named=True), key=lambda row: seconds(row["timeframe"]))
        chosen = max(rows, key=lambda row: row["shared"])["timeframe"]
        if chosen == rows[0]["timeframe"]:
            bars = store.bars(str(feed), symbol, max(chosen, timeframe, key=seconds), *span)
        else:
            bars = _as_stored(store, str(feed), symbol, chosen).filter(pl.col("time").is_between(low, high))
        if bars.height:
            yield str(feed), bars


def _as_stored(store: Store, feed: str, symbol: str, timeframe: str) -> pl.DataFrame:
    """Bars of a timeframe that the store would else make from the shorter ones it has for some of the time."""
    batches = store.batches().filter(
        ~pl.col("undone"), pl.col("feed") == feed, pl.col("symbol") == symbol, pl.col("timeframe") == timeframe
    )
    return pl.concat([store.batch_bars(number) for number in batches["id"]]).sort("time")
