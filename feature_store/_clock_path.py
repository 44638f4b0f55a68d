"""Which clock a file kept, week by week: candidate clocks, the cost of each in each week, and the cheapest path.

Costs are in nats (minus log likelihood). A path may change its clock from one week to the next, at a price. What a
verdict rests on is the margin: how much dearer the cheapest path is that gives other UTC times in some week.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_store._clock_weeks import DAY, F64, HALF_HOURS, HOUR, I64, Weeks
from feature_store.clock import new_york_offset_s, utc_to_server

# First offset and number of half hours that clocks may differ from UTC: UTC-12 to UTC+14.
FIRST_OFFSET_S, OFFSETS = -12 * HOUR, 53
SWITCH, SLIP_SWITCH = 7.0, 2.0
_DOUBT_SWITCH, _DOUBT_END, _END_SWITCH = 5.0, 1.0, 3.0
_SLIP_WEEKS = 4
_SLACK_S = 600  # servers that open or close a few minutes off are no other clock
_USUAL = {
    "utc": 0.0,
    "ny+7": 0.0,
    "eet": 0.1,
    "cet": 0.3,
    "ny": 0.3,
    "lon": 0.6,
    "utc+2": 0.6,
    "utc+3": 0.6,
    "utc+1": 0.6,
    "utc-5": 0.6,
}


@dataclass(frozen=True)
class Candidates:
    """Clocks by weeks: names (rules), how unusual each is (nats), and each one's offset from UTC (s)."""

    rules: tuple[str, ...]
    prior: F64
    offset_s: I64  # (clocks, weeks)
    new_york_s: I64  # (weeks,) New York's own offset


@dataclass(frozen=True)
class Path:
    """The clock of each week and, by week, the margin (nats) over paths that have another offset then."""

    clock: I64
    margin: F64
    rival: I64  # the clock of the cheapest path that differs there


def candidates(cut_s: I64) -> Candidates:
    """Every clock that is considered, in the weeks that start at `cut_s` (wall)."""
    middle = cut_s + 4 * DAY  # Wednesday evening: the same offset as the whole trading week, for every clock
    rules = [_fixed(FIRST_OFFSET_S + 1800 * step) for step in range(OFFSETS)]
    rules += [_shifted("ny", hours) for hours in range(-6, 15)] + [_shifted("lon", hours) for hours in range(-11, 14)]
    names = {"lon+1": "cet", "lon+2": "eet"}
    rules = [names.get(rule, rule) for rule in rules]
    prior = np.array([_USUAL.get(rule, 3.0 if rule.endswith(":30") else 2.5) for rule in rules])
    offset_s = np.stack([utc_to_server(middle, rule) - middle for rule in rules])
    return Candidates(tuple(rules), prior, offset_s, new_york_offset_s(middle))


