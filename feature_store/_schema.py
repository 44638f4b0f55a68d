"""The tables of the store, the check that this version may read them, and how older ones are brought up to date."""

from __future__ import annotations

import duckdb

from feature_store._errors import Final

STORE_SCHEMA = 2

# No PRIMARY KEY on bars: DuckDB's index makes the file seven times larger and the ingest four times slower.
# There is one writer at a time, and its upsert keeps (feed, symbol, timeframe, time) unique.
_BAR_COLUMNS = """
    feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, timeframe VARCHAR NOT NULL, time TIMESTAMP_MS NOT NULL,
    open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL,
    tick_volume BIGINT, spread_points INTEGER, real_volume BIGINT, batch INTEGER NOT NULL
"""

# Rows of a source that were not stored; `time` is true UTC, null where it could not be read.
_REJECTS = """
CREATE TABLE rejects (
    batch INTEGER NOT NULL, source_row BIGINT NOT NULL, reason VARCHAR NOT NULL, time TIMESTAMP_MS, content VARCHAR NOT NULL
);
"""

_TABLES = f"""
CREATE TABLE schema_version (schema INTEGER NOT NULL);
INSERT INTO schema_version VALUES ({STORE_SCHEMA});
CREATE TABLE bars ({_BAR_COLUMNS});
-- What an ingest wrote over: `batch` is the row's former batch, `by_batch` the one that replaced it.
CREATE TABLE overwritten ({_BAR_COLUMNS}, by_batch INTEGER NOT NULL);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, timeframe VARCHAR NOT NULL,
    origin VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, clock_rule VARCHAR NOT NULL, ingested_at TIMESTAMP_MS NOT NULL,
    rows_read BIGINT NOT NULL, rows_new BIGINT NOT NULL, rows_changed BIGINT NOT NULL, rows_same BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL, spreads_cleared BIGINT NOT NULL,
    first TIMESTAMP_MS, last TIMESTAMP_MS, undone BOOLEAN NOT NULL, rejects VARCHAR NOT NULL,
    clock VARCHAR DEFAULT '{{}}', notes VARCHAR DEFAULT '[]', reclocks INTEGER DEFAULT 0
);
{_REJECTS}
CREATE TABLE symbols (
    feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, broker_symbol VARCHAR NOT NULL, valid_from TIMESTAMP_MS NOT NULL,
    digits INTEGER NOT NULL, point DOUBLE NOT NULL, contract_size DOUBLE NOT NULL,
    base_currency VARCHAR NOT NULL, profit_currency VARCHAR NOT NULL, margin_currency VARCHAR NOT NULL,
    volume_min DOUBLE NOT NULL, volume_max DOUBLE NOT NULL, volume_step DOUBLE NOT NULL,
    stops_level_points INTEGER NOT NULL, freeze_level_points INTEGER NOT NULL,
    swap_long DOUBLE NOT NULL, swap_short DOUBLE NOT NULL, commission_per_lot DOUBLE NOT NULL,
    source VARCHAR NOT NULL, PRIMARY KEY (feed, symbol, valid_from)
);
"""


def stored_schema(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Schema number of an open store, None when it holds no tables yet (new, or killed while being made)."""
    tables = connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
    if ("schema_version",) not in tables:
        return None
    return int(connection.execute("SELECT schema FROM schema_version").fetchall()[0][0])


def check_schema(schema: int, name: str) -> None:
    """Raise `Final` unless this version reads stores of that schema, or can bring them up to date."""
    if not 1 <= schema <= STORE_SCHEMA:
        raise Final(f"store {name} has schema {schema}, this version reads {STORE_SCHEMA}; open it with a matching Tradewind")


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of an empty store, all or none."""
    connection.execute(f"BEGIN; {_TABLES} COMMIT;")


# What leads from each older schema to the next.
_STEPS = {
    1: f"""
    ALTER TABLE batches ADD COLUMN clock VARCHAR DEFAULT '{{}}';
    ALTER TABLE batches ADD COLUMN notes VARCHAR DEFAULT '[]';
    ALTER TABLE batches ADD COLUMN reclocks INTEGER DEFAULT 0;
    {_REJECTS}
    """,
}


def migrate(connection: duckdb.DuckDBPyConnection, schema: int) -> None:
    """Bring the tables of an older schema up to date, all or none; no bar is touched."""
    steps = "".join(_STEPS[number] for number in range(schema, STORE_SCHEMA))
    connection.execute(f"BEGIN; {steps} UPDATE schema_version SET schema = {STORE_SCHEMA}; COMMIT;")
