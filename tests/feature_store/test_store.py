import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_store._accept import sort_rows
from feature_store._connect import reading, writing
from feature_store._errors import Final, Retryable
from feature_store.bars import SCHEMA, resample
from feature_store.store import Batch, Store
from feature_store.symbols import assumed_spec
from tests.conftest import make_bars

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb", lock_wait_s=5)


def put(store: Store, bars: pl.DataFrame, *, feed="sim", symbol="EURUSD", timeframe="M1", at=AT) -> Batch:
    return store.ingest(feed, symbol, timeframe, bars, origin="test", sha256="0" * 64, clock_rule="utc", at=at)


def higher(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col("high") + 0.001)


def test_bars_come_back_as_they_went_in_whatever_their_order(store, small_bars):
    batch = put(store, small_bars.sample(fraction=1, shuffle=True, seed=1))
    assert (batch.rows_read, batch.rows_new, batch.rows_changed, batch.rows_same, batch.rows_rejected) == (600, 600, 0, 0, 0)
    assert batch.first == datetime(2024, 3, 4, tzinfo=UTC)
    assert batch.last == datetime(2024, 3, 4, 9, 59, tzinfo=UTC)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)


def test_the_same_content_again_adds_and_changes_nothing(store, small_bars):
    put(store, small_bars)
    again = put(store, small_bars)
    assert (again.id, again.rows_new, again.rows_changed, again.rows_same) == (2, 0, 0, 600)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)


def test_overlapping_bars_add_the_new_and_overwrite_the_changed(store, small_bars):
    put(store, small_bars.head(400))
    newer = pl.concat([small_bars.slice(300, 50), higher(small_bars.slice(350, 50)), small_bars.slice(400, 100)])
    batch = put(store, newer)
    assert (batch.rows_new, batch.rows_changed, batch.rows_same) == (100, 50, 50)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), pl.concat([small_bars.head(300), newer]))


def test_a_value_that_becomes_unknown_is_a_change(store, small_bars):
    put(store, small_bars)
    batch = put(store, small_bars.with_columns(pl.lit(None, dtype=pl.Int32).alias("spread_points")))
    assert batch.rows_changed == 600


def test_a_connection_draws_no_progress_bar_on_stdout(store, small_bars):
    put(store, small_bars)
    for opened in (reading, writing):
        with opened(store.path, wait_s=5) as connection:
            assert connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]


def test_feeds_symbols_and_timeframes_do_not_touch_each_other(store, small_bars):
    put(store, small_bars)
    put(store, higher(small_bars), feed="other")
    put(store, higher(small_bars), symbol="GBPUSD")
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)
    assert store.inventory().select("feed", "symbol", "timeframe", "rows", "spread_known", "batches").rows() == [
        ("other", "EURUSD", "M1", 600, 1.0, 1),
        ("sim", "EURUSD", "M1", 600, 1.0, 1),
        ("sim", "GBPUSD", "M1", 600, 1.0, 1),
    ]


def test_undo_takes_out_what_a_batch_added_and_brings_back_what_it_overwrote(store, small_bars):
    put(store, small_bars.head(400))
    second = put(store, higher(small_bars.slice(200, 400)))
    undone = store.undo(second.id)
    assert undone == replace(second, undone=True)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars.head(400))
    assert store.batches()["undone"].to_list() == [False, True]
    store.undo(1)
    assert store.inventory().is_empty()


def test_undo_is_refused_while_a_later_batch_stands_on_the_same_rows(store, small_bars):
    put(store, small_bars)
    put(store, higher(small_bars.tail(3)))
    with pytest.raises(Final, match="batch 1 cannot be undone: batch 2 later changed 3 of its rows; undo batch 2 first"):
        store.undo(1)
    store.undo(2)
    store.undo(1)
    assert store.inventory().is_empty()


def test_undo_of_an_older_batch_leaves_a_later_one_on_other_rows_alone(store, small_bars):
    put(store, small_bars.head(100))
    put(store, small_bars.tail(500))
    store.undo(1)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars.tail(500))


def test_undo_of_no_batch_or_of_one_undone_before_is_refused(store, small_bars):
    put(store, small_bars)
    store.undo(1)
    with pytest.raises(Final, match="batch 1 was undone before"):
        store.undo(1)
    with pytest.raises(Final, match="batch 7 does not exist; there are batches 1 to 1"):
        store.undo(7)


@settings(max_examples=4, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=5))
def test_undoing_batches_in_reverse_restores_every_state_in_between(tmp_path_factory, spans):
    store = Store(tmp_path_factory.mktemp("store") / "s.duckdb")
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 120)
    states = []
    for start, length, lift in spans:
        batch = put(store, bars.slice(start, length).with_columns(pl.col("high") + lift * 0.001))
        assert batch.rows_new + batch.rows_changed + batch.rows_same == length
        states.append((batch.id, store.bars("sim", "EURUSD", "M1")))
    for batch_id, state in reversed(states):
        assert_frame_equal(store.bars("sim", "EURUSD", "M1"), state)
        store.undo(batch_id)
    assert store.inventory().is_empty()


