"""Where a file changed its clock: over a weekend, or, where a reference feed shows it, on a day inside the week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from feature_store._clock_path import FIRST_OFFSET_S, Candidates, Path
from feature_store._clock_reference import Reference, agreement, costs
from feature_store._clock_weeks import DAY, F64, HALF_S, HOUR, I64, WEEK, Weeks
from feature_store.clock import from_epoch

_DAY_MARGIN = 5.0


@dataclass(frozen=True)
class Part:
    """Weeks first_week..end_week - 1 keep one clock; `start` is the UTC day it begins, None for the first part."""

    clock: int
    start: datetime | None
    first_week: int
    end_week: int


def stretches(
    wall_s: I64, close: F64, step_s: int, weeks: Weeks, clocks: Candidates, path: Path, references: Sequence[Reference]
) -> list[Part] | str:
    """The parts of a path in time; a line instead when the day of a change cannot be told."""
    firsts = [0, *(int(w) for w in np.flatnonzero(np.diff(path.clock)) + 1)]
    ends = [*firsts[1:], path.clock.size]
    parts = []
    for first, end in zip(firsts, ends, strict=True):
        start: int | None = None
        if first:
            pair = int(path.clock[first - 1]), int(path.clock[first])
            night = _clear_of_daylight_saving(wall_s, weeks, clocks, first, end, pair)
            days = _days(wall_s, close, step_s, weeks, clocks, night, pair, references) if night else []
            if len(days) != 1:
                told = " or ".join(f"{from_epoch(day):%Y-%m-%d}" for day in days[:3]) or "the night of a daylight saving change"
                return f"clock unclear: {clocks.rules[pair[0]]} becomes {clocks.rules[pair[1]]} on {told}"
            start = days[0]
        parts.append(Part(int(path.clock[first]), None if start is None else from_epoch(start), first, end))
    return parts


def _clear_of_daylight_saving(wall_s: I64, weeks: Weeks, clocks: Candidates, first: int, end: int, pair: tuple[int, int]) -> int:
    """The week to change in: `first`, or one on which both clocks agree when there are bars in the night of Sunday
    `first` and daylight saving begins or ends in it anywhere; 0 when no week is clear of that."""
    summer = clocks.offset_s[[clocks.rules.index(zone) for zone in ("ny", "lon")]]
    rows = np.searchsorted(wall_s, np.stack([weeks.cut_s, weeks.cut_s + DAY // 2]))
    for week in range(first, end):
        if week > first and clocks.offset_s[pair[0], week - 1] != clocks.offset_s[pair[1], week - 1]:
            return 0
        if (summer[:, week - 1] == summer[:, week]).all() or rows[0, week] == rows[1, week]:
            return week
    return 0


def _days(
    wall_s: I64,
    close: F64,
    step_s: int,
    weeks: Weeks,
    clocks: Candidates,
    first: int,
    pair: tuple[int, int],
    references: Sequence[Reference],
) -> list[int]:
    """UTC midnights at which the clock may have changed; one when that is clear. Servers change over the weekend;
    a change inside the week spoils the margin of that week, unless a reference feed shows its day."""
    sunday = int(weeks.cut_s[first]) + HOUR + HOUR // 2
    if not references:
        return [sunday]
    before, after = pair
    low = sunday - WEEK
    near = (wall_s >= low) & (wall_s < sunday + WEEK)
    span = _daily_costs(wall_s[near], close[near], step_s, references, low)
    offsets = int(clocks.offset_s[before, first - 1]), int(clocks.offset_s[after, first])
    old, new = ((offset_s - FIRST_OFFSET_S) // HALF_S for offset_s in offsets)
    cost = {}
    for step in (0, -6, -5, -4, -3, -2, 2, 3, 4, 5, 6):
        day = 7 + step
        cost[sunday + DAY * step] = float(span[:day, old].sum() + span[day:, new].sum())
    best = min(cost.values())
    fitting = [day for day, nats in cost.items() if nats <= best + _DAY_MARGIN]
    return [sunday] if sunday in fitting else fitting


def _daily_costs(wall_s: I64, close: F64, step_s: int, references: Sequence[Reference], low: int) -> F64:
    cells = 2 * WEEK // DAY
    found = [agreement(wall_s, close, step_s, (wall_s - low) // DAY, cells, one) for one in references]
    return costs(found, cells)
