"""A clock that slips inside a file, told by another feed of the same symbol: returns agree, only hours apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._quality_calendar import fx_wall_s
from feature_store.bars import bar_open, epoch_s, resample, seconds
from feature_store.clock import from_epoch

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_MOST_LAG_S = 4 * 3600
_ENOUGH_RETURNS = 10  # of a day; fewer fit anything by chance
_ENOUGH_A_MONTH = 100
_FITS = 0.5  # of the difference as written: how much better another hour must fit
_JOIN_DAYS = 5  # slipped days no further apart are one stretch
_ALIKE = 0.5  # a correlation below it after all: the other feed is no measure


@dataclass(frozen=True)
class Slip:
    """Days on which this feed's bars stand `late_s` seconds later than the other's (negative: earlier).

    correlation, as_written: of the returns of those days, after and before shifting them.
    """

    start: datetime
    end: datetime
    days: int
    late_s: int
    correlation: float
    as_written: float


@dataclass(frozen=True)
class Agreement:
    """How one feed's returns go with another's on the days that both have. correlation: None without such days; months:
    the same by month, from (2024-06, correlation)."""

    other: str
    days: int
    correlation: float | None
    slips: tuple[Slip, ...] = ()
    months: tuple[tuple[str, float], ...] = ()


def compare_clocks(bars: pl.DataFrame, timeframe: str, other: str, other_bars: pl.DataFrame, other_timeframe: str) -> Agreement:
    """Slips of `bars` against `other_bars` of feed `other`, both in time order, true UTC as far as is known.

    Each FX day is held against the other feed at every whole bar of half an hour or more, up to four hours off.
    """
    unit = max(timeframe, other_timeframe, "M30", key=seconds)
    if seconds(unit) > 3600:
        return Agreement(other, 0, None)
    mine, theirs = (_closes(frame, unit) for frame in (bars, other_bars))
    length = seconds(unit)
    start = max(mine[0][0], theirs[0][0]) - _MOST_LAG_S
    end = min(mine[0][-1], theirs[0][-1]) + _MOST_LAG_S
    if end - start < 86400:
        return Agreement(other, 0, None)
    a, b = (_returns(times, close, start, end, length) for times, close in (mine, theirs))
    opens = np.arange(len(a), dtype=np.int64) * length + start
    day = fx_wall_s(opens) // 86400
    day -= day[0]
    lags = np.arange(-(_MOST_LAG_S // length), _MOST_LAG_S // length + 1)
    off = np.full((len(lags), int(day[-1]) + 1), np.inf)
    for row, lag in enumerate(lags):
        off[row] = _difference(a, _shifted(b, int(lag)), day)
    zero = len(lags) // 2
    best = np.argmin(off, axis=0)
    slipped = np.flatnonzero((best != zero) & (off[best, np.arange(off.shape[1])] < _FITS * off[zero]) & np.isfinite(off[zero]))
    both = np.isfinite(off[zero])
    slips = [_slip(run, int(lags[best[run[0]]]), a, b, day, opens, length) for run in _runs(slipped, best)]
    return Agreement(
        other=other,
        days=int(both.sum()),
        correlation=_correlation(a, b) if both.any() else None,
        slips=tuple(slip for slip in slips if slip.correlation > _ALIKE),
        months=_by_month(a, b, opens),
    )


def _closes(bars: pl.DataFrame, unit: str) -> tuple[IntArray, FloatArray]:
    times = epoch_s(bars["time"])
    if (bar_open(times, unit) != times).any() or (np.diff(times) < seconds(unit)).any():
        bars = resample(bars, unit)
        times = epoch_s(bars["time"])
    return times, bars["close"].to_numpy().astype(np.float64)


def _returns(times: IntArray, close: FloatArray, start: int, end: int, length: int) -> FloatArray:
    """Log returns on the grid from `start` to `end`, NaN where a bar or the one before is missing."""
    grid = np.full((end - start) // length + 1, np.nan)
    place = (times - start) // length
    inside = (place >= 0) & (place < len(grid))
    grid[place[inside]] = np.log(close[inside])
    return np.concatenate([[np.nan], np.diff(grid)])


def _shifted(values: FloatArray, lag: int) -> FloatArray:
    """The other feed as this one would show it were its clock `lag` bars late."""
    moved = np.roll(values, lag)
    unknown = slice(0, lag) if lag >= 0 else slice(lag, None)
    moved[unknown] = np.nan
    return moved


def _difference(a: FloatArray, b: FloatArray, day: IntArray) -> FloatArray:
    """Mean absolute difference of returns by day, infinite where too few are known on both sides."""
    gap = np.abs(a - b)
    known = np.isfinite(gap)
    total = np.bincount(day, weights=np.where(known, gap, 0.0))
    count = np.bincount(day, weights=known)
    mean: FloatArray = np.where(count >= _ENOUGH_RETURNS, total / np.maximum(count, 1), np.inf)
    return mean


def _runs(days: IntArray, best: IntArray) -> list[IntArray]:
    """Slipped days in stretches of one lag."""
    if not len(days):
        return []
    apart = (np.diff(days) > _JOIN_DAYS) | (best[days[1:]] != best[days[:-1]])
    return np.split(days, np.flatnonzero(apart) + 1)


def _slip(run: IntArray, lag: int, a: FloatArray, b: FloatArray, day: IntArray, opens: IntArray, length: int) -> Slip:
    here = np.isin(day, run)
    rows = np.flatnonzero(here)
    return Slip(
        start=from_epoch(int(opens[rows[0]])),
        end=from_epoch(int(opens[rows[-1]]) + length),
        days=len(run),
        late_s=lag * length,
        correlation=_correlation(a[here], _shifted(b, lag)[here]),
        as_written=_correlation(a[here], b[here]),
    )


def _by_month(a: FloatArray, b: FloatArray, opens: IntArray) -> tuple[tuple[str, float], ...]:
    months = opens.astype("datetime64[s]").astype("datetime64[M]")
    cuts = np.flatnonzero(months[1:] != months[:-1]) + 1
    found = []
    for rows in np.split(np.arange(len(opens)), cuts):
        if (np.isfinite(a[rows]) & np.isfinite(b[rows])).sum() >= _ENOUGH_A_MONTH:
            found.append((str(months[rows[0]]), _correlation(a[rows], b[rows])))
    return tuple(found)


def _correlation(a: FloatArray, b: FloatArray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or a[known].std() == 0 or b[known].std() == 0:
        return 0.0
    return float(np.corrcoef(a[known], b[known])[0, 1])
