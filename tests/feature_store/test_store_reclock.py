"""Batches read by the wrong clock move to the right one, all or none, and each move can be taken back."""

from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import resample
from feature_store.clock import server_to_utc, utc_to_server
from feature_store.store import Store
from tests.conftest import make_bars

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store.duckdb", lock_wait_s=5)


def read_by(bars, wrong, true):
    """Bars whose UTC times come from reading a server's clock, truly `true`, by the rule `wrong`."""
    ms = bars["time"].to_physical().to_numpy()
    moved = server_to_utc(utc_to_server(ms // 1000, true), wrong) * 1000
    return bars.with_columns(pl.Series("time", moved).cast(pl.Datetime("ms")))


def put(store, bars, rule, *, feed="broker", symbol="EURUSD", timeframe="M1"):
    return store.ingest(feed, symbol, timeframe, bars, origin="f.csv", sha256="0" * 64, clock_rule=rule, at=AT)


def everything(store):
    """All rows of bars and what was overwritten, whatever their order."""
    with duckdb.connect(str(store.path), read_only=True) as connection:
        return [sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in ("bars", "overwritten")]


def test_bars_read_by_a_wrong_clock_come_to_stand_at_their_true_times(store, small_bars):
    put(store, read_by(small_bars, "utc", "ny+7"), "utc")
    (batch,) = store.reclock("broker", "ny+7", at=LATER)
    assert (batch.id, batch.clock_rule, batch.reclocks, batch.ingested_at) == (2, "ny+7", 1, LATER)
    assert (batch.rows_read, batch.rows_new, batch.rows_changed, batch.rows_same, batch.rows_rejected) == (600, 0, 600, 0, 0)
    assert batch.first == datetime(2024, 3, 4, tzinfo=UTC)
    assert batch.notes == ("batch 1 moved from clock utc to ny+7",)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), small_bars)
    assert store.batch(2) == batch


def test_a_composite_rule_moves_each_stretch_by_its_own_clock(store):
    bars = make_bars(datetime(2024, 2, 26, tzinfo=UTC), 600, step_s=3600)
    rule = "cet until 2024-03-11, ny+7"
    put(store, read_by(bars, "eet", rule), "eet", timeframe="H1")
    store.reclock("broker", rule, at=LATER)
    assert_frame_equal(store.bars("broker", "EURUSD", "H1"), bars)


def test_undo_of_a_reclock_gives_the_old_state_back_exactly(store, small_bars):
    put(store, small_bars.head(400), "utc")
    put(store, small_bars.slice(300, 300).with_columns(pl.col("high") + 0.001), "utc")
    before = everything(store)
    moved = store.reclock("broker", "utc+1", at=LATER)
    assert [b.rows_changed for b in moved] == [300, 300]
    assert everything(store) != before
    for batch in reversed(moved):
        store.undo(batch.id)
    assert everything(store) == before
    assert store.batches()["undone"].to_list() == [False, False, True, True]


def test_batches_that_are_on_the_rule_change_nothing_and_only_the_named_symbol_moves(store, small_bars):
    put(store, small_bars, "utc")
    put(store, small_bars, "eet", symbol="GBPUSD")
    put(store, small_bars, "utc", feed="other")
    assert [b.symbol for b in store.reclock("broker", "eet", symbol="EURUSD", at=LATER)] == ["EURUSD"]
    assert store.reclock("broker", "eet", at=LATER) == []
    assert_frame_equal(store.bars("broker", "GBPUSD", "M1"), small_bars)
    assert_frame_equal(store.bars("other", "EURUSD", "M1"), small_bars)
    assert store.bars("broker", "EURUSD", "M1")["time"][0] == datetime(2024, 3, 3, 22)


def test_a_rule_that_reads_every_bar_alike_makes_no_batch(store, small_bars):
    put(store, small_bars, "eet")  # March 4: eet, utc+2 and ny+7 say the same
    assert store.reclock("broker", "utc+2", at=LATER) == []
    assert store.batches().height == 1


def test_a_second_reclock_moves_the_moved_bars_and_each_is_taken_back_in_turn(store, small_bars):
    put(store, small_bars, "utc")
    first = store.reclock("broker", "utc+1", at=LATER)[0]
    second = store.reclock("broker", "utc+2", at=LATER)[0]
    assert (second.reclocks, second.notes) == (first.id, ("batch 2 moved from clock utc+1 to utc+2",))
    assert store.bars("broker", "EURUSD", "M1")["time"][0] == datetime(2024, 3, 3, 22)
    for blocked, by in ((1, 2), (2, 3)):
        with pytest.raises(Final, match=f"batch {blocked} cannot be undone: batch {by} later changed 600 of its rows"):
            store.undo(blocked)
    store.undo(3)
    store.undo(2)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), small_bars)


def test_a_bar_that_meets_another_batchs_is_counted_as_there_if_equal_and_rejected_if_not(store, small_bars):
    right = small_bars.head(100).with_columns(
        pl.when(pl.int_range(pl.len()) < 5).then(pl.col("tick_volume") + 1).otherwise(pl.col("tick_volume"))
    )
    put(store, read_by(small_bars.head(150), "utc", "utc+3"), "utc")
    put(store, right, "utc+3")
    (batch,) = store.reclock("broker", "utc+3", at=LATER)
    assert (batch.rows_read, batch.rows_changed, batch.rows_same) == (150, 50, 95)
    assert batch.rejects == {"its new time holds a bar of another batch": 5}
    rejected = store.rejects(batch.id)
    assert rejected["time"].to_list() == small_bars["time"].head(5).to_list()
    assert rejected["content"][0].startswith("2024-03-04 00:00:00.000,1.1,")
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), pl.concat([right, small_bars.slice(100, 50)]))