def test_each_rejected_row_is_counted_by_its_reason_and_the_others_are_stored(store):
    hour = datetime(2024, 3, 4, 10)
    good = (1.10, 1.12, 1.09, 1.11, 10, 14, None)
    rows = [
        (hour, *good),
        (hour, *good),  # the same again
        (None, *good),
        (hour + timedelta(minutes=1), 1.10, float("nan"), 1.09, 1.11, 10, 14, None),
        (hour + timedelta(minutes=2), None, 1.12, 1.09, 1.11, 10, 14, None),
        (hour + timedelta(minutes=3), 1.10, 1.12, 0.0, 1.11, 10, 14, None),
        (hour + timedelta(minutes=4), 1.10, 1.08, 1.09, 1.085, 10, 14, None),
        (hour + timedelta(minutes=5), 1.10, 1.12, 1.09, 1.13, 10, 14, None),
        (hour + timedelta(minutes=6), 1.10, 1.12, 1.09, 1.11, -1, 14, None),
        (hour + timedelta(minutes=7, seconds=1), *good),
        (hour + timedelta(minutes=8), *good),
        (hour + timedelta(minutes=8), 1.11, 1.12, 1.09, 1.11, 10, 14, None),  # the same time, other content
        (hour + timedelta(minutes=9), 1.10, 1.12, 1.09, 1.11, 10, -3, None),  # bid above ask: kept, spread unknown
        (hour + timedelta(minutes=10), 1.10, float("inf"), 1.09, 1.11, 10, 14, None),
    ]
    batch = put(store, pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    assert batch.rejects == {
        "duplicate": 1,
        "time unreadable": 1,
        "price missing": 3,
        "price not positive": 1,
        "high below low": 1,
        "open or close outside low to high": 1,
        "volume negative": 1,
        "time off the grid": 1,
        "duplicate time with other content": 2,
    }
    assert (batch.rows_read, batch.rows_new, batch.rows_rejected, batch.spreads_cleared) == (14, 2, 12, 1)
    stored = store.bars("sim", "EURUSD", "M1")
    assert stored["time"].to_list() == [hour, hour + timedelta(minutes=9)]
    assert stored["spread_points"].to_list() == [14, None]
    assert '"price missing": 3' in store.batches()["rejects"][0]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_row_is_either_accepted_or_counted_and_accepted_times_are_unique(data):
    price = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(1.0, 1.2))
    minute = st.one_of(st.none(), st.integers(0, 6))
    rows = data.draw(st.lists(st.tuples(minute, price, price, price, price, st.integers(-1, 2)), max_size=12))
    start = datetime(2024, 3, 4)
    frame = pl.DataFrame(
        [(None if m is None else start + timedelta(minutes=m), o, h, lo, c, v, None, None) for m, o, h, lo, c, v in rows],
        schema=SCHEMA,
        orient="row",
    )
    result = sort_rows(frame, "M1", (start + timedelta(minutes=5)).replace(tzinfo=UTC).timestamp())
    assert result.accepted.height + sum(result.rejects.values()) == len(rows)
    assert result.accepted["time"].is_unique().all()
    assert result.accepted["time"].is_sorted()
    assert (result.accepted["high"] >= result.accepted["low"]).all()
    assert all(count > 0 for count in result.rejects.values())


def test_a_bar_that_has_not_closed_at_the_ingest_moment_is_not_stored(store, small_bars):
    moment = datetime(2024, 3, 4, 1, 0, 30, tzinfo=UTC)
    batch = put(store, small_bars, at=moment)
    assert batch.last == datetime(2024, 3, 4, 0, 59, tzinfo=UTC)
    assert batch.rejects == {"forming": 540}
    assert put(store, small_bars, at=moment + timedelta(seconds=30)).rows_new == 1


def test_longer_bars_are_resampled_from_the_shortest_stored_and_cut_at_their_own_opens(store, small_bars):
    put(store, small_bars)
    put(store, resample(higher(small_bars), "H1"), timeframe="H1")  # also stored, yet not what is shown
    hourly = store.bars("sim", "EURUSD", "H1")
    assert store.base_timeframe("sim", "EURUSD") == "M1"
    assert_frame_equal(hourly, resample(small_bars, "H1"))
    cut = store.bars("sim", "EURUSD", "H1", datetime(2024, 3, 4, 2, 30, tzinfo=UTC), datetime(2024, 3, 4, 5, 0, 1, tzinfo=UTC))
    assert_frame_equal(cut, hourly.slice(3, 3))  # the bars of 3, 4 and 5 o'clock, each whole


