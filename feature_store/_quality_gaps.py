"""Gaps: bars missing where the symbol is expected to quote, told apart from the breaks that everybody knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_store._quality_calendar import CLOSED, DAILY_BREAK, NAMES, Calendar
from feature_store.bars import bar_close, seconds
from feature_store.clock import from_epoch, new_york_hour

IntArray = npt.NDArray[np.int64]

HOLE, EDGE, QUIET = "hole", "edge", "quiet minutes"
# Some brokers open an hour or two late on Sunday or leave early on Friday; some rest an hour longer around the roll.
_WEEK_EDGE_S, _BREAK_EDGE_S = 9000, 3600
_QUIET_S, _QUIET_AT_ROLL_S = 300, 1200  # no tick came in a minute; around 17:00 New York not in a quarter of an hour
_LONG_S, _COARSE_S = 10 * 86400, 1800  # every known break starts and ends on a half-hour
LISTED = 50


@dataclass(frozen=True)
class Gap:
    """Missing bars inside the trading week. start: close of the bar before, end: open of the next.

    kind: `hole`; `edge`, an hour or two beside a weekend or a daily break, where brokers differ; `quiet minutes`, too
    short to be more than a market without a tick.
    """

    start: datetime
    end: datetime
    bars_missing: int  # counted where the symbol is expected to quote
    kind: str = HOLE


@dataclass(frozen=True)
class Gaps:
    """Every gap counted, the largest listed (holes first), and what known breaks excused, in bars by name."""

    count: int
    bars_missing: int
    by_kind: dict[str, tuple[int, int]]  # gaps, bars
    excused: dict[str, int]
    listed: tuple[Gap, ...]


def find_gaps(times: IntArray, calendar: Calendar, timeframe: str) -> Gaps:
    """Gaps between bars that open at `times` (UTC epoch s, ascending)."""
    closes = bar_close(times, timeframe)[:-1]
    rows = np.flatnonzero(times[1:] > closes)
    starts, ends = closes[rows], times[rows + 1]
    counted = _count(starts, ends, calendar, seconds(timeframe))
    excused = {NAMES[code]: int(counted[:, code].sum()) for code in range(2, len(NAMES)) if counted[:, code].any()}
    found = np.flatnonzero(counted[:, 0])
    starts, ends, missing = starts[found], ends[found], counted[found, 0]
    kinds = _kinds(starts, missing, counted[found], seconds(timeframe))
    order = np.lexsort((-missing, kinds != HOLE))[:LISTED]
    return Gaps(
        count=len(found),
        bars_missing=int(missing.sum()),
        by_kind={
            kind: (int((kinds == kind).sum()), int(missing[kinds == kind].sum()))
            for kind in (HOLE, EDGE, QUIET)
            if (kinds == kind).any()
        },
        excused=excused,
        listed=tuple(Gap(from_epoch(int(starts[i])), from_epoch(int(ends[i])), int(missing[i]), str(kinds[i])) for i in order),
    )


def _count(starts: IntArray, ends: IntArray, calendar: Calendar, length: int) -> IntArray:
    """(holes, codes): missing bars of each hole by code of the calendar."""
    counted = np.zeros((len(starts), len(NAMES)), dtype=np.int64)
    holes = -(-(ends - starts) // length)  # rounded up
    # Years without M1 bars are millions of moments; looked at every half-hour they count the same.
    coarse = (ends - starts > _LONG_S) & (length < _COARSE_S)
    for chosen, step in ((np.flatnonzero(~coarse), length), (np.flatnonzero(coarse), _COARSE_S)):
        if not len(chosen):
            continue
        steps = -(-(ends[chosen] - starts[chosen]) // step)
        hole = np.repeat(np.arange(len(chosen)), steps)
        number = np.arange(len(hole)) - np.repeat(np.cumsum(steps) - steps, steps)
        code = calendar.bar_code(starts[chosen][hole] + number * step, length)
        cells = np.bincount(hole * len(NAMES) + code, minlength=len(chosen) * len(NAMES)).reshape(len(chosen), -1)
        counted[chosen] = cells if step == length else np.minimum(cells * (step // length), holes[chosen, None])
    return counted


def _kinds(starts: IntArray, missing: IntArray, counted: IntArray, length: int) -> npt.NDArray[np.str_]:
    short = missing * length
    at_roll = np.isin(new_york_hour(starts), (16, 17))
    kinds = np.full(len(starts), HOLE, dtype="<U13")
    if length < 900:
        kinds[short <= np.where(at_roll, _QUIET_AT_ROLL_S, _QUIET_S)] = QUIET
    kinds[(counted[:, CLOSED] > 0) & (short <= _WEEK_EDGE_S)] = EDGE
    kinds[(counted[:, DAILY_BREAK] > 0) & (short <= _BREAK_EDGE_S)] = EDGE
    return kinds
