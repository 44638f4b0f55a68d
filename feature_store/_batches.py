"""Batches inside one open transaction: upsert, record, find, take back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from feature_store._accept import TOLD
from feature_store._errors import Final
from feature_store.bars import SCHEMA

Connection = duckdb.DuckDBPyConnection
Span = tuple[datetime, datetime]  # first and last time, naive UTC

SERIES = "feed = $feed AND symbol = $symbol AND timeframe = $timeframe"
"""Condition for one series; parameters feed, symbol, timeframe."""

_VALUES = [name for name in SCHEMA if name != "time"]
_COLUMNS = ", ".join(["feed", "symbol", "timeframe", *SCHEMA])


@dataclass(frozen=True)
class Batch:
    """One ingest. rows_read = new + changed + same + rejected; times are aware UTC, None when nothing was kept.

    clock: how the clock rule was told, `ClockVerdict.as_dict()`, empty when nobody looked. notes: what the source
    said about itself, one line each. reclocks: the batch whose rows this one moved to another clock, 0 for none;
    its rows_changed are rows that moved, rows_same those that were there already.
    """

    id: int
    feed: str
    symbol: str
    timeframe: str
    origin: str
    sha256: str
    clock_rule: str
    ingested_at: datetime
    rows_read: int
    rows_new: int
    rows_changed: int
    rows_same: int
    rows_rejected: int
    spreads_cleared: int  # rows kept whose negative spread is stored as unknown
    first: datetime | None
    last: datetime | None
    undone: bool = False
    rejects: dict[str, int] = field(default_factory=dict)
    clock: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reclocks: int = 0


_NAMES = [f.name for f in fields(Batch)]
_MOMENTS = ("ingested_at", "first", "last")
_AS_JSON = ("rejects", "clock", "notes")


def next_id(connection: Connection) -> int:
    """Number of the batch to come, 1 for the first."""
    return int(connection.execute("SELECT coalesce(max(id), 0) + 1 FROM batches").fetchall()[0][0])


def upsert(
    connection: Connection, series: dict[str, str], frames: Iterable[pl.DataFrame], batch_id: int, span: Span | None
) -> tuple[int, int, int]:
    """(new, changed, same) rows after writing the bars into the series under `batch_id`.

    frames: bars in time order, no time twice in all of them. span: their first and last time, None for no bar.
    """
    if span is None:
        return 0, 0, 0
    key: dict[str, object] = {**series, "id": batch_id}
    place = series | {"first": span[0], "last": span[1]}
    with _registered(connection, "incoming", frames, SCHEMA):
        if _any(connection, f"FROM bars WHERE {SERIES} AND time BETWEEN $first AND $last", place):
            return _merge(connection, place, key)
        return _insert(connection, key, "incoming"), 0, 0


@contextmanager
def _registered(
    connection: Connection, name: str, frames: Iterable[pl.DataFrame], schema: Mapping[str, pl.DataType]
) -> Iterator[None]:
    """The frames as a table that can be read once. A table for each would be held in memory until the transaction ends."""
    wanted = pl.DataFrame(schema=schema).to_arrow().schema
    batches = (batch for frame in frames for batch in frame.to_arrow().cast(wanted).to_batches())
    connection.register(name, pa.RecordBatchReader.from_batches(wanted, batches))
    yield
    connection.unregister(name)


def _insert(connection: Connection, key: dict[str, object], table: str) -> int:
    """How many rows of `table`, a name or a query in parentheses, went into the series; key: feed, symbol, timeframe, id."""
    query = f"INSERT INTO bars ({_COLUMNS}, batch) SELECT $feed, $symbol, $timeframe, {', '.join(SCHEMA)}, $id FROM {table}"
    return int(connection.execute(query, key).fetchall()[0][0])


def _any(connection: Connection, query: str, params: dict[str, Any]) -> bool:
    return bool(connection.execute(f"SELECT EXISTS (SELECT 1 {query})", params).fetchall()[0][0])


def _merge(connection: Connection, place: dict[str, Any], key: dict[str, object]) -> tuple[int, int, int]:
    differs = " OR ".join(f"i.{c} IS DISTINCT FROM b.{c}" for c in _VALUES)
    connection.execute(
        f"CREATE TEMP TABLE arriving AS SELECT i.*, b.time IS NOT NULL AS known, ({differs}) AS differs FROM incoming i "
        f"LEFT JOIN (SELECT * FROM bars WHERE {SERIES} AND time BETWEEN $first AND $last) b ON i.time = b.time",
        place,
    )
    ((new, changed, same),) = connection.execute(
        "SELECT count(*) FILTER (NOT known), count(*) FILTER (known AND differs), "
        "count(*) FILTER (known AND NOT differs) FROM arriving"
    ).fetchall()
    if changed:
        _overwrite(connection, key)
    if new:
        _insert(connection, key, "(FROM arriving WHERE NOT known ORDER BY time)")
    connection.execute("DROP TABLE arriving")
    return new, changed, same


def _overwrite(connection: Connection, key: dict[str, object]) -> None:
    columns = ", ".join(f"b.{c.strip()}" for c in f"{_COLUMNS}, batch".split(","))
    connection.execute(
        f"INSERT INTO overwritten ({_COLUMNS}, batch, by_batch) SELECT {columns}, $id FROM bars b "
        f"JOIN arriving a ON b.time = a.time WHERE {SERIES} AND a.known AND a.differs",
        key,
    )
    values = ", ".join(f"{c} = a.{c}" for c in _VALUES)
    connection.execute(
        f"UPDATE bars SET {values}, batch = $id FROM arriving a WHERE {SERIES} AND bars.time = a.time AND a.known AND a.differs",
        key,
    )


def bars_where(connection: Connection, condition: str, params: dict[str, Any]) -> pl.DataFrame:
    """Bars that meet the condition, columns of `SCHEMA`, in time order."""
    query = f"SELECT {', '.join(SCHEMA)} FROM bars WHERE {condition} ORDER BY time"
    relation = connection.sql(query, params=params)
    assert relation is not None  # only a statement without a result gives None
    frame = pl.from_arrow(relation.to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def bars_of(connection: Connection, batch_id: int) -> pl.DataFrame:
    """Bars that stand under the batch, columns of `SCHEMA`, in time order."""
    return bars_where(connection, "batch = $id", {"id": batch_id})


def set_aside(connection: Connection, batch_id: int, by_batch: int) -> None:
    """Take the bars of a batch out, kept as overwritten by `by_batch`."""
    key = {"id": batch_id, "by": by_batch}
    connection.execute(
        f"INSERT INTO overwritten ({_COLUMNS}, batch, by_batch) SELECT {_COLUMNS}, batch, $by FROM bars WHERE batch = $id", key
    )
    connection.execute("DELETE FROM bars WHERE batch = $id", {"id": batch_id})


def record_rejects(connection: Connection, batch_id: int, frames: Iterable[pl.DataFrame]) -> None:
    """Keep rejected rows, columns of `TOLD`, under the batch."""
    with _registered(connection, "rejected", frames, TOLD):
        connection.execute(
            "INSERT INTO rejects (batch, source_row, reason, time, content) "
            "SELECT $id, source_row, reason, time, content FROM rejected",
            {"id": batch_id},
        )


def record(connection: Connection, batch: Batch) -> None:
    """Write the batch's own row."""
    row = asdict(batch)
    row |= {name: json.dumps(row[name], sort_keys=True, default=str) for name in _AS_JSON}
    for name in _MOMENTS:
        row[name] = None if row[name] is None else row[name].astimezone(UTC).replace(tzinfo=None)
    connection.execute(f"INSERT INTO batches ({', '.join(_NAMES)}) VALUES ({', '.join('$' + n for n in _NAMES)})", row)


