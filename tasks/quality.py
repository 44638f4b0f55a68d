"""What is odd about stored bars: a report after each ingest, on the run's page and as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from feature_store.bars import resample, seconds
from feature_store.quality import Other, QualityReport, report
from feature_store.store import Store
from tasks import artifacts, progress
from tasks._step import step
from tasks.quality_page import write_quality_page

_MOST_OTHERS = 4  # feeds to hold a clock against; those that share the longest span
_REJECTED_SHOWN = 12


@step("quality of {feed}")
def quality(
    store_path: Path, feed: str, symbols: Sequence[str], *, lock_wait_s: float, pages: Path | None = None
) -> list[QualityReport]:
    """What is odd about the stored bars of each symbol, in the timeframe they are stored in.

    pages: folder into which each report goes as an HTML page too, `quality_page.page_path`.
    """
    store = Store(store_path, lock_wait_s=lock_wait_s)
    batches = store.batches()
    reports = []
    for number, symbol in enumerate(symbols):
        progress.tell("quality", number, len(symbols), symbol)
        timeframe = store.base_timeframe(feed, symbol)
        bars = store.bars(feed, symbol, timeframe)
        others = other_feeds(store, feed, symbol, timeframe, bars)
        reports.append(report(bars, feed, symbol, timeframe, batches=batches, others=others))
        if pages is not None:
            write_quality_page(pages, reports[-1], bars, rejected=_rejected(store, batches, reports[-1]))
    progress.tell("quality", len(symbols), len(symbols))
    text = "\n\n".join("\n".join(f"- {line}" for line in r.lines()) for r in reports)
    artifacts.publish_markdown("data-quality", text, f"Quality of the bars of feed {feed}")
    return reports


def other_feeds(store: Store, feed: str, symbol: str, timeframe: str, bars: pl.DataFrame) -> list[Other]:
    """Bars of the symbol from the other feeds that share the longest span with `bars`, no finer than `timeframe`.

    Of a feed that stores several timeframes, the one that shares most is taken, even where nothing else reads it.
    """
    first, last = bars["time"][0], bars["time"][-1]
    shared: dict[str, tuple[timedelta, int, str]] = {}
    for row in store.inventory().filter((pl.col("symbol") == symbol) & (pl.col("feed") != feed)).to_dicts():
        span = min(row["last"], last) - max(row["first"], first)
        rank = (span, -seconds(row["timeframe"]), row["timeframe"])
        if span > timedelta(days=1):
            shared[row["feed"]] = max(rank, shared.get(row["feed"], rank))
    found = []
    for other in sorted(shared, key=lambda name: (-shared[name][0], name))[:_MOST_OTHERS]:
        longer = max(shared[other][2], timeframe, key=seconds)
        there = _stored(store, other, symbol, shared[other][2], longer, first - timedelta(days=1), last + timedelta(days=1))
        found += [] if there.is_empty() else [Other(other, longer, there)]
    return found


def _stored(store: Store, feed: str, symbol: str, timeframe: str, longer: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Bars of `longer` from the stored ones of `timeframe` that open between the naive UTC moments."""
    if timeframe == store.base_timeframe(feed, symbol):
        return store.bars(feed, symbol, longer, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))
    batches = store.batches().filter(feed=feed, symbol=symbol, timeframe=timeframe, undone=False)
    bars = pl.concat([store.batch_bars(number) for number in batches["id"]]).sort("time")
    bars = bars.filter(pl.col("time").is_between(start, end))
    return bars if timeframe == longer else resample(bars, longer)


def _rejected(store: Store, batches: pl.DataFrame, found: QualityReport) -> pl.DataFrame:
    """The first rows turned away by the latest ingest of the series that turned any away; none: no rows."""
    series = batches.filter(feed=found.feed, symbol=found.symbol, timeframe=found.timeframe, undone=False)
    with_rejects = series.filter(pl.col("rows_rejected") > 0)["id"].to_list()
    return store.rejects(with_rejects[-1]).head(_REJECTED_SHOWN) if with_rejects else pl.DataFrame()