def test_bars_that_stand_off_the_grid_by_the_new_clock_are_rejected(store):
    days = resample(make_bars(datetime(2024, 2, 26, tzinfo=UTC), 400, step_s=3600), "D1")
    put(store, days, "ny+7", timeframe="D1")
    (batch,) = store.reclock("broker", "utc", at=LATER)
    assert batch.rejects == {"time off the grid": days.height} and batch.first is None
    assert store.inventory().is_empty()
    store.undo(batch.id)
    assert_frame_equal(store.bars("broker", "EURUSD", "D1"), days)


def test_two_batches_whose_bars_change_places_both_arrive(store, small_bars):
    early, late = small_bars.head(120), small_bars.slice(120, 120)
    put(store, late, "utc+2")  # truly two hours earlier: where the other batch stands
    put(store, early, "utc")
    late_moved = late.with_columns(pl.col("time") - timedelta(hours=2))
    early_moved = early.with_columns(pl.col("time") - timedelta(hours=4))
    store.reclock("broker", "utc+4", at=LATER)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), pl.concat([early_moved, late_moved]))


def test_undo_is_refused_where_bars_would_come_back_on_top_of_others(store, small_bars):
    put(store, small_bars.slice(60, 60), "utc+1")
    (moved,) = store.reclock("broker", "utc+2", at=LATER)
    put(store, small_bars.slice(60, 60), "utc")
    before = everything(store)
    with pytest.raises(
        Final, match="batch 2 cannot be undone: batch 3 later put bars where 60 of its rows would come back; undo"
    ):
        store.undo(moved.id)
    assert everything(store) == before
    store.undo(3)
    store.undo(moved.id)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), small_bars.slice(60, 60))


@pytest.mark.parametrize("asked", [3, 4])
def test_batches_whose_bars_changed_places_are_taken_back_together(store, small_bars, asked):
    put(store, small_bars.slice(120, 120), "utc+2")
    put(store, small_bars.head(120), "utc")
    before = everything(store)
    store.reclock("broker", {1: "utc+4", 2: "utc-2"}, at=LATER)
    undone = store.undo(asked)
    assert undone.notes[-1] == f"batch {7 - asked} was taken back with it: its bars stood where these came back"
    assert everything(store) == before
    assert store.batches()["undone"].to_list() == [False, False, True, True]


def take_back(store, batches):
    """Undo them, one after the other; some are taken back with others."""
    for batch in batches:
        if not store.batch(batch.id).undone:
            store.undo(batch.id)


def test_a_batch_that_overwrote_bars_is_not_undone_past_a_correction_of_their_clock(store, small_bars):
    put(store, small_bars.head(200), "utc")
    put(store, small_bars.slice(100, 50).with_columns(pl.col("high") + 0.001), "utc+1")
    (moved,) = store.reclock("broker", "utc+1", at=LATER)
    with pytest.raises(Final, match=f"batch 2 cannot be undone: it changed rows of batch 1, whose clock batch {moved.id} has"):
        store.undo(2)
    store.undo(moved.id)
    store.undo(2)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), small_bars.head(200))


def test_what_cannot_be_moved_is_refused_in_one_line_and_nothing_moves(store, small_bars):
    put(store, small_bars, "utc")
    for match, arguments in (
        ("clock rule 'mars' is not known", ("broker", "mars", None)),
        ("feed 'nobody' has no batches; there are feeds: broker", ("nobody", "eet", None)),
        ("feed 'broker' has no batches of USDJPY; it has EURUSD", ("broker", "eet", "USDJPY")),
    ):
        with pytest.raises(Final, match=match):
            store.reclock(arguments[0], arguments[1], symbol=arguments[2], at=LATER)
    assert_frame_equal(store.bars("broker", "EURUSD", "M1"), small_bars)


def test_a_reclock_that_fails_half_way_leaves_every_batch_where_it_was(store, small_bars, monkeypatch):
    for symbol in ("EURUSD", "GBPUSD"):
        put(store, small_bars, "utc", symbol=symbol)
    before, calls = everything(store), []

    def fail(connection, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise OSError("disk gone")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk gone"):
        patch.setattr("feature_store._batches.record", fail)
        store.reclock("broker", "eet", at=LATER)
    assert everything(store) == before


RULES = st.sampled_from(["utc", "utc+2", "utc-3:30", "ny", "ny+7", "eet", "cet", "cet until 2024-03-20, ny+7"])


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(true=RULES, wrong=RULES, cut=st.integers(1, 399), start=st.integers(0, 300))
def test_wrong_and_right_clock_and_back_is_the_same_store(tmp_path_factory, true, wrong, cut, start):
    store = Store(tmp_path_factory.mktemp("reclock") / "s.duckdb")
    bars = make_bars(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=start), 400, step_s=3600)
    for part in (bars.head(cut), bars.slice(cut)):
        put(store, read_by(part, wrong, true), wrong, timeframe="M30")
    before = everything(store)
    moved = store.reclock("broker", true, at=LATER)
    kept = store.bars("broker", "EURUSD", "M30")
    assert kept.height + sum(b.rows_rejected for b in moved) == 400
    assert_frame_equal(kept, bars.filter(pl.col("time").is_in(kept["time"].implode())))
    take_back(store, moved)
    assert everything(store) == before
