"""What series of related symbols (EURUSD for USDCHF) prove about a file's clock, where no feed has its own symbol.

Returns of symbols that share a currency move together in the same hour and not an hour apart. The correlation is
first measured over half years at the lag that suits it best, less what chance alone would give; a week then speaks
for each offset as much as that correlation makes its returns likelier. A weak correlation proves little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_store._clock_path import FIRST_OFFSET_S, OFFSETS, Candidates, offset_columns
from feature_store._clock_reference import Reference, agreement, length_s
from feature_store._clock_weeks import DAY, F64, HALF_S, HOUR, I64, WEEK
from feature_store.clock import new_york_offset_s

_BLOCK = 26  # weeks over which a correlation is taken to hold
_LEAST_WEEKS = 8
# The largest of some hundred correlations that are really zero: their standard errors above it.
_CHANCE = 3.5
# Below the price of leaving a clock and coming back: one week alone never moves a verdict.
_MOST = 6.0
_HALF = 0.5  # of the Gaussian weight: returns have fat tails, and correlations come and go


@dataclass(frozen=True)
class Related:
    """What related series say: costs by week and offset (nats), and how strongly each moved with the file."""

    nats: F64  # (weeks, offsets); 0 in weeks that no series proves anything about
    names: tuple[str, ...]
    strength: F64  # (series, weeks): correlation at its best less chance, signed; 0 where a series is no witness


def relate(
    wall_s: I64,
    close: F64,
    step_s: int,
    cell_of: I64,
    clocks: Candidates,
    cut_s: I64,
    series: Sequence[Reference],
    free: npt.NDArray[np.bool_],
) -> Related:
    """Costs of the weeks that are `free`: where no series of the symbol itself decides. `cell_of`: week of each row."""
    weeks = cut_s.size
    best, nats, strengths = np.zeros(weeks), np.zeros((weeks, OFFSETS)), np.zeros((len(series), weeks))
    for number, one in enumerate(series):
        witness = free & _whole_weeks(one, cut_s)
        rows = witness[cell_of]
        if not rows.any():
            continue
        found = agreement(wall_s[rows], close[rows], step_s, cell_of[rows], weeks, one, tamed=True)
        strength = _strength(found.correlation, found.returns, clocks)
        strengths[number] = strength
        weight = _HALF * found.returns * strength / (1 - strength**2)
        # Two feeds of EURUSD are one market, and GBPUSD is half of it: only the strongest witness of a week is heard.
        heard = np.abs(weight * strength) > best
        best[heard] = np.abs(weight * strength)[heard]
        cost = -weight[:, None] * found.correlation
        cost = np.where(np.isfinite(cost), cost, 0.0)
        nats[heard] = np.minimum(cost - cost.min(axis=1, keepdims=True), _MOST)[heard]
    return Related(nats, tuple(one.feed for one in series), strengths)


def _whole_weeks(one: Reference, cut_s: I64) -> npt.NDArray[np.bool_]:
    """Weeks in which a series opens at Sunday 17:00 and closes at Friday 17:00 New York: its own clock is right then.

    A series read by a clock an hour off would open late or close early, or hold bars outside the week.
    """
    step_s = length_s(one.opens_s)
    if one.opens_s.size < 2 or step_s > HOUR:
        return np.zeros(cut_s.size, dtype=np.bool_)
    since_s = one.opens_s + new_york_offset_s(one.opens_s) - 3 * DAY - 17 * HOUR
    number = since_s // WEEK
    firsts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    lasts = np.append(firsts[1:], number.size) - 1
    opened, closed = since_s[firsts] % WEEK, since_s[lasts] % WEEK + step_s
    whole = number[firsts][(opened < HALF_S) & (closed > 5 * DAY - HALF_S) & (closed <= 5 * DAY)]
    middle = cut_s + 4 * DAY  # Wednesday evening on any clock
    return np.isin((middle + new_york_offset_s(middle) - 3 * DAY - 17 * HOUR) // WEEK, whole)


def _strength(correlation: F64, returns: F64, clocks: Candidates) -> F64:
    """(weeks,) the correlation over each half year on the clock that shows most of it, less what chance gives."""
    out = np.zeros(returns.size)
    columns = offset_columns(clocks)
    known = np.flatnonzero(np.isfinite(correlation).any(axis=1))
    for part in np.array_split(known, max(1, round(known.size / _BLOCK))):
        if part.size < _LEAST_WEEKS:
            continue
        picked = correlation[part, columns[:, part]]  # (clocks, weeks)
        counts = np.where(np.isfinite(picked), returns[part], 0.0)
        total = counts.sum(axis=1)
        mean = (np.nan_to_num(picked) * counts).sum(axis=1) / np.maximum(total, 1.0)
        top = int(np.abs(mean).argmax())
        out[part] = np.sign(mean[top]) * max(0.0, abs(mean[top]) - _CHANCE / np.sqrt(max(1.0, total[top])))
    return np.clip(out, -0.95, 0.95)


def lines(related: Related, clocks: Candidates, clock: I64) -> tuple[str, ...]:
    """A line for each series that proves anything, and whether it fits the chosen clocks."""
    at = np.arange(clock.size)
    column = (clocks.offset_s[clock, at] - FIRST_OFFSET_S) // HALF_S
    heard = np.ptp(related.nats, axis=1) > 0
    out = []
    for name, strength in zip(related.names, related.strength, strict=True):
        there = strength != 0
        if there.any():
            out.append(f"related: moves with {name}, correlation {np.median(strength[there]):+.2f} in {int(there.sum())} weeks")
    if heard.any():
        fits = int((related.nats[at, column] <= 1)[heard].sum())
        out.append(f"related series fit this clock within 1 nat in {fits} of the {int(heard.sum())} weeks they were asked about")
    return tuple(out)


def conflict(related: Related, clocks: Candidates, clock: I64, margin: float) -> str:
    """A line when related series as a whole speak for another clock than the chosen one; "" when they do not."""
    at = np.arange(clock.size)
    columns = offset_columns(clocks)
    sums = related.nats[at, columns].sum(axis=1)
    mine = float(related.nats[at, columns[clock, at]].sum())
    best = int(sums.argmin())
    if mine <= sums[best] + margin:
        return ""
    return (
        f"clock unclear: related series ({', '.join(related.names[:3])}) agree best with {clocks.rules[best]}, other evidence "
        "does not; check their clocks, or pass --clock RULE"
    )
