"""How well the returns of a file agree with bars of the same symbol in true UTC, for each offset of its clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_store._clock_path import FIRST_OFFSET_S, OFFSETS
from feature_store._clock_weeks import DAY, F64, I64, WEEK

_GRID_S = 1800
_LONGEST_S = 4 * 3600  # longer bars share too few returns a week
_MOST = 40.0  # nats a week: no week may outvote everything else


@dataclass(frozen=True)
class Reference:
    """Bars of the same symbol from any feed, `opens_s` in true UTC epoch seconds, ascending."""

    feed: str
    opens_s: I64
    close: F64


@dataclass(frozen=True)
class Agreement:
    """Correlation of returns by cell (week or day) and offset, NaN where too few returns are shared."""

    feed: str
    correlation: F64  # (cells, offsets)
    returns: F64  # (cells,)


def length_s(opens_s: I64) -> int:
    """The usual bar length of a series: the most frequent distance of neighbours."""
    if opens_s.size < 2:
        return _GRID_S
    values, counts = np.unique(np.diff(opens_s[:20_000]), return_counts=True)
    return int(values[counts.argmax()])


@dataclass(frozen=True)
class Grid:
    """Last close at each half hour; NaN where none was made in the half hour before."""

    start_s: int
    log: F64

    def returns(self, step: int) -> F64:
        """Log return over the `step` seconds before each point, NaN where a close is missing."""
        back = step // _GRID_S
        out = np.full(self.log.size, np.nan)
        out[back:] = self.log[back:] - self.log[: self.log.size - back]
        return out


def _grid(known_s: I64, close: F64) -> Grid:
    start = int(known_s[0] // _GRID_S * _GRID_S)
    points = np.arange(start, int(known_s[-1]) + _GRID_S, _GRID_S, dtype=np.int64)
    at = np.searchsorted(known_s, points, side="right") - 1
    held = at >= 0
    at = np.maximum(at, 0)
    held &= points - known_s[at] < _GRID_S
    return Grid(start, np.where(held, np.log(close[at]), np.nan))


def agreement(
    wall_s: I64, close: F64, step_s: int, cell_of: I64, cells: int, reference: Reference, *, tamed: bool = False
) -> Agreement:
    """Agreement per cell: `cell_of` gives the cell of each row (of `cells`); every offset from UTC-12 to UTC+14.

    tamed: of signed square roots of returns, so that no single jump makes a correlation.
    """
    other_s = length_s(reference.opens_s)
    step = max(step_s, other_s, _GRID_S)
    table, shared = np.full((cells, OFFSETS), np.nan), np.zeros(cells)
    if step > _LONGEST_S or min(wall_s.size, reference.opens_s.size) < 10:
        return Agreement(reference.feed, table, shared)
    reach = DAY  # wall clocks lie within a day of UTC
    low, high = np.searchsorted(wall_s, [reference.opens_s[0] - reach, reference.opens_s[-1] + reach])
    wall_s, close, cell_of = wall_s[low:high], close[low:high], cell_of[low:high]
    theirs = _grid(reference.opens_s + other_s, reference.close)
    known = wall_s + step_s
    # A file finer than the grid is read at every phase of it: a clock may be off by any half hour.
    for phase in range(0, step if step_s < step else 1, _GRID_S):
        rows = np.flatnonzero((known - phase) % step == 0) if step_s < step else np.arange(known.size)
        rows = rows[1:][np.diff(known[rows]) == step] if rows.size else rows
        if rows.size:
            mine, other = _returns(known, close, rows, step), theirs.returns(step)
            if tamed:
                mine, other = (np.sign(moves) * np.sqrt(np.abs(moves)) for moves in (mine, other))
            found, counts = _by_offset(known[rows], mine, other, theirs.start_s, cell_of[rows])
            at = np.unique(cell_of[rows])
            table[at] = np.fmax(table[at], found)
            shared[at] = np.maximum(shared[at], counts)
    return Agreement(reference.feed, table, shared)


def _returns(known: I64, close: F64, rows: I64, step: int) -> F64:
    """Log return of the file up to each row since the row one step before."""
    before = np.searchsorted(known, known[rows] - step)
    return np.asarray(np.log(close[rows] / close[before]), dtype=np.float64)


def _by_offset(known: I64, mine: F64, theirs: F64, start_s: int, cell: I64) -> tuple[F64, F64]:
    """(cells present, offsets) correlation, and (cells present,) the most returns shared at any offset."""
    firsts = np.flatnonzero(np.append(True, np.diff(cell) != 0))
    zero = (known - start_s) // _GRID_S - FIRST_OFFSET_S // _GRID_S
    # Room on both sides, so that an index past the reference finds nothing.
    padded = np.concatenate([np.full(1, np.nan), theirs, np.full(1, np.nan)])
    table, most = np.empty((firsts.size, OFFSETS)), np.zeros(firsts.size)
    for column in range(OFFSETS):
        other = padded[np.clip(zero - column + 1, 0, padded.size - 1)]
        both = np.isfinite(other)
        other, own = np.where(both, other, 0.0), np.where(both, mine, 0.0)
        xy, xx, yy, counts = (
            np.add.reduceat(v, firsts) for v in (own * other, own * own, other * other, both.astype(np.float64))
        )
        enough = (counts >= 6) & (xx > 0) & (yy > 0)
        table[:, column] = np.where(enough, xy / np.sqrt(np.where(enough, xx * yy, 1.0)), np.nan)
        most = np.maximum(most, counts)
    return table, most


def costs(found: Sequence[Agreement], cells: int) -> F64:
    """(cells, offsets) nats: 0 for the offset that agrees best in a cell, up to 40 for one that does not."""
    total = np.zeros((cells, OFFSETS))
    for one in found:
        rho = np.clip(np.nan_to_num(one.correlation), 0.0, 0.995)
        # Half of the usual Gaussian weight: returns have fat tails.
        cost = np.minimum(one.returns, 120)[:, None] / 4 * np.log1p(-(rho**2))
        total += np.minimum(cost - cost.min(axis=1, keepdims=True), _MOST)
    return total


def week_cells(wall_s: I64, cut_s: I64) -> I64:
    """Number of the week of each row among the weeks that start at `cut_s`."""
    return np.asarray(np.searchsorted(cut_s + WEEK, wall_s, side="right"), dtype=np.int64)
