"""What each week of a file shows about its clock: where it starts and ends, when it pauses, when prices move.

Everything is measured on the file's own wall clock. A week is cut at Saturday 22:30 wall time, which lies inside
the closed weekend for every clock between UTC-12 and UTC+14. Rows are wall seconds, ascending.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

HOUR, DAY, WEEK = 3600, 86400, 7 * 86400
_CUT_S = 2 * DAY + 22 * HOUR + 1800  # epoch second 0 was a Thursday; this is the first Saturday 22:30
_WEEKEND_S = 44 * HOUR  # a shorter pause over a weekend is no weekend: quotes strayed into it
HALF_S, HALF_HOURS = 1800, 48

# Sd of the return by New York hour, relative: what real majors, yen and antipodean pairs, and gold do.
_PROFILES = {
    "dollar": (5, 7, 10.5, 14.5, 13.5, 12, 11, 11.5, 18, 15.5, 17.5, 12.5, 10, 10, 12, 8, 6, 4.5, 6.5, 7, 8.5, 8, 7.5, 5),
    "yen": (9.5, 9.5, 11.5, 13.5, 12, 10, 10, 10, 17.5, 15, 16.5, 12, 10, 10, 12, 9, 7.5, 6, 8.5, 10, 12.5, 12, 12.5, 9.5),
    "antipodes": (11, 10.5, 14.5, 16, 13.5, 11.5, 11, 11.5, 20, 17, 20, 15, 11.5, 11, 15.5, 10.5, 8, 7, 9.5, 13, 14, 17, 14, 10),
    "metal": (10.5, 14, 16.5, 17.5, 15, 14, 15.5, 15.5, 31, 29.5, 29.5, 21.5, 17, 16, 20, 15, 10.5, 10, 12, 12, 15, 18, 12.5, 11),
}  # fmt: skip
# Inside the hour from 08 New York the second half holds the data releases of 08:30.
_RELEASE_HALVES = (0.7, 1.3)


@dataclass(frozen=True)
class Weeks:
    """One entry per week that holds rows; NaN where a week does not show the thing. Wall clock, epoch seconds."""

    cut_s: I64  # the Saturday 22:30 before it
    rows: I64
    first_s: F64  # open of its first bar, where a weekend lies before
    last_s: F64  # close of its last bar, where a weekend lies after
    first_count: F64  # bars in its first and last hour: how hard the edge is
    last_count: F64
    pause_s: F64  # start of the only wall hour of the day without any bar, seconds of the day
    activity: F64  # (weeks, 48): log of the mean absolute return by half hour of the wall day, less its mean; 0 unknown
    continuous: bool  # prices move at weekends too: the week has no edges
    thin: int  # bars after the last or before the first with next to no ticks, left out


def profile(symbol: str) -> F64:
    """Log of the usual absolute return by half hour of the New York day, less its mean: (48,)."""
    name = symbol.upper()
    kind = (
        "metal" if name.startswith(("XAU", "XAG", "XPT", "XPD", "GOLD", "SILVER"))
        else "yen" if "JPY" in name
        else "antipodes" if "AUD" in name or "NZD" in name
        else "dollar"
    )  # fmt: skip
    halves = np.repeat(np.array(_PROFILES[kind], dtype=np.float64), 2)
    halves[16:18] *= _RELEASE_HALVES
    logs = np.log(halves)
    return np.asarray(logs - logs.mean(), dtype=np.float64)


def measure(wall_s: I64, close: F64, step_s: int, volume: F64 | None) -> Weeks:
    """What the weeks of a file show. `step_s` is the bar length; `volume` tells stray bars from real ones."""
    weeks = _measure(wall_s, close, step_s, volume)
    if not weeks.continuous:
        return weeks
    # Some sources fill the weekend with the last price: without the bars that repeat it, the weekend shows.
    moving = np.concatenate([[True], np.diff(close) != 0])
    if moving.sum() < 2 or moving.all():
        return weeks
    again = _measure(wall_s[moving], close[moving], step_s, None if volume is None else volume[moving])
    return weeks if again.continuous else again


def _measure(wall_s: I64, close: F64, step_s: int, volume: F64 | None) -> Weeks:
    # Weeks are cut at a half hour: all but the edges is done by half hour, which files of minutes have few of.
    half = wall_s // HALF_S
    block = np.concatenate([[0], np.flatnonzero(np.diff(half)) + 1])
    half = half[block]
    number = (half - _CUT_S // HALF_S) // (WEEK // HALF_S)
    heads = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
    starts = block[heads]
    ends = np.append(starts[1:], wall_s.size) - 1
    first, last, thin = _edge_rows(starts, ends, volume)
    pause = np.full(starts.size + 1, np.nan)
    pause[1:-1] = wall_s[first[1:]] - wall_s[last[:-1]] - step_s
    before, after = pause[:-1] >= _WEEKEND_S, pause[1:] >= _WEEKEND_S
    first_s, last_s = wall_s[first], wall_s[last] + step_s
    inner = np.isfinite(pause)
    week = np.repeat(np.arange(heads.size), np.diff(np.append(heads, half.size)))
    cut_s = number[heads] * WEEK + _CUT_S
    blocks = np.diff(np.append(block, wall_s.size))
    return Weeks(
        cut_s=cut_s,
        rows=ends - starts + 1,
        first_s=np.where(before, first_s, np.nan),
        last_s=np.where(after, last_s, np.nan),
        first_count=(np.searchsorted(wall_s, first_s + HOUR) - first).astype(np.float64),
        last_count=(last + 1 - np.searchsorted(wall_s, last_s - HOUR)).astype(np.float64),
        pause_s=_daily_pause(half * HALF_S - cut_s[week], half, blocks, week, step_s, int(np.median(wall_s[:1000] % HOUR))),
        activity=_activity(wall_s, close, block, half % HALF_HOURS, week, step_s),
        continuous=bool(inner.any() and (pause[inner] >= _WEEKEND_S).mean() < 0.5),
        thin=thin,
    )


def _edge_rows(starts: I64, ends: I64, volume: F64 | None) -> tuple[I64, I64, int]:
    """First and last row of each week, past bars with next to no ticks: a server that echoes the last price."""
    first, last = starts.copy(), ends.copy()
    if volume is None or not np.isfinite(volume).any():
        return first, last, 0
    limit = 0.02 * float(np.nanmedian(volume[:: max(1, volume.size // 50_000)]))
    thin = 0
    for _ in range(2):  # H1 files show one such bar, rarely two
        for rows, step in ((first, 1), (last, -1)):
            move = (volume[rows] <= limit) & (ends - starts > 4)
            rows[move] += step
            thin += int(move.sum())
    return first, last, thin


def _daily_pause(since_cut_s: I64, half: I64, rows: I64, week: I64, step_s: int, phase_s: int) -> F64:
    """Per week, where the one hour of the day that never has a bar starts (s of the day); NaN: none, or several."""
    weeks = int(week[-1]) + 1
    found = np.full(weeks, np.nan)
    if step_s > HOUR:
        return found
    days = since_cut_s // DAY
    inside = (days >= 2) & (days <= 4)  # Monday 22:30 to Thursday 22:30: no weekend edge for any clock up to 12 h away
    for phase in (0, 1) if step_s < HOUR else (phase_s // HALF_S,):
        hour = (half[inside] - phase) // 2 % 24
        counts = np.bincount(week[inside] * 24 + hour, weights=rows[inside], minlength=weeks * 24).reshape(-1, 24)
        empty = counts == 0
        one = (empty.sum(axis=1) == 1) & (counts.sum(axis=1) >= 48)
        found[one] = np.argmax(empty[one], axis=1) * HOUR + phase * HALF_S
    return found


def _activity(wall_s: I64, close: F64, block: I64, half_hour: I64, week: I64, step_s: int) -> F64:
    """(weeks, 48) as `Weeks.activity`; `block` holds the first row of each half hour that has rows."""
    size = (int(week[-1]) + 1) * HALF_HOURS
    if step_s > HOUR or wall_s.size < 2:
        return np.zeros((size // HALF_HOURS, HALF_HOURS))
    joined = np.diff(wall_s, prepend=wall_s[0] - 2 * step_s) == step_s  # a return over a gap says nothing of its hour
    moves = np.abs(np.diff(close, prepend=close[0])) * joined
    sums_in, counts_in = np.add.reduceat(moves, block) / close[block], np.add.reduceat(joined, block, dtype=np.int64)
    cell = week * HALF_HOURS + half_hour
    counts = np.bincount(cell, weights=counts_in, minlength=size).reshape(-1, HALF_HOURS)
    sums = np.bincount(cell, weights=sums_in, minlength=size).reshape(-1, HALF_HOURS)
    if step_s == HOUR:  # an hourly bar fills the half hour it starts in and the next
        counts, sums = counts + np.roll(counts, 1, axis=1), sums + np.roll(sums, 1, axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    full = (counts > 0).sum(axis=1) >= HALF_HOURS * 0.75
    logs = np.zeros_like(means)
    if full.any():
        part = means[full]
        part = np.log(part + 0.15 * np.nanmedian(part, axis=1, keepdims=True) + 1e-12)
        logs[full] = np.clip(np.nan_to_num(part - np.nanmean(part, axis=1, keepdims=True)), -1.5, 1.5)
    return logs
