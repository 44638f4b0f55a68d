"""Batches inside one open transaction: upsert, record, find, take back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime

import duckdb
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA

Connection = duckdb.DuckDBPyConnection

SERIES = "feed = $feed AND symbol = $symbol AND timeframe = $timeframe"
"""Condition for one series; parameters feed, symbol, timeframe."""

_VALUES = [name for name in SCHEMA if name != "time"]
_COLUMNS = ", ".join(["feed", "symbol", "timeframe", *SCHEMA])


@dataclass(frozen=True)
class Batch:
    """One ingest. rows_read = new + changed + same + rejected; times are aware UTC, None when nothing was kept."""

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


_NAMES = [f.name for f in fields(Batch)]
_MOMENTS = ("ingested_at", "first", "last")


def next_id(connection: Connection) -> int:
    """Number of the batch to come, 1 for the first."""
    return int(connection.execute("SELECT coalesce(max(id), 0) + 1 FROM batches").fetchall()[0][0])


def upsert(connection: Connection, series: dict[str, str], bars: pl.DataFrame, batch_id: int) -> tuple[int, int, int]:
    """(new, changed, same) rows after writing `bars`, unique in time, into the series under `batch_id`."""
    if bars.is_empty():
        return 0, 0, 0
    connection.register("incoming", bars.to_arrow())
    differs = " OR ".join(f"i.{c} IS DISTINCT FROM b.{c}" for c in _VALUES)
    span = {"first": bars["time"][0], "last": bars["time"][-1]}
    connection.execute(
        f"CREATE TEMP TABLE arriving AS SELECT i.*, b.time IS NOT NULL AS known, ({differs}) AS differs FROM incoming i "
        f"LEFT JOIN (SELECT * FROM bars WHERE {SERIES} AND time BETWEEN $first AND $last) b ON i.time = b.time",
        series | span,
    )
    counts = connection.execute(
        "SELECT count(*) FILTER (NOT known), count(*) FILTER (known AND differs), "
        "count(*) FILTER (known AND NOT differs) FROM arriving"
    ).fetchall()
    new, changed, same = counts[0]
    key: dict[str, object] = {**series, "id": batch_id}
    if changed:
        _overwrite(connection, key)
    if new:
        connection.execute(
            f"INSERT INTO bars ({_COLUMNS}, batch) SELECT $feed, $symbol, $timeframe, {', '.join(SCHEMA)}, $id "
            "FROM arriving WHERE NOT known ORDER BY time",
            key,
        )
    connection.execute("DROP TABLE arriving")
    connection.unregister("incoming")
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


def record(connection: Connection, batch: Batch) -> None:
    """Write the batch's own row."""
    row = asdict(batch) | {"rejects": json.dumps(batch.rejects, sort_keys=True)}
    for name in _MOMENTS:
        row[name] = None if row[name] is None else row[name].astimezone(UTC).replace(tzinfo=None)
    connection.execute(f"INSERT INTO batches ({', '.join(_NAMES)}) VALUES ({', '.join('$' + n for n in _NAMES)})", row)


def find(connection: Connection, batch_id: int) -> Batch:
    """The batch of that number. Raises `Final` when there is none."""
    rows = connection.execute(f"SELECT {', '.join(_NAMES)} FROM batches WHERE id = $id", {"id": batch_id}).fetchall()
    if not rows:
        last = next_id(connection) - 1
        raise Final(f"batch {batch_id} does not exist; there {f'are batches 1 to {last}' if last else 'is none yet'}")
    values = dict(zip(_NAMES, rows[0], strict=True))
    values["rejects"] = json.loads(values["rejects"])
    for name in _MOMENTS:
        values[name] = None if values[name] is None else values[name].replace(tzinfo=UTC)
    return Batch(**values)


def take_back(connection: Connection, batch_id: int) -> Batch:
    """The batch, undone; see `Store.undo`."""
    batch = find(connection, batch_id)
    if batch.undone:
        raise Final(f"batch {batch_id} was undone before; nothing is left to undo")
    key = {"id": batch_id}
    later = connection.execute(
        "SELECT by_batch, count(*) FROM overwritten WHERE batch = $id GROUP BY by_batch ORDER BY by_batch DESC", key
    ).fetchall()
    if later:
        by_batch, rows = later[0]
        raise Final(
            f"batch {batch_id} cannot be undone: batch {by_batch} later changed {rows} of its rows; undo batch {by_batch} first"
        )
    connection.execute("DELETE FROM bars WHERE batch = $id", key)
    connection.execute(
        f"INSERT INTO bars ({_COLUMNS}, batch) SELECT {_COLUMNS}, batch FROM overwritten WHERE by_batch = $id", key
    )
    connection.execute("DELETE FROM overwritten WHERE by_batch = $id", key)
    connection.execute("UPDATE batches SET undone = true WHERE id = $id", key)
    return replace(batch, undone=True)
