"""Made-up series of related symbols beside a made-up file: how much they move with it, and how wrong their clock is."""

from __future__ import annotations

import numpy as np

from feature_store._clock_reference import Reference
from feature_store._clock_weeks import DAY, F64, HOUR, I64, WEEK
from feature_store.clock import new_york_offset_s, server_to_utc, utc_to_server

_STRENGTHS = (0.0, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
_CLOCKS = ("right", "right", "right", "shifted", "other-saving")


def draw_related(random: np.random.Generator, utc_s: I64, close: F64) -> tuple[tuple[Reference, ...], str]:
    """Up to three related series of the market whose true UTC opens and closes are given, and a word on each."""
    if random.random() < 0.4 or utc_s.size < 20:
        return (), ""
    drawn, told = [], []
    for number in range(int(random.integers(1, 4))):
        strength, clock = float(random.choice(_STRENGTHS)), str(random.choice(_CLOCKS))
        steady, ending = random.random() < 0.6, str(random.choice(("whole", "whole", "half", "late-open")))
        prices = _related_close(random, utc_s, close, strength, steady=steady)
        opens_s, kept = _misread(random, _kept(random, ending, utc_s), utc_s, clock)
        opens_s, prices = _coarser(random, opens_s, prices[kept])
        drawn.append(Reference(f"kin{number}", opens_s, prices))
        told.append(f"{strength:.1f} {'steady' if steady else 'changing'} {clock} {ending}")
    return tuple(drawn), f", related {'; '.join(told)}"


def _related_close(random: np.random.Generator, utc_s: I64, close: F64, strength: float, *, steady: bool) -> F64:
    """Closes whose returns correlate with the market's by `strength`, of either sign; not steady: drawn anew, sign and
    all, every few months."""
    moves = np.diff(np.log(close), prepend=np.log(close[0]))
    # Returns of other days at the same hour, of random sign: as lively, and of nothing in common.
    hour = (utc_s + new_york_offset_s(utc_s)) % DAY // 1800
    own = np.empty_like(moves)
    own[np.argsort(hour, kind="stable")] = moves[np.lexsort((random.random(moves.size), hour))]
    own *= random.choice([-1.0, 1.0], size=moves.size)
    if steady:
        rho = np.full(moves.size, strength * random.choice([-1.0, 1.0]))
    else:
        part = (utc_s - utc_s[0]) // (int(random.integers(5, 30)) * WEEK)
        rho = (strength * random.uniform(-1.0, 1.0, int(part[-1]) + 1))[part]
    return np.asarray(np.exp(np.cumsum(rho * moves + np.sqrt(1 - rho**2) * own)), dtype=np.float64)


def _kept(random: np.random.Generator, ending: str, utc_s: I64) -> I64:
    """Rows that the related series has."""
    if ending == "half":
        cut = utc_s.size // 2
        return np.arange(cut) if random.random() < 0.5 else np.arange(cut, utc_s.size)
    if ending == "late-open":
        since_open = (utc_s + new_york_offset_s(utc_s) - 3 * DAY - 17 * HOUR) % WEEK
        rows = np.flatnonzero(since_open >= int(random.integers(1, 8)) * 1800)
        return rows if rows.size > 10 else np.arange(utc_s.size)
    return np.arange(utc_s.size)


def _misread(random: np.random.Generator, rows: I64, utc_s: I64, clock: str) -> tuple[I64, I64]:
    """Opens as they stand in a store after a reading by a `right` or a wrong clock, and the rows they are of."""
    opens_s = utc_s[rows]
    if clock == "shifted":
        opens_s = opens_s + int(random.choice([-6, -4, -2, -1, 1, 2, 4, 6])) * 1800
    elif clock == "other-saving":
        true, believed = random.permutation(["ny+7", "eet", "utc+2"])[:2]
        opens_s = server_to_utc(utc_to_server(opens_s, str(true)), str(believed))
    opens_s, first = np.unique(opens_s, return_index=True)
    return opens_s, rows[first]


def _coarser(random: np.random.Generator, opens_s: I64, close: F64) -> tuple[I64, F64]:
    """The same as hourly bars in half of the cases."""
    if random.random() < 0.5:
        return opens_s, close
    hour = opens_s - opens_s % HOUR
    last = np.append(np.diff(hour) != 0, True)
    return hour[last], close[last]