def find(connection: Connection, batch_id: int) -> Batch:
    """The batch of that number. Raises `Final` when there is none."""
    found = select(connection, "id = $id", {"id": batch_id})
    if not found:
        last = next_id(connection) - 1
        raise Final(f"batch {batch_id} does not exist; there {f'are batches 1 to {last}' if last else 'is none yet'}")
    return found[0]


def select(connection: Connection, condition: str, params: dict[str, object]) -> list[Batch]:
    """Batches that meet the condition, oldest first."""
    rows = connection.execute(f"SELECT {', '.join(_NAMES)} FROM batches WHERE {condition} ORDER BY id", params).fetchall()
    return [_batch(dict(zip(_NAMES, row, strict=True))) for row in rows]


def _batch(values: dict[str, Any]) -> Batch:
    values |= {name: json.loads(values[name]) for name in _AS_JSON}
    values["notes"] = tuple(values["notes"])
    for name in _MOMENTS:
        values[name] = None if values[name] is None else values[name].replace(tzinfo=UTC)
    return Batch(**values)


def take_back(connection: Connection, batch_id: int) -> Batch:
    """The batch, undone; see `Store.undo`."""
    batch = find(connection, batch_id)
    if batch.undone:
        raise Final(f"batch {batch_id} was undone before; nothing is left to undo")
    together = [batch, *_in_the_way(connection, batch)]
    for one in together:
        _check_nothing_stands_on(connection, {"id": one.id})
        connection.execute("DELETE FROM bars WHERE batch = $id", {"id": one.id})
    for one in together:
        _restore(connection, {"id": one.id})
    notes = tuple(f"batch {one.id} was taken back with it: its bars stood where these came back" for one in together[1:])
    return replace(batch, undone=True, notes=notes)  # what was noted when it came is undone too


