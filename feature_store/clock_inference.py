"""The clock of a file, told by its bars: the trading week, the daily break, the hours when prices move, other feeds.

A clock is told only where no other one that would give different UTC times is plausible; else the verdict is a
refusal. Clocks that give the same UTC time on every row of a file are one: the more usual name is said (`ny+7`
before `eet` before `utc+2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store import _clock_evidence as evidence
from feature_store._clock_change import stretches
from feature_store._clock_path import (
    SLIP_SWITCH,
    Candidates,
    Path,
    activity_costs,
    activity_scores,
    candidates,
    cheapest,
    doubt,
    edge_costs,
    excursions,
    grid_costs,
    offset_columns,
    pause_costs,
)
from feature_store._clock_reference import Agreement, Reference, agreement, costs, week_cells
from feature_store._clock_related import Related, relate
from feature_store._clock_related import conflict as related_conflict
from feature_store._clock_related import lines as related_lines
from feature_store._clock_weeks import Weeks, measure, profile
from feature_store.bars import seconds

__all__ = ["ClockVerdict", "Reference", "Stretch", "infer_clock"]

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

# Nats between the best clock and the next that differs: the second is then at most 1 in 180 as likely.
MARGIN = 5.2
_PASS = "pass --clock RULE, such as utc, eet or ny+7"


@dataclass(frozen=True)
class Stretch:
    """One clock of a file: from `start` (UTC, None: from the first row) to the next stretch."""

    start: datetime | None
    rule: str
    confidence: float


@dataclass(frozen=True)
class ClockVerdict:
    """What the clock of a file is, or why that cannot be told."""

    rule: str | None  # a rule of feature_store.clock, composite when there are several stretches; None: refused
    confidence: float  # 0..1, that no other clock with other UTC times is right
    stretches: tuple[Stretch, ...]
    evidence: tuple[str, ...]
    refusal: str  # one line why, and what to pass; "" when there is a rule

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {
            "rule": self.rule,
            "confidence": round(self.confidence, 4),
            "stretches": [
                {"start": s.start.isoformat() if s.start else None, "rule": s.rule, "confidence": round(s.confidence, 4)}
                for s in self.stretches
            ],
            "evidence": list(self.evidence),
            "refusal": self.refusal,
        }


def infer_clock(
    wall_s: I64,
    close: F64,
    timeframe: str,
    symbol: str,
    *,
    references: Sequence[Reference] = (),
    related: Sequence[Reference] = (),
    volume: F64 | None = None,
) -> ClockVerdict:
    """The clock that wrote `wall_s`.

    wall_s: bar opens as written, dressed as epoch seconds, ascending and unique; close: one price per bar, > 0;
    symbol: picks the usual hours of activity; references: bars of the same symbol in true UTC, decisive where they
    overlap; related: bars of symbols that share a currency with it, in true UTC, asked in the weeks no reference covers;
    volume: ticks per bar, NaN unknown, tells real bars from a server's echo after the close.
    Raises Final for an unknown timeframe.
    """
    step_s = seconds(timeframe)
    wall_s, close = np.asarray(wall_s, dtype=np.int64), np.asarray(close, dtype=np.float64)
    usable = np.isfinite(close) & (close > 0)
    if not usable.all():
        wall_s, close, volume = wall_s[usable], close[usable], None if volume is None else volume[usable]
    if wall_s.size < 2:
        return _refused(f"{wall_s.size} bars tell no clock; {_PASS}")
    bars = _Bars(wall_s, close, step_s, symbol, volume, tuple(references), tuple(related))
    weeks = measure(wall_s, close, step_s, volume)
    clocks = candidates(weeks.cut_s)
    weighed = _weigh(bars, weeks, clocks)
    path = _choose(weighed, weeks, clocks)
    lines = evidence.lines(weeks, clocks, path, weighed.scores, weighed.inner, weighed.found)
    lines += related_lines(weighed.related, clocks, path.clock)
    return _verdict(bars, weeks, clocks, weighed, path, lines)


@dataclass(frozen=True)
class _Bars:
    wall_s: I64
    close: F64
    step_s: int
    symbol: str
    volume: F64 | None
    references: tuple[Reference, ...]
    related: tuple[Reference, ...]


@dataclass(frozen=True)
class _Weighed:
    """Costs (clocks, weeks) of the week's edges and breaks, of its activity and of other feeds, and what they rest on."""

    inner: F64
    activity: F64
    outer: F64
    scores: F64
    found: list[Agreement]
    related: Related


