"""Every row that is not stored can be looked at: where it stood, why, when, and what it said; older stores learn it."""

from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.store import Store
from tests.conftest import make_bars

AT = datetime(2026, 1, 1, tzinfo=UTC)
ABOUT = {"origin": "test", "sha256": "0" * 64, "clock_rule": "utc", "at": AT}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store.duckdb", lock_wait_s=5)


def put(store, bars, **more):
    return store.ingest("sim", "EURUSD", "M1", bars, **ABOUT | more)


def without_close(bars, *rows):
    gone = pl.int_range(pl.len()).is_in(list(rows))
    return bars.with_columns(pl.when(gone).then(None).otherwise(pl.col("close")).alias("close"))


def test_a_rejected_row_is_kept_with_its_place_reason_time_and_text(store, small_bars):
    bars = without_close(small_bars.head(5), 1).with_columns(pl.Series("source_row", [10, 20, 30, 40, 50]))
    bars = bars.with_columns(pl.when(pl.col("source_row") == 40).then(None).otherwise(pl.col("time")).alias("time"))
    batch = put(store, bars, content=lambda rows: [f"<{row}>" for row in rows])
    assert store.rejects(batch.id).rows() == [
        (20, "price missing", datetime(2024, 3, 4, 0, 1), "<20>"),
        (40, "time unreadable", None, "<40>"),
    ]


def test_without_a_text_of_its_own_a_row_is_kept_as_it_was_read_and_counted_from_one(store):
    row = (datetime(2024, 3, 4), 1.1, 1.0, 1.2, 1.15, 7, None, None)
    put(store, pl.DataFrame([row], schema=make_bars(AT, 1).schema, orient="row"))
    assert store.rejects(1).rows() == [
        (1, "high below low", datetime(2024, 3, 4), "2024-03-04 00:00:00.000,1.1,1.0,1.2,1.15,7,,")
    ]


def test_the_text_is_not_asked_for_when_nothing_is_rejected(store, small_bars):
    put(store, small_bars, content=lambda rows: pytest.fail("asked"))
    assert store.rejects(1).is_empty()


def test_rejects_belong_to_their_batch_and_stay_when_it_is_undone(store, small_bars):
    put(store, without_close(small_bars, 3))
    put(store, without_close(small_bars, 4, 5))
    store.undo(2)
    assert store.rejects(1)["source_row"].to_list() == [4]
    assert store.rejects(2)["source_row"].to_list() == [5, 6]
    with pytest.raises(Final, match="batch 3 does not exist; there are batches 1 to 2"):
        store.rejects(3)


def test_how_the_clock_was_told_and_what_the_source_said_stay_with_the_batch(store, small_bars):
    clock = {"rule": "ny+7", "confidence": 0.99, "stretches": [{"start": None, "rule": "ny+7", "confidence": 0.99}]}
    batch = put(store, small_bars, clock=clock, notes=["prices divided by 100000", "two files merged"])
    assert store.batch(1) == batch
    assert (batch.clock, batch.notes) == (clock, ("prices divided by 100000", "two files merged"))
    assert put(store, small_bars).clock == {}
    assert store.batches()["clock"][1] == "{}"


# The tables as the first released schema had them: a store that users have.
FIRST_SCHEMA = """
CREATE TABLE schema_version (schema INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);
CREATE TABLE bars (feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, timeframe VARCHAR NOT NULL, time TIMESTAMP_MS NOT NULL,
    open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL,
    tick_volume BIGINT, spread_points INTEGER, real_volume BIGINT, batch INTEGER NOT NULL);
CREATE TABLE overwritten (feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, timeframe VARCHAR NOT NULL,
    time TIMESTAMP_MS NOT NULL, open DOUBLE NOT NULL, high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL,
    tick_volume BIGINT, spread_points INTEGER, real_volume BIGINT, batch INTEGER NOT NULL, by_batch INTEGER NOT NULL);
CREATE TABLE batches (id INTEGER PRIMARY KEY, feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, timeframe VARCHAR NOT NULL,
    origin VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, clock_rule VARCHAR NOT NULL, ingested_at TIMESTAMP_MS NOT NULL,
    rows_read BIGINT NOT NULL, rows_new BIGINT NOT NULL, rows_changed BIGINT NOT NULL, rows_same BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL, spreads_cleared BIGINT NOT NULL,
    first TIMESTAMP_MS, last TIMESTAMP_MS, undone BOOLEAN NOT NULL, rejects VARCHAR NOT NULL);
CREATE TABLE symbols (feed VARCHAR NOT NULL, symbol VARCHAR NOT NULL, broker_symbol VARCHAR NOT NULL,
    valid_from TIMESTAMP_MS NOT NULL, digits INTEGER NOT NULL, point DOUBLE NOT NULL, contract_size DOUBLE NOT NULL,
    base_currency VARCHAR NOT NULL, profit_currency VARCHAR NOT NULL, margin_currency VARCHAR NOT NULL,
    volume_min DOUBLE NOT NULL, volume_max DOUBLE NOT NULL, volume_step DOUBLE NOT NULL,
    stops_level_points INTEGER NOT NULL, freeze_level_points INTEGER NOT NULL,
    swap_long DOUBLE NOT NULL, swap_short DOUBLE NOT NULL, commission_per_lot DOUBLE NOT NULL,
    source VARCHAR NOT NULL, PRIMARY KEY (feed, symbol, valid_from));
"""


@pytest.fixture
def old(store, small_bars):
    """A store of the first schema with 500 bars in one batch."""
    with duckdb.connect(str(store.path)) as connection:
        connection.execute(FIRST_SCHEMA)
        connection.register("kept", small_bars.head(500).to_arrow())
        connection.execute("INSERT INTO bars SELECT 'sim', 'EURUSD', 'M1', *, 1 FROM kept")
        connection.execute(
            "INSERT INTO batches VALUES (1, 'sim', 'EURUSD', 'M1', 'f.csv', 'abc', 'eet', '2025-01-01', 501, 500, 0, 0, 1, 0, "
            "'2024-03-04', '2024-03-04 08:19', false, '{\"price missing\": 1}')"
        )
    return store


@pytest.mark.parametrize("first", ["read", "write"])
def test_a_store_of_the_first_schema_is_brought_up_to_date_by_whoever_opens_it(old, small_bars, first):
    if first == "read":
        assert_frame_equal(old.bars("sim", "EURUSD", "M1"), small_bars.head(500))
    batch = put(old, without_close(small_bars, 599), notes=["new"])
    assert (batch.id, batch.rows_new, batch.rows_same, batch.rows_rejected) == (2, 99, 500, 1)
    assert_frame_equal(old.bars("sim", "EURUSD", "M1"), small_bars.head(599))
    before = old.batch(1)
    assert (before.clock, before.notes, before.reclocks, before.rejects) == ({}, (), 0, {"price missing": 1})
    assert old.rejects(1).is_empty() and old.rejects(2).height == 1
    old.undo(2)
    old.undo(1)
    assert old.inventory().is_empty()


def test_a_store_that_cannot_be_brought_up_to_date_stays_as_it_was(old, small_bars, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Final, match="Parser Error"):
        patch.setattr("feature_store._schema._STEPS", {1: "ALTER TABLE batches ADD COLUMN notes VARCHAR; NONSENSE;"})
        old.inventory()
    with duckdb.connect(str(old.path), read_only=True) as connection:
        assert connection.execute("SELECT schema FROM schema_version").fetchall() == [(1,)]
    assert_frame_equal(old.bars("sim", "EURUSD", "M1"), small_bars.head(500))
