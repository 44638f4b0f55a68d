"""The task: reports on stored bars, held against the other feeds of the store, with their pages."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from feature_store._errors import FeatureStoreError
from feature_store.store import Store
from tasks import quality as task
from tests.conftest import make_bars

NOW = datetime(2024, 6, 1, tzinfo=UTC)
BARS = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 24 * 5 * 6, step_s=3600)


def put(store: Store, feed: str, bars: pl.DataFrame, timeframe: str = "H1", symbol: str = "EURUSD") -> None:
    store.ingest(feed, symbol, timeframe, bars, origin="here", sha256="0", clock_rule="utc", at=NOW)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "bars.duckdb")


def run(store: Store, feed: str = "mine", **changes):
    return task.quality.fn(store.path, feed, ["EURUSD"], lock_wait_s=5.0, **changes)


def test_a_report_knows_what_its_ingests_turned_away(store):
    put(store, "mine", pl.concat([BARS, BARS.head(4)]))
    (found,) = run(store)
    assert (found.ingested.batches, found.ingested.rejects, found.duplicates) == (1, {"duplicate": 4}, 0)
    assert [used.rule for used in found.ingested.clocks] == ["utc"] and found.agreements == ()


def test_a_clock_that_slips_is_found_against_another_feed_of_the_store(store):
    inside = pl.col("time").is_between(datetime(2024, 3, 18, 22), datetime(2024, 3, 22, 20))
    moved = BARS.with_columns(pl.when(inside).then(pl.col("time") + timedelta(hours=1)).otherwise(pl.col("time")).alias("time"))
    put(store, "mine", moved.unique("time", keep="first").sort("time"))
    put(store, "theirs", make_bars(datetime(2024, 3, 4, tzinfo=UTC), 10, step_s=3600), symbol="GBPUSD")
    put(store, "theirs", BARS)
    (found,) = run(store)
    (agreement,) = found.agreements
    assert agreement.other == "theirs" and {slip.late_s for slip in agreement.slips} == {3600}
    assert any("feed theirs" in warning for warning in found.warnings)


def test_of_another_feed_the_timeframe_that_shares_most_is_held_against_this_one(store):
    put(store, "mine", BARS)
    put(store, "theirs", BARS)
    put(store, "theirs", make_bars(datetime(2024, 4, 1, tzinfo=UTC), 3000), "M1")
    (other,) = task.other_feeds(store, "mine", "EURUSD", "H1", BARS)
    assert (other.timeframe, other.bars.height) == ("H1", BARS.height)
    (mine,) = run(store, "theirs")
    assert mine.timeframe == "M1" and any(note.startswith("H1 bars from 2024-03-04") for note in mine.ingested.notes)


def test_finer_bars_of_another_feed_are_made_as_long_as_these(store):
    put(store, "mine", BARS)
    put(store, "theirs", make_bars(datetime(2024, 3, 4, tzinfo=UTC), 9000), "M1")
    (other,) = task.other_feeds(store, "mine", "EURUSD", "H1", BARS)
    assert (other.timeframe, other.bars.height) == ("H1", 150)


def test_feeds_without_a_common_day_are_left_out_and_of_many_the_four_longest_stay(store):
    put(store, "mine", BARS)
    put(store, "old", make_bars(datetime(2020, 3, 2, tzinfo=UTC), 200, step_s=3600))
    for number in range(6):
        put(store, f"feed{number}", BARS.tail(100 + 50 * number))
    assert [o.feed for o in task.other_feeds(store, "mine", "EURUSD", "H1", BARS)] == ["feed5", "feed4", "feed3", "feed2"]


def test_pages_are_written_where_asked_with_the_rows_that_were_turned_away(store, tmp_path):
    bad = BARS.with_columns(pl.when(pl.int_range(pl.len()) == 5).then(0.0).otherwise(pl.col("low")).alias("low"))
    put(store, "mine", bad)
    assert run(store) and not (tmp_path / "pages").exists()
    run(store, pages=tmp_path / "pages")
    (page,) = (tmp_path / "pages").iterdir()
    assert page.name == "mine_EURUSD_H1.html" and "price not positive" in page.read_text(encoding="utf-8")


def test_a_symbol_that_is_not_stored_is_told_in_one_line(store):
    put(store, "mine", BARS)
    with pytest.raises(FeatureStoreError, match="no bars of EURUSD from feed 'theirs'"):
        run(store, "theirs")
