"""`data --quality`: chosen by feed and symbol, as lines, JSON and pages; and the page that comes with an ingest."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_store.store import Store
from tests.conftest import make_bars

NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path):
    store = Store(tmp_path / "home" / "bars.duckdb")
    for feed, symbol in (("one", "EURUSD"), ("one", "USDJPY"), ("two", "EURUSD")):
        bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 300)
        store.ingest(feed, symbol, "M1", bars, origin="here", sha256="0", clock_rule="utc", at=NOW)
    return tmp_path / "home"


def series(document):
    return [(q["feed"], q["symbol"]) for q in document["quality"]]


def test_feed_and_symbol_choose_what_is_reported(tradewind, home):
    whole = tradewind("data", "--quality", "--home", home, "--json").document
    assert series(whole) == [("one", "EURUSD"), ("one", "USDJPY"), ("two", "EURUSD")]
    assert whole["pages"] == [] and not (home / "reports").exists()
    assert series(tradewind("data", "--quality", "--feed", "two", "--home", home, "--json").document) == [("two", "EURUSD")]
    some = tradewind("data", "--quality", "--batches", "--symbol", "usdjpy", "--home", home, "--json").document
    assert series(some) == [("one", "USDJPY")]
    assert [s["symbol"] for s in some["series"]] == [b["symbol"] for b in some["batches"]] == ["USDJPY"]


def test_lines_are_told_whole_and_pages_are_named(tradewind, home):
    done = tradewind("data", "--html", "--feed", "one", "--symbol", "EURUSD", "--home", home)
    assert "one EURUSD M1: 300 bars, 2024-03-04 00:00 to 2024-03-04 04:59 UTC" in done.out
    page = home / "reports" / "quality" / "one_EURUSD_M1.html"
    assert f"page {page}" in done.out.splitlines() and page.is_file()
    assert [p.name for p in page.parent.iterdir()] == [page.name]


def test_what_is_not_stored_is_told_in_one_line_with_what_is(tradewind, home):
    done = tradewind("data", "--quality", "--feed", "three", "--home", home)
    assert done.code == 1 and done.out == ""
    assert done.err == "tradewind: no stored bars of three; the store holds one EURUSD, one USDJPY, two EURUSD\n"


def test_a_home_without_bars_has_nothing_to_report(tradewind, tmp_path):
    done = tradewind("data", "--quality", "--home", tmp_path / "none", "--json")
    assert done.code == 0 and done.document["quality"] == []


def test_an_ingest_leaves_the_page_of_each_series(tradewind, tmp_path):
    make_bars(datetime(2024, 3, 4, tzinfo=UTC), 300).write_parquet(tmp_path / "EURUSD_M1.parquet")
    done = tradewind("ingest", tmp_path / "EURUSD_M1.parquet", "--clock", "utc", "--home", tmp_path / "home")
    assert done.code == 0
    assert [p.name for p in Path(tmp_path / "home" / "reports" / "quality").iterdir()] == ["files_EURUSD_M1.html"]
