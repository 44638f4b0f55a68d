"""Batches moved from the clock they were read with to the one they should have been, inside one open transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from feature_store import _batches
from feature_store._accept import REJECTED, Sorted, sort_rows
from feature_store._batches import SERIES, Batch, Connection
from feature_store._errors import Final
from feature_store._incoming import with_content
from feature_store.bars import SCHEMA
from feature_store.clock import check_rule, server_to_utc, utc_to_server

TAKEN = "its new time holds a bar of another batch"


@dataclass(frozen=True)
class _Move:
    """Rows of one batch with the times of its new rule, and the number of the batch that they become."""

    batch: Batch
    rule: str
    rows: pl.DataFrame
    id: int


def batches_of(connection: Connection, feed: str, symbol: str | None, rules: str | Mapping[int, str]) -> list[Batch]:
    """Batches of the feed (and symbol) that were not undone; with rules by batch only those that have one."""
    if isinstance(rules, str):
        check_rule(rules)
    else:
        for rule in rules.values():
            check_rule(rule)
    found = _batches.select(connection, "feed = $feed AND NOT undone", {"feed": feed})
    if not found:
        feeds = ", ".join(sorted({b.feed for b in _batches.select(connection, "NOT undone", {})})) or "none yet"
        raise Final(f"feed {feed!r} has no batches; there are feeds: {feeds}")
    if symbol is not None:
        symbols = sorted({b.symbol for b in found})
        found = [b for b in found if b.symbol == symbol]
        if not found:
            raise Final(f"feed {feed!r} has no batches of {symbol}; it has {', '.join(symbols)}")
    return found if isinstance(rules, str) else [b for b in found if b.id in rules]


def move_all(
    connection: Connection, batches: list[Batch], rules: Mapping[int, str], clocks: Mapping[int, Mapping[str, Any]], at: datetime
) -> list[Batch]:
    """The new batches, oldest source first; batches whose bars stay where they are make none.

    rules, clocks: by batch, the rule to go to and how it was told.
    """
    moves: list[_Move] = []
    for batch in batches:
        rows = _batches.bars_of(connection, batch.id)
        times = _moved(rows["time"], batch.clock_rule, rules[batch.id])
        if rows.height and not times.equals(rows["time"]):
            number = _batches.next_id(connection) + len(moves)
            moves.append(_Move(batch, rules[batch.id], rows.with_columns(times), number))
    # Every row leaves its place before the first arrives: bars of two batches may change places.
    for move in moves:
        _batches.set_aside(connection, move.batch.id, move.id)
    return [_put(connection, move, clocks.get(move.batch.id, {}), at) for move in moves]


def _moved(times: pl.Series, old: str, new: str) -> pl.Series:
    """UTC times that were read by the `old` rule, read by the `new` one."""
    ms = times.to_physical().to_numpy()
    seconds = server_to_utc(utc_to_server(ms // 1000, old), new)
    return pl.Series("time", seconds * 1000 + ms % 1000, dtype=pl.Int64).cast(SCHEMA["time"])


def _put(connection: Connection, move: _Move, clock: Mapping[str, Any], at: datetime) -> Batch:
    old, series = move.batch, {name: getattr(move.batch, name) for name in ("feed", "symbol", "timeframe")}
    rows = sort_rows(move.rows, old.timeframe, at.timestamp())
    fresh, same, taken = _against_others(connection, series, rows)
    span = (fresh["time"][0], fresh["time"][-1]) if fresh.height else None
    _batches.upsert(connection, series, [fresh], move.id, span)
    rejected = pl.concat([rows.rejected, taken]) if taken.height else rows.rejected
    if rejected.height:
        _batches.record_rejects(connection, move.id, [with_content(rejected, None)])
    counts = replace(rows, rejected=rejected).rejects
    batch = replace(
        old,
        id=move.id,
        clock_rule=move.rule,
        ingested_at=at,
        rows_read=move.rows.height,
        rows_new=0,
        rows_changed=fresh.height,
        rows_same=same,
        rows_rejected=rejected.height,
        spreads_cleared=0,
        first=fresh["time"][0].replace(tzinfo=UTC) if fresh.height else None,
        last=fresh["time"][-1].replace(tzinfo=UTC) if fresh.height else None,
        rejects=counts,
        clock=dict(clock),
        notes=_notes(old, move.rule),
        reclocks=old.id,
    )
    _batches.record(connection, batch)
    return batch


def _notes(old: Batch, rule: str) -> tuple[str, ...]:
    notes = [f"batch {old.id} moved from clock {old.clock_rule} to {rule}"]
    lost = old.rejects.get("time off the grid", 0)
    if lost:
        notes.append(f"{lost:,} rows were rejected by the old clock as off the grid; ingest {old.origin} again to have them")
    return tuple(notes)


def _against_others(connection: Connection, series: dict[str, str], rows: Sorted) -> tuple[pl.DataFrame, int, pl.DataFrame]:
    """(bars whose new times are free, how many are there already, rejected ones: another bar stands there)."""
    bars = rows.accepted
    if bars.is_empty():
        return bars, 0, pl.DataFrame(schema=REJECTED)
    span = {"first": bars["time"][0], "last": bars["time"][-1]}
    there = _batches.bars_where(connection, f"{SERIES} AND time BETWEEN $first AND $last", series | span)
    if there.is_empty():
        return bars, 0, pl.DataFrame(schema=REJECTED)
    meets = bars["time"].is_in(there["time"].implode())
    meeting = bars.with_columns(pl.Series("source_row", rows.rows)).filter(meets)
    others = there.filter(there["time"].is_in(meeting["time"].implode()))
    differs = np.logical_or.reduce([meeting[name].ne_missing(others[name]).to_numpy() for name in SCHEMA])
    taken = meeting.filter(pl.Series(differs)).with_columns(pl.lit(TAKEN).alias("reason")).select(list(REJECTED))
    return bars.filter(~meets), int((~differs).sum()), taken