def _restore(connection: Connection, key: dict[str, object]) -> None:
    _check_room(connection, key)
    connection.execute(
        f"INSERT INTO bars ({_COLUMNS}, batch) SELECT {_COLUMNS}, batch FROM overwritten WHERE by_batch = $id", key
    )
    connection.execute("DELETE FROM overwritten WHERE by_batch = $id", key)
    connection.execute("UPDATE batches SET undone = true WHERE id = $id", key)


def _in_the_way(connection: Connection, batch: Batch) -> list[Batch]:
    """Batches of the same reclock whose bars stand where rows of `batch`, or of these batches, would come back."""
    blocks = (
        "reclocks > 0 AND ingested_at = (SELECT ingested_at FROM batches WHERE id = $id) AND id IN "
        "(SELECT b.batch FROM bars b JOIN overwritten o USING (feed, symbol, timeframe, time) WHERE o.by_batch = $id)"
    )
    found, unseen = {batch.id: batch}, [batch] if batch.reclocks else []
    while unseen:
        blocking = select(connection, blocks, {"id": unseen.pop().id})
        fresh = {other.id: other for other in blocking if other.id not in found}
        found |= fresh
        unseen += fresh.values()
    return [other for other in found.values() if other.id != batch.id]


def _check_nothing_stands_on(connection: Connection, key: dict[str, object]) -> None:
    later = connection.execute(
        "SELECT by_batch, count(*) FROM overwritten WHERE batch = $id GROUP BY by_batch ORDER BY by_batch DESC", key
    ).fetchall()
    if later:
        by_batch, rows = later[0]
        raise Final(
            f"batch {key['id']} cannot be undone: batch {by_batch} later changed {rows} of its rows; undo batch {by_batch} first"
        )
    moved = connection.execute(
        "SELECT max(id), any_value(reclocks) FROM batches WHERE NOT undone AND id > $id AND reclocks IN "
        "(SELECT batch FROM overwritten WHERE by_batch = $id)",
        key,
    ).fetchall()
    by_batch, source = moved[0]
    if by_batch is not None:
        raise Final(
            f"batch {key['id']} cannot be undone: it changed rows of batch {source}, whose clock batch {by_batch} has "
            f"corrected since; undo batch {by_batch} first"
        )


def _check_room(connection: Connection, key: dict[str, object]) -> None:
    """Refuse when rows that would come back meet others: the bars of a corrected clock move into each other's times."""
    taken = connection.execute(
        "SELECT max(b.batch), count(*) FROM bars b JOIN overwritten o "
        "USING (feed, symbol, timeframe, time) WHERE o.by_batch = $id",
        key,
    ).fetchall()
    by_batch, rows = taken[0]
    if rows:
        raise Final(
            f"batch {key['id']} cannot be undone: batch {by_batch} later put bars where {rows} of its rows would come back; "
            f"undo batch {by_batch} first"
        )
