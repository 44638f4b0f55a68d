"""What the ingests of a series said: rows turned away, spreads cleared, the clock they were read with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl


@dataclass(frozen=True)
class ClockUsed:
    """One clock rule and how it was come by.

    told_by: user, content or data, empty when nobody looked. data_say: the rule that the bars themselves tell, None
    where they leave it open; confidence: 0 to 1 in that, None when they were not asked.
    """

    rule: str
    batches: int
    told_by: str = ""
    data_say: str | None = None
    confidence: float | None = None
    stretches: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    def words(self) -> str:
        """Who told the clock, and what the data say of it."""
        by = {"user": "given by the user", "content": "stated in the file", "data": "told by the data"}.get(self.told_by, "given")
        if self.confidence is None:
            return by
        if self.data_say is None:
            return f"{by}; the data leave it open"
        said = "" if self.data_say == self.rule else f" say {self.data_say}"
        return (
            f"{by}, {self.confidence:.0%} sure"
            if self.told_by == "data"
            else f"{by}; the data{said or ' agree'}, {self.confidence:.0%} sure"
        )


@dataclass(frozen=True)
class Ingested:
    """All ingests of one series that were not undone. rejects: rows turned away, by reason."""

    batches: int = 0
    rows_read: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    crossed: int = 0  # bid above ask: the row is kept, its spread is unknown
    clocks: tuple[ClockUsed, ...] = ()
    notes: tuple[str, ...] = ()


def ingested(batches: pl.DataFrame, feed: str, symbol: str, timeframe: str) -> Ingested:
    """What the rows of `Store.batches()` that made this series say. Stores of earlier versions know no clock evidence."""
    rows = batches.filter(feed=feed, symbol=symbol, timeframe=timeframe, undone=False).to_dicts()
    # A batch that moved another's rows to another clock read nothing anew, and its clock is the one that holds.
    moved = {row.get("reclocks", 0) for row in rows}
    read = [row for row in rows if not row.get("reclocks", 0)]
    rejects: dict[str, int] = {}
    clocks: dict[str, ClockUsed] = {}
    notes: dict[str, None] = {}
    for row in rows:
        for reason, count in _read(row["rejects"], {}).items():
            rejects[reason] = rejects.get(reason, 0) + int(count)
        notes |= dict.fromkeys(str(note) for note in _read(row.get("notes"), []))
        if row["id"] in moved:
            continue
        used = _clock(row["clock_rule"], _read(row.get("clock"), {}))
        before = clocks.get(used.rule)
        # The latest word that has evidence stands; small batches of a terminal have none.
        stands = used if before is None or used.evidence else before
        clocks[used.rule] = replace(stands, batches=1 if before is None else before.batches + 1)
    return Ingested(
        batches=len(read),
        rows_read=sum(row["rows_read"] for row in read),
        rejects=dict(sorted(rejects.items(), key=lambda item: -item[1])),
        crossed=sum(row["spreads_cleared"] for row in read),
        clocks=tuple(clocks.values()),
        notes=(*notes, *_unread(batches, feed, symbol, timeframe)),
    )


def _unread(batches: pl.DataFrame, feed: str, symbol: str, timeframe: str) -> list[str]:
    """One line for each other timeframe that is stored of the symbol."""
    stored = batches.filter(
        (pl.col("timeframe") != timeframe) & pl.col("first").is_not_null(), feed=feed, symbol=symbol, undone=False
    )
    spans = stored.group_by("timeframe").agg(pl.col("first").min(), pl.col("last").max()).sort("timeframe")
    return [
        f"{other} bars from {first:%Y-%m-%d} to {last:%Y-%m-%d} are stored too and not read: longer bars are made of {timeframe}"
        for other, first, last in spans.iter_rows()
    ]


def _read(value: Any, missing: Any) -> Any:
    """A column that holds JSON text, or its value already, or nothing."""
    if value is None or value == "":
        return missing
    return json.loads(value) if isinstance(value, str) else value


def _clock(rule: str, verdict: Mapping[str, Any]) -> ClockUsed:
    stretches = tuple(
        f"{str(s['start'])[:10] if s.get('start') else 'the beginning'} on: {s['rule']} ({s['confidence']:.0%})"
        for s in verdict.get("stretches") or ()
    )
    confidence = verdict.get("confidence")
    return ClockUsed(
        rule=rule,
        batches=1,
        told_by=str(verdict.get("told_by", "data") if verdict else ""),
        data_say=verdict.get("rule"),
        confidence=None if confidence is None else float(confidence),
        stretches=stretches,
        evidence=tuple(str(line) for line in verdict.get("evidence") or ()),
    )
