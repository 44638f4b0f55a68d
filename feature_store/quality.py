"""A report on bars: what is missing, repeated, unknown or odd, and what the clock looks like. It removes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._errors import Final
from feature_store._quality_batches import ClockUsed, Ingested, ingested
from feature_store._quality_calendar import Calendar, calendar_of
from feature_store._quality_gaps import Gap, find_gaps
from feature_store._quality_lines import lines
from feature_store._quality_prices import Jump, StaleRun, find_moves, find_stale
from feature_store._quality_seen import Range, seen_elsewhere
from feature_store._quality_slips import Agreement, Slip, compare_clocks
from feature_store._quality_spreads import Month, Plug, Regime, find_spreads
from feature_store._quality_warnings import warnings_of
from feature_store._quality_weeks import Counted, ShortWeek, WeekOpen, Weeks, activity, closed_share, count_weeks, find_weeks
from feature_store.bars import epoch_s, seconds
from feature_store.clock import from_epoch

__all__ = [
    "Agreement", "Calendar", "ClockUsed", "Counted", "Gap", "Ingested", "Jump", "Month", "Other", "Plug", "QualityReport",
    "Regime", "ShortWeek", "Slip", "StaleRun", "WeekOpen", "Weeks", "activity", "report", "weeks_of",
]  # fmt: skip

REPORT_SCHEMA = 2

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Other:
    """Bars of the same symbol from another feed, to hold the clock against."""

    feed: str
    timeframe: str
    bars: pl.DataFrame


@dataclass(frozen=True)
class QualityReport:
    """What was found. Lists hold the largest few, counts everything; shares are of rows, 0 to 1."""

    feed: str
    symbol: str
    timeframe: str
    rows: int
    first: datetime
    last: datetime
    gap_count: int  # what a known break excuses is none
    bars_missing: int
    gap_kinds: dict[str, tuple[int, int]]  # gaps and bars by kind
    excused: dict[str, int]  # bars missing in known breaks, by their name
    gaps: tuple[Gap, ...]
    duplicates: int
    closed_hours_share: float
    weeks: Weeks
    spread_unknown_share: float
    spread_zero_share: float
    spread_median_points: float | None
    spread_max_points: int | None
    regimes: tuple[Regime, ...]
    plugs: tuple[Plug, ...]
    months: tuple[Month, ...]
    stale_runs: int
    longest_stale_bars: int
    stale: tuple[StaleRun, ...]
    jump_count: int
    jumps: tuple[Jump, ...]  # stayed: kept, and no errors
    spike_count: int
    spikes: tuple[Jump, ...]  # came back within the bar: bad ticks look like this
    agreements: tuple[Agreement, ...]
    ingested: Ingested
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Same values ready for JSON, with the number of their `schema`."""
        return {"schema": REPORT_SCHEMA} | {name: _plain(value) for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """The report as some short lines, warnings last."""
        return lines(self)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def report(
    bars: pl.DataFrame,
    feed: str,
    symbol: str,
    timeframe: str,
    *,
    batches: pl.DataFrame | None = None,
    others: Sequence[Other] = (),
) -> QualityReport:
    """What is odd about `bars` (columns of `SCHEMA`, at least one row, any order). Raises `Final` for no rows.

    batches: rows of `Store.batches()`, for rejects and clock evidence; others: the same symbol from other feeds, in
    time order, against which a clock that slips inside this one shows.
    """
    if bars.is_empty():
        raise Final(f"{feed} {symbol} {timeframe}: there are no bars to report on")
    bars = bars.sort("time", maintain_order=True)
    times = epoch_s(bars["time"])
    calendar = calendar_of(feed, symbol, times)
    gaps = find_gaps(times, calendar, timeframe)
    # A bar four times as long has run as far on most days: it proves nothing about a shorter one.
    fine = [Range(o.bars, o.timeframe) for o in others if seconds(o.timeframe) <= 2 * seconds(timeframe)]
    moves = seen_elsewhere(find_moves(times, bars, timeframe), timeframe, fine)
    stale_runs, stale = find_stale(times, bars)
    spreads = find_spreads(times, bars)
    spread = bars["spread_points"]
    median, largest = spread.median(), spread.max()
    found = QualityReport(
        feed=feed,
        symbol=symbol,
        timeframe=timeframe,
        rows=bars.height,
        first=from_epoch(int(times[0])),
        last=from_epoch(int(times[-1])),
        gap_count=gaps.count,
        bars_missing=gaps.bars_missing,
        gap_kinds=gaps.by_kind,
        excused=gaps.excused,
        gaps=gaps.listed,
        duplicates=int((np.diff(times) == 0).sum()),
        closed_hours_share=closed_share(calendar, times, timeframe),
        weeks=find_weeks(times, count_weeks(times, calendar, timeframe)),
        spread_unknown_share=spread.null_count() / bars.height,
        spread_zero_share=int((spread == 0).sum()) / bars.height,
        spread_median_points=float(median) if isinstance(median, int | float) else None,
        spread_max_points=int(largest) if isinstance(largest, int) else None,
        regimes=spreads.regimes,
        plugs=spreads.plugs,
        months=spreads.months,
        stale_runs=stale_runs,
        longest_stale_bars=max((run.bars for run in stale), default=0),
        stale=stale,
        jump_count=moves.jump_count,
        jumps=moves.jumps,
        spike_count=moves.spike_count,
        spikes=moves.spikes,
        agreements=tuple(compare_clocks(bars, timeframe, o.feed, o.bars, o.timeframe) for o in others),
        ingested=Ingested() if batches is None else ingested(batches, feed, symbol, timeframe),
    )
    return warnings_of(found, float(np.median(bars["close"].to_numpy())))


def weeks_of(bars: pl.DataFrame, feed: str, symbol: str, timeframe: str) -> Counted:
    """Bars found and expected in each week, for a picture. bars: in time order, at least one row."""
    times = epoch_s(bars["time"])
    return count_weeks(times, calendar_of(feed, symbol, times), timeframe)