def _weigh(bars: _Bars, weeks: Weeks, clocks: Candidates) -> _Weighed:
    usual = profile(bars.symbol)
    scores = activity_scores(weeks, usual)
    inner = grid_costs(bars.wall_s, bars.step_s, clocks) + np.zeros(clocks.offset_s.shape)
    activity = np.zeros_like(inner)
    if not weeks.continuous:  # markets that never close have hours of their own
        known_volume = bars.volume is not None and bool(np.isfinite(bars.volume).any())
        inner += edge_costs(weeks, clocks, bars.step_s, known_volume=known_volume) + pause_costs(weeks, clocks)
        activity = activity_costs(scores, clocks, usual, bars.step_s)
    count = weeks.rows.size
    asked = bars.references or bars.related
    cell_of = week_cells(bars.wall_s, weeks.cut_s) if asked else np.zeros(0, dtype=np.int64)
    found = [agreement(bars.wall_s, bars.close, bars.step_s, cell_of, count, one) for one in bars.references]
    nats = costs(found, count)
    related = relate(
        bars.wall_s, bars.close, bars.step_s, cell_of, clocks, weeks.cut_s, bars.related, free=np.ptp(nats, axis=1) == 0
    )
    outer = (nats + related.nats)[np.arange(count), offset_columns(clocks)]
    return _Weighed(inner, activity, outer, scores, found, related)


def _choose(weighed: _Weighed, weeks: Weeks, clocks: Candidates) -> Path:
    total = weighed.inner + weighed.activity + weighed.outer
    seen = np.ptp(weighed.outer, axis=0) > 0
    slipped = seen & excursions(cheapest(total, clocks, SLIP_SWITCH), clocks)
    # Weeks in which other feeds disagree for a while are reported, and left out of what decides.
    total[:, slipped] = 0.0
    return doubt(total, clocks, cheapest(total, clocks), weeks.rows)


def _verdict(
    bars: _Bars, weeks: Weeks, clocks: Candidates, weighed: _Weighed, path: Path, lines: tuple[str, ...]
) -> ClockVerdict:
    confidence = _confidence(path.margin.min())
    against = (
        evidence.conflict(clocks, path, weighed.inner, weighed.found)
        or related_conflict(weighed.related, clocks, path.clock, MARGIN)
        or _too_little(weeks, weighed.scores, weighed.found)
    )
    if not against and path.margin.min() < MARGIN:
        against = _unclear(path, clocks.rules, weeks.cut_s, continuous=weeks.continuous)
    if against:
        return _refused(against, lines, confidence)
    parts = stretches(bars.wall_s, bars.close, bars.step_s, weeks, clocks, path, bars.references)
    if isinstance(parts, str):
        return _refused(f"{parts}; {_PASS}", lines, confidence)
    margins = [path.margin[part.first_week : part.end_week].min() for part in parts]
    told = tuple(Stretch(p.start, clocks.rules[p.clock], _confidence(m)) for p, m in zip(parts, margins, strict=True))
    rule = _composite(told)
    slips = evidence.slips(bars.wall_s, bars.close, bars.step_s, rule, bars.references)
    return ClockVerdict(rule, confidence, told, (*lines, *slips), "")


def _too_little(weeks: Weeks, scores: F64, found: Sequence[Agreement]) -> str:
    """A line when a single pause is all there is: it may be a holiday of a market that never closes."""
    pauses = int(np.isfinite(weeks.first_s).sum())
    if weeks.continuous or pauses >= 2 or scores.any() or any(np.isfinite(one.correlation).any() for one in found):
        return ""
    return f"clock unclear: {pauses} weekend{'' if pauses == 1 else 's'} in the file, too little to tell; {_PASS}"


def _composite(parts: Sequence[Stretch]) -> str:
    texts = []
    for part, following in pairwise(parts):
        assert following.start is not None
        texts.append(f"{part.rule} until {following.start:%Y-%m-%d}")
    return ", ".join([*texts, parts[-1].rule])


def _confidence(margin: float) -> float:
    return float(1 - np.exp(-max(0.0, margin)))


def _refused(why: str, lines: Sequence[str] = (), confidence: float = 0.0) -> ClockVerdict:
    return ClockVerdict(None, confidence, (), tuple(lines), why)


def _unclear(path: Path, rules: Sequence[str], cut_s: I64, *, continuous: bool) -> str:
    week = int(path.margin.argmin())
    day = evidence.day(int(cut_s[week]) + 86400)
    if continuous:
        return f"clock unclear: the market never closes, so no clock shows; ingest another feed of it first, or {_PASS}"
    best, rival = rules[path.clock[week]], rules[path.rival[week]]
    return f"clock unclear: {best} and {rival} both fit the week of {day}; ingest another feed of it or its kin first, or {_PASS}"