def _fixed(offset_s: int) -> str:
    if offset_s == 0:
        return "utc"
    hours, minutes = divmod(abs(offset_s) // 60, 60)
    return f"utc{'+' if offset_s > 0 else '-'}{hours}" + (f":{minutes:02d}" if minutes else "")


def _shifted(zone: str, hours: int) -> str:
    return f"{zone}{hours:+d}" if hours else zone


def edge_costs(weeks: Weeks, clocks: Candidates, step_s: int, *, known_volume: bool) -> F64:
    """(clocks, weeks): bars before Sunday 17:00 or after Friday 17:00 New York speak against a clock. Bars missing
    inside the week do not: files lose Sundays, and servers open late and close early."""
    lead_s = (clocks.offset_s - clocks.new_york_s).astype(np.float64)
    opens = weeks.cut_s - 5.5 * HOUR + DAY  # Sunday 17:00 on a clock that shows New York time
    closes = opens + 5 * DAY
    early = opens + lead_s - weeks.first_s
    late = weeks.last_s - (closes + lead_s)
    return _breach(early, step_s, weeks.first_count, known_volume) + _breach(late, step_s, weeks.last_count, known_volume)


def _breach(over_s: F64, step_s: int, in_an_hour: F64, known_volume: bool) -> F64:
    """Cost of bars `over_s` seconds outside the week: one lone bar says little, an hour of minutes everything."""
    # A bar that holds the open or the close itself is inside the week.
    whole_s = np.nan_to_num(over_s) // step_s * step_s
    hours = np.where(whole_s > _SLACK_S, whole_s / HOUR, 0.0)
    bars = np.maximum(1.0, in_an_hour * np.minimum(hours, 4.0))
    cost = np.minimum(2.0 + 1.2 * np.log2(bars) + (2.0 if known_volume else 0.0), 10.0)
    return np.where(hours > 0, cost, 0.0)


def pause_costs(weeks: Weeks, clocks: Candidates) -> F64:
    """(clocks, weeks): a daily hour without bars is the break from 17:00 to 18:00 New York."""
    lead_s = clocks.offset_s - clocks.new_york_s
    differs = (17 * HOUR + lead_s) % DAY != weeks.pause_s
    return np.where(differs & np.isfinite(weeks.pause_s), 3.0, 0.0)


def grid_costs(wall_s: I64, step_s: int, clocks: Candidates) -> F64:
    """(clocks, 1): hourly bars start on the hour of UTC, so a clock half an hour off shows them at half past."""
    if step_s != HOUR:
        return np.zeros((len(clocks.rules), 1))
    half = np.mean(wall_s % HOUR != 0) > 0.5
    return np.where((clocks.offset_s[:, :1] % HOUR != 0) != half, 3.0, 0.0)


def activity_scores(weeks: Weeks, usual: F64) -> F64:
    """(weeks, 48): how well the week's activity fits the profile when the wall clock leads New York by that many
    half hours; 1 is a perfect fit. 0 in weeks of half years in which no lead fits."""
    turned = np.stack([np.roll(usual, lead) for lead in range(HALF_HOURS)], axis=1)
    scores = np.asarray(weeks.activity @ turned / (usual @ usual), dtype=np.float64)
    for start in range(0, scores.shape[0], 26):
        part = slice(start, start + 26)
        lengths = np.linalg.norm(weeks.activity[part].mean(axis=0)) / np.linalg.norm(usual)
        best = scores[part].mean(axis=0).max()
        if best < 0.45 or best < 0.6 * lengths:
            scores[part] = 0.0
    return scores


def activity_costs(scores: F64, clocks: Candidates, usual: F64, step_s: int) -> F64:
    """(clocks, weeks): less fit, dearer. The weight was measured on real weeks, and rounded down."""
    lead = (clocks.offset_s - clocks.new_york_s) // 1800 % HALF_HOURS
    weight = (2.0 if step_s >= HOUR else 3.5) * (usual @ usual) / 2
    return np.asarray(-weight * scores[np.arange(scores.shape[0]), lead], dtype=np.float64)


def offset_columns(clocks: Candidates) -> I64:
    """(clocks, weeks): number of half hours each offset lies above UTC-12."""
    return (clocks.offset_s - FIRST_OFFSET_S) // 1800


def cheapest(costs: F64, clocks: Candidates, switch: float = SWITCH) -> I64:
    """(weeks,) the clock of each week on the cheapest path through (clocks, weeks); a change costs `switch`."""
    forward, enter = _sweep(costs, clocks.prior, switch), clocks.prior + switch
    clock = np.empty(forward.shape[0], dtype=np.int64)
    clock[-1] = int(forward[-1].argmin())
    for week in range(forward.shape[0] - 1, 0, -1):
        here = clock[week]
        stay, change = forward[week - 1, here], forward[week - 1].min() + enter[here]
        clock[week - 1] = here if stay <= change else int(forward[week - 1].argmin())
    return clock


def doubt(costs: F64, clocks: Candidates, clock: I64, rows: I64) -> Path:
    """A chosen path with its margins. Changes are cheaper here than where the path was chosen: what may have been
    smoothed over must count as doubt."""
    weeks = np.arange(clock.size)
    switched = np.flatnonzero(np.diff(clock)) + 1
    own = costs[clock, weeks]
    total = clocks.prior[clock[0]] + own.sum() + (clocks.prior[clock[switched]] + _DOUBT_SWITCH).sum()
    same = clocks.offset_s == clocks.offset_s[clock, weeks]
    # A file that ends in the middle of a week shows nothing of that week: only there rarity is enough.
    rare = costs.copy()
    rare[:, 0] += np.where(same[:, 0], 0.0, _DOUBT_END)
    rare[:, -1] += np.where(same[:, -1], 0.0, _DOUBT_END)
    through = _sweep(rare, clocks.prior, _DOUBT_SWITCH) + _back(rare, clocks.prior, _DOUBT_SWITCH)
    through = np.where(same.T, np.inf, through) - total
    margin, rival = through.min(axis=1), through.argmin(axis=1)
    # Two full weeks or more at either end: a clock that fits as well there is not ruled out by rarity alone.
    gain = costs - own
    full = rows / max(1.0, float(np.median(rows)))
    for order in (slice(None), slice(None, None, -1)):
        reach = np.cumsum(gain[:, order], axis=1) + (clocks.prior + _END_SWITCH)[:, None]
        differs = np.cumsum((~same * full)[:, order], axis=1) >= 1.5
        ends = np.where(differs, reach, np.inf)
        lower = ends.min(axis=0)[order] < margin
        margin = np.where(lower, ends.min(axis=0)[order], margin)
        rival = np.where(lower, ends.argmin(axis=0)[order], rival)
    return Path(clock, margin, rival)


def _sweep(costs: F64, prior: F64, switch: float) -> F64:
    """(weeks, clocks): cost of the cheapest path up to and with each week that ends in each clock."""
    out = np.empty((costs.shape[1], costs.shape[0]))
    out[0] = prior + costs[:, 0]
    for week in range(1, out.shape[0]):
        out[week] = np.minimum(out[week - 1], out[week - 1].min() + prior + switch) + costs[:, week]
    return out


def _back(costs: F64, prior: F64, switch: float) -> F64:
    """(weeks, clocks): cost of the cheapest path after each week, given the clock of that week."""
    out = np.zeros((costs.shape[1], costs.shape[0]))
    for week in range(out.shape[0] - 2, -1, -1):
        onward = out[week + 1] + costs[:, week + 1]
        out[week] = np.minimum(onward, (onward + prior).min() + switch)
    return out


def excursions(clock: I64, clocks: Candidates) -> npt.NDArray[np.bool_]:
    """(weeks,) where a path leaves a clock for at most four weeks and comes back to it: a slip, not a change."""
    offset_s = clocks.offset_s[clock, np.arange(clock.size)]
    slipped = np.zeros(clock.size, dtype=np.bool_)
    firsts = [0, *(int(w) for w in np.flatnonzero(np.diff(clock)) + 1)]
    for position, first in enumerate(firsts[1:-1], start=1):
        home = clock[firsts[position - 1]]
        back = next((w for w in firsts[position + 1 :] if clock[w] == home), None)
        if back is not None:
            away = np.flatnonzero(offset_s[first:back] != clocks.offset_s[home, first:back]) + first
            if away.size <= _SLIP_WEEKS:
                slipped[away] = True
    return slipped