def test_a_longer_bar_that_was_forming_at_the_last_ingest_is_left_out(store, small_bars):
    put(store, small_bars, at=datetime(2024, 3, 4, 9, 30, tzinfo=UTC))
    assert store.bars("sim", "EURUSD", "H1")["time"][-1] == datetime(2024, 3, 4, 8)


def test_a_start_and_an_end_cut_stored_bars_half_open(store, small_bars):
    put(store, small_bars)
    cut = store.bars("sim", "EURUSD", "M1", datetime(2024, 3, 4, 0, 10, tzinfo=UTC), datetime(2024, 3, 4, 0, 12, tzinfo=UTC))
    assert cut["time"].to_list() == [datetime(2024, 3, 4, 0, 10), datetime(2024, 3, 4, 0, 11)]


def test_bars_that_cannot_be_had_are_refused_with_what_there_is(store, small_bars):
    with pytest.raises(Final, match="no bars of EURUSD from feed 'sim'; the store holds nothing yet"):
        store.bars("sim", "EURUSD", "M1")
    assert not store.path.exists()
    put(store, resample(small_bars, "H1"), timeframe="H1")
    with pytest.raises(Final, match="no bars of GBPUSD from feed 'sim'; the store holds sim EURUSD"):
        store.base_timeframe("sim", "GBPUSD")
    with pytest.raises(Final, match="M5 cannot be made from H1"):
        store.bars("sim", "EURUSD", "M5")


@pytest.mark.parametrize(("feed", "symbol"), [("my feed", "EURUSD"), ("", "EURUSD"), ("sim", "EURUSDm"), ("sim", "")])
def test_names_that_are_not_ours_are_refused(store, small_bars, feed, symbol):
    with pytest.raises(Final, match="is not"):
        put(store, small_bars, feed=feed, symbol=symbol)


def test_a_moment_without_zone_is_refused(store, small_bars):
    with pytest.raises(Final, match="has no time zone"):
        put(store, small_bars, at=datetime(2024, 1, 1))


def test_export_writes_stored_bars_whole_and_others_resampled(store, small_bars, tmp_path):
    put(store, small_bars)
    out = tmp_path / "deep" / "out.parquet"
    assert store.export("sim", "EURUSD", "M1", out) == 600
    assert_frame_equal(pl.read_parquet(out), small_bars)
    assert store.export("sim", "EURUSD", "M15", out) == 40
    assert_frame_equal(pl.read_parquet(out), resample(small_bars, "M15"))
    assert [p.name for p in out.parent.iterdir()] == ["out.parquet"]


def test_a_symbol_is_read_as_of_a_moment_and_assumed_before_and_without_one(store):
    assert store.symbol("sim", "EURUSD", AT).source == "assumed"
    first = replace(
        assumed_spec("sim", "EURUSD"), broker_symbol="EURUSDm", valid_from=AT - timedelta(days=9), source="broker", swap_long=-6.5
    )
    second = replace(first, valid_from=AT, commission_per_lot=2.0)
    store.put_symbol(second)
    store.put_symbol(first)
    assert store.symbol("sim", "EURUSD", AT - timedelta(seconds=1)) == first
    assert store.symbol("sim", "EURUSD", AT) == second
    early = store.symbol("sim", "EURUSD", AT - timedelta(days=10))
    assert (early.source, early.swap_long, early.broker_symbol) == ("assumed", -6.5, "EURUSDm")
    store.put_symbol(replace(second, digits=4, point=0.0001))
    assert store.symbol("sim", "EURUSD", AT).digits == 4


def test_a_symbol_that_is_told_again_unchanged_is_not_written_again(store):
    spec = replace(assumed_spec("sim", "EURUSD"), valid_from=AT, source="broker")
    for day in range(3):
        store.put_symbol(replace(spec, valid_from=AT + timedelta(days=day)))
    assert store.symbol("sim", "EURUSD", AT + timedelta(days=9)) == spec
    changed = replace(spec, valid_from=AT + timedelta(days=3), swap_long=-7.0)
    store.put_symbol(changed)
    store.put_symbol(replace(spec, valid_from=AT + timedelta(days=4)))  # back to what it was: news again
    assert store.symbol("sim", "EURUSD", AT + timedelta(days=3)) == changed
    assert store.symbol("sim", "EURUSD", AT + timedelta(days=4)).swap_long == spec.swap_long


def test_a_symbol_with_impossible_values_is_refused(store):
    with pytest.raises(Final, match=r"sim EURUSD: contract_size 0\.0 must be above 0"):
        store.put_symbol(replace(assumed_spec("sim", "EURUSD"), contract_size=0.0))


