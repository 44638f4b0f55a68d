"""The shape of the week: bars in each, when each opens, what goes on at each hour. Most of it is clock evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._quality_calendar import CLOSED, Calendar
from feature_store.bars import seconds
from feature_store.clock import from_epoch, new_york_offset_s, utc_to_server

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

WEEK_S = 7 * 86400
_SUNDAY_NOON_S = 3 * 86400 + 12 * 3600  # epoch day 0 was a Thursday; no week opens before Sunday noon New York
_SHORT = 0.9  # weeks with a smaller share of the bars they should have are short
_FEW_WEEKS = 3
LISTED = 50

SEASONS = ("winter", "summer", "weeks when only New York has summer time")


@dataclass(frozen=True)
class WeekOpen:
    """When weeks of one season open, New York time. share: of its weeks that open at the most usual hour."""

    season: str
    weeks: int
    opens: str  # Sun 17:00
    share: float


@dataclass(frozen=True)
class ShortWeek:
    """A week with fewer bars than it should have. start: Sunday 17:00 New York; expected: bars, holidays left out."""

    start: datetime
    bars: int
    expected: int


@dataclass(frozen=True)
class Weeks:
    """Bars a week (median of whole weeks), short weeks counted and the shortest listed, openings by season."""

    count: int
    bars_a_week: float
    short_count: int
    short: tuple[ShortWeek, ...]
    opens: tuple[WeekOpen, ...]


@dataclass(frozen=True, eq=False)
class Counted:
    """Bars of every week between the first and the last. start_s: (n,) Sunday 17:00 New York as UTC epoch s."""

    start_s: IntArray
    bars: IntArray
    expected: IntArray


def count_weeks(times: IntArray, calendar: Calendar, timeframe: str) -> Counted:
    """Bars found and expected in each week. times: opens (UTC epoch s, ascending)."""
    wall = times + new_york_offset_s(times) + 7 * 3600
    week = (wall - 4 * 86400) // WEEK_S
    first, bars = int(week[0]), np.bincount(week - week[0])
    starts = (np.arange(first, first + len(bars)) * WEEK_S + 4 * 86400) - 7 * 3600
    starts = starts - new_york_offset_s(starts + 5 * 3600)
    # A grid no finer than M5 counts the same: known breaks start and end on half-hours.
    step = max(seconds(timeframe), 300)
    grid = (starts[:, None] + np.arange(0, WEEK_S, step)).ravel()
    outside = (grid < times[0]) | (grid > times[-1])
    expected = ((calendar.bar_code(grid, seconds(timeframe)) == 0) & ~outside).reshape(len(starts), -1).sum(axis=1)
    return Counted(starts, bars, expected * step // seconds(timeframe))


def find_weeks(times: IntArray, counted: Counted) -> Weeks:
    """Short weeks and week openings. times: opens (UTC epoch s, ascending)."""
    missing = counted.expected - counted.bars
    short = np.flatnonzero(counted.bars < _SHORT * counted.expected)
    order = short[np.argsort(-missing[short], kind="stable")][:LISTED]
    whole = counted.bars[1:-1] if len(counted.bars) > 2 else counted.bars
    return Weeks(
        count=len(counted.bars),
        bars_a_week=float(np.median(whole)),
        short_count=len(short),
        short=tuple(
            ShortWeek(from_epoch(int(counted.start_s[i])), int(counted.bars[i]), int(counted.expected[i])) for i in order
        ),
        opens=_week_opens(times),
    )


def _week_opens(times: IntArray) -> tuple[WeekOpen, ...]:
    """The most usual opening hour in winter, in summer, and when New York is on summer time and Europe is not.

    A clock read with the wrong daylight saving opens an hour off in one of the three.
    """
    if len(times) < 2:
        return ()
    wall = times + new_york_offset_s(times)
    week = (wall - _SUNDAY_NOON_S) // WEEK_S
    # An opening is the first bar of a week whose Friday before was seen, or the file just starts there.
    rows = np.flatnonzero(week[1:] == week[:-1] + 1) + 1
    rows = rows[times[rows] - times[rows - 1] > 86400]
    opens, minute = times[rows], (wall[rows] - _SUNDAY_NOON_S) % WEEK_S // 60
    summer = new_york_offset_s(opens) == -4 * 3600
    europe = utc_to_server(opens, "cet") - opens == 2 * 3600
    season = np.where(~summer, 0, np.where(europe, 1, 2))
    holiday = _near_year_end(opens)
    found = []
    for number, name in enumerate(SEASONS):
        here = minute[(season == number) & ~holiday] // 60 * 60
        if len(here) >= _FEW_WEEKS:
            values, counts = np.unique(here, return_counts=True)
            usual = int(values[np.argmax(counts)])
            share = float(counts.max() / len(here))
            found.append(WeekOpen(name, len(here), _clock_text(usual), share))
    return tuple(found)


def _near_year_end(opens: IntArray) -> npt.NDArray[np.bool_]:
    dates = opens.astype("datetime64[s]").astype("datetime64[D]")
    day = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    near: npt.NDArray[np.bool_] = (day >= 356) | (day <= 3)
    return near


def _clock_text(minute: int) -> str:
    minute += 12 * 60
    return f"{('Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat')[minute // 1440 % 7]} {minute // 60 % 24:02d}:{minute % 60:02d}"


def activity(times: IntArray, bars: pl.DataFrame) -> tuple[FloatArray, str]:
    """(7, 24) activity by New York weekday (Monday 0) and hour, and what it is: median tick volume of a bar, or
    where no volume is known the median range in basis points. NaN where there is no bar."""
    wall = times + new_york_offset_s(times)
    cell = (wall // 86400 + 3) % 7 * 24 + wall // 3600 % 24
    volume = bars["tick_volume"]
    known = volume.null_count() < 0.5 * len(volume) and bool((volume > 0).any())
    value = (
        volume.cast(pl.Float64).to_numpy() if known else (np.log(bars["high"].to_numpy()) - np.log(bars["low"].to_numpy())) * 1e4
    )
    cells = pl.DataFrame({"cell": cell, "value": value}).group_by("cell").agg(pl.col("value").median())
    usual = np.full(168, np.nan)
    usual[cells["cell"].to_numpy()] = cells["value"].to_numpy()
    return usual.reshape(7, 24), "tick volume of a bar" if known else "range of a bar, bp"


def closed_share(calendar: Calendar, times: IntArray, timeframe: str) -> float:
    """Share of bars that open while the market is known to be closed. times: ascending."""
    # Markets open and close on half-hours: one look at each of those that hold a bar is enough.
    starts = np.flatnonzero(np.diff(times // 1800, prepend=-1))
    closed = calendar.bar_code(times[starts], seconds(timeframe)) == CLOSED
    return float(np.diff(starts, append=len(times))[closed].sum() / len(times))
