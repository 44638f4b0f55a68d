"""What a person may read about a clock verdict, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_store._clock_path import FIRST_OFFSET_S, Candidates, Path
from feature_store._clock_reference import Agreement, Reference, agreement
from feature_store._clock_weeks import DAY, F64, HALF_HOURS, HOUR, I64, Weeks
from feature_store.clock import from_epoch, new_york_offset_s, server_to_utc

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def day(t_s: int) -> str:
    """The date of an epoch second."""
    return f"{from_epoch(t_s):%Y-%m-%d}"


def lines(weeks: Weeks, clocks: Candidates, path: Path, scores: F64, inner: F64, found: Sequence[Agreement]) -> tuple[str, ...]:
    """Short lines: edges of the week, the daily break, activity, other feeds."""
    at = np.arange(weeks.rows.size)
    lead_s = clocks.offset_s[path.clock, at] - clocks.new_york_s
    out = []
    if weeks.continuous:
        out.append(f"bars in every weekend of {weeks.rows.size} weeks: a market that never closes shows no clock")
    else:
        out += _edge_lines(weeks, lead_s, inner[path.clock, at])
    paused = np.isfinite(weeks.pause_s)
    if paused.any():
        fits = (17 * HOUR + lead_s) % DAY == weeks.pause_s
        out.append(f"daily break from 17:00 to 18:00 New York in {int((fits & paused).sum())} of {int(paused.sum())} weeks")
    used = scores.any(axis=1)
    if used.any() and not weeks.continuous:
        best = int((scores[used].argmax(axis=1) == (lead_s[used] // 1800) % HALF_HOURS).sum())
        near = scores[used, (lead_s[used] // 1800) % HALF_HOURS].mean()
        out.append(
            f"prices move when London and New York work: fit {near:.2f}, best of 48 shifts in {best} of {int(used.sum())} weeks"
        )
    out += [_agreement_line(one, clocks.offset_s[path.clock, at]) for one in found]
    if weeks.thin:
        out.append(f"{weeks.thin} bars with next to no ticks before the open or after the close left out of account")
    return tuple(out)


def _edge_lines(weeks: Weeks, lead_s: I64, cost: F64) -> list[str]:
    """Most frequent first open and last close in New York time."""
    out = []
    for name, at_s in (("opens", weeks.first_s), ("closes", weeks.last_s)):
        there = np.isfinite(at_s)
        if there.any():
            new_york = (at_s[there] - lead_s[there]).astype(np.int64)
            since_monday = (new_york - 4 * DAY) % (7 * DAY)
            values, counts = np.unique(since_monday // 300 * 300, return_counts=True)
            most = int(values[counts.argmax()])
            clock = f"{_WEEKDAYS[most // DAY]} {most % DAY // HOUR:02d}:{most % HOUR // 60:02d}"
            out.append(f"week {name} {clock} New York in {int(counts.max())} of {int(there.sum())} weeks")
    broken = int((cost >= 2).sum())
    if broken:
        out.append(f"{broken} weeks hold bars outside Sunday 17:00 to Friday 17:00 New York, or break at another hour")
    return out


def _agreement_line(one: Agreement, offset_s: I64) -> str:
    column = (offset_s - FIRST_OFFSET_S) // 1800
    rho = one.correlation[np.arange(column.size), column]
    seen = np.isfinite(rho)
    if not seen.any():
        return f"feed {one.feed} shares too few returns with this file"
    return f"returns agree with feed {one.feed}: median correlation {np.median(rho[seen]):.2f} over {int(seen.sum())} weeks"


def conflict(clocks: Candidates, path: Path, inner: F64, found: Sequence[Agreement]) -> str:
    """A line when feeds contradict each other or the trading week; "" when nothing does."""
    at = np.arange(path.clock.size)
    column = (clocks.offset_s[path.clock, at] - FIRST_OFFSET_S) // 1800
    seen_any = np.zeros(at.size, dtype=np.bool_)
    for one in found:
        seen = np.isfinite(one.correlation).any(axis=1)
        if not seen.any():
            continue
        seen_any |= seen
        best = np.nanmax(one.correlation[seen], axis=1)
        mine = np.nan_to_num(one.correlation[seen, column[seen]])
        if np.mean((best > 0.8) & (mine < 0.6)) > 0.25:
            other = FIRST_OFFSET_S + 1800 * int(np.nan_to_num(one.correlation[seen]).mean(axis=0).argmax())
            return (
                f"clock unclear: feed {one.feed} agrees best with UTC{other / HOUR:+g} h, other evidence does not; "
                "check that feed's clock, or pass --clock RULE"
            )
    if seen_any.any():
        spare = inner[path.clock, at] - inner.min(axis=0)
        if np.mean(spare[seen_any] >= 3) > 0.5:
            names = ", ".join(one.feed for one in found)
            return (
                f"clock unclear: returns agree with feed {names} only on a clock that breaks the trading week; "
                "check that feed's clock, or pass --clock RULE"
            )
    return ""


def slips(wall_s: I64, close: F64, step_s: int, rule: str, references: Sequence[Reference]) -> tuple[str, ...]:
    """Days inside the file whose returns agree with a reference only at another hour: the clock slipped silently."""
    if not references:
        return ()
    utc_s = server_to_utc(wall_s, rule)
    days = (utc_s + new_york_offset_s(utc_s) + 7 * HOUR) // DAY
    cells = days - days[0]
    out = []
    for reference in references:
        found = agreement(utc_s, close, step_s, cells, int(cells[-1]) + 1, reference).correlation
        level = np.nan_to_num(found, nan=-1.0)
        zero = -FIRST_OFFSET_S // 1800
        best = level.argmax(axis=1)
        slipped = np.flatnonzero((level[:, zero] < 0.5) & (level.max(axis=1) > 0.9) & (level[:, zero] > -1))
        slipped = slipped[np.abs(best[slipped] - zero) <= 6]
        if slipped.size:
            named = ", ".join(day(int(days[0] + d) * DAY) for d in slipped[:5])
            shifts, counts = np.unique(best[slipped] - zero, return_counts=True)
            hours = shifts[counts.argmax()] / 2
            out.append(
                f"{slipped.size} days run {hours:+g} h against feed {reference.feed}, though the file's clock does not: {named}"
            )
    return tuple(out)