def test_a_store_of_a_newer_schema_is_refused_by_readers_and_writers(store, small_bars):
    put(store, small_bars)
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("UPDATE schema_version SET schema = 99").fetchall()
    with pytest.raises(Final, match="has schema 99, this version reads 2"):
        store.inventory()
    with pytest.raises(Final, match="has schema 99, this version reads 2"):
        put(store, small_bars)


def test_a_file_that_is_no_store_is_refused_in_one_line(store, small_bars):
    store.path.write_text("time,open\n" * 1000, encoding="utf-8")
    with pytest.raises(Final, match="cannot be opened") as caught:
        store.inventory()
    assert "\n" not in str(caught.value)


def test_a_writer_gives_up_after_the_stated_wait_when_another_holds_the_lock(tmp_path, small_bars):
    store = Store(tmp_path / "s.duckdb", lock_wait_s=0.2)
    with (
        FileLock(tmp_path / "s.duckdb.lock"),
        pytest.raises(Retryable, match=r"s\.duckdb was being written by another process or thread for 0.2 s"),
    ):
        put(store, small_bars)
    assert put(store, small_bars).rows_new == 600


HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
connection.close()
"""


def test_a_reader_waits_for_a_writer_in_another_process_and_gives_up_after_the_stated_wait(store, small_bars):
    put(store, small_bars)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Retryable, match=r"store\.duckdb was in use by another process or thread for 0.1 s"):
            Store(store.path, lock_wait_s=0.1).inventory()
        release = threading.Timer(0.2, lambda: (holder.stdin.write("go\n"), holder.stdin.flush()))
        release.start()
        assert store.inventory()["rows"].to_list() == [600]
        release.join()


def test_an_opening_that_meets_another_threads_in_the_same_moment_is_tried_again(store, small_bars, monkeypatch):
    put(store, small_bars)
    real, failures = duckdb.connect, [1, 2]

    def connect(*arguments, **options):
        if failures:
            failures.pop()
            raise duckdb.Error('Unique file handle conflict: Cannot attach "s" - the database file is already attached by "s"')
        return real(*arguments, **options)

    monkeypatch.setattr(duckdb, "connect", connect)
    assert store.inventory()["rows"].to_list() == [600] and not failures


def test_readers_and_writers_in_threads_of_one_process_take_turns(store, small_bars):
    put(store, small_bars.head(1))
    heights, errors = [], []

    def read() -> None:
        try:
            heights.extend(store.bars("sim", "EURUSD", "M1").height for _ in range(5))
        except Exception as error:  # a thread must hand its failure to the test
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for end in range(100, 600, 100):
        put(store, small_bars.head(end))
    for thread in threads:
        thread.join()
    assert not errors
    assert set(heights) <= {1, 100, 200, 300, 400, 500}


KILLED_INSIDE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from feature_store import _batches
from feature_store.store import Store
from tests.conftest import make_bars

def hang(connection, batch):
    print("inside", flush=True)
    sys.stdin.readline()

_batches.record = hang  # the last statement before the commit: bars are written, the batch is not
bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 50_000, seed=8)
known = {"origin": "x", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
Store(Path(sys.argv[1])).ingest("sim", "EURUSD", "M1", bars, **known)
"""


@pytest.mark.parametrize("filled", [False, True])
def test_a_kill_in_the_middle_of_an_ingest_leaves_the_store_as_it_was(store, small_bars, filled):
    if filled:
        put(store, small_bars)
    command = [sys.executable, "-c", KILLED_INSIDE, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout.readline() == "inside\n"
        child.kill()
    if filled:
        assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)
        assert store.batches()["id"].to_list() == [1]
    else:
        assert store.inventory().is_empty()
    assert put(store, higher(small_bars)).rows_changed == (600 if filled else 0)


def test_an_ingest_that_fails_inside_leaves_the_store_as_it_was(store, small_bars, monkeypatch):
    put(store, small_bars)

    def fail(connection, batch):
        raise OSError("disk gone")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk gone"):
        patch.setattr("feature_store._batches.record", fail)
        put(store, higher(small_bars))
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)
    assert put(store, higher(small_bars)).id == 2


@pytest.mark.real_data
def test_real_hourly_bars_are_stored_whole_and_resample_to_daily_bars(store, real_data):
    bars = pl.read_parquet(real_data / "bars" / "EURUSD_H1_ln.parquet").rename({"spread": "spread_points"})
    batch = put(store, bars, timeframe="H1")
    assert (batch.rows_new, batch.rows_rejected) == (74439, 0)
    daily = store.bars("sim", "EURUSD", "D1")
    assert 3000 < daily.height < 3800  # twelve years of five days, Sundays' quotes of 17 h and later belong to Monday
    assert daily["high"].max() == bars["high"].max()
    assert store.spread_table("sim", "EURUSD").source == "measured"
