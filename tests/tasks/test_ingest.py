"""Ingest from the simulated terminal: closed bars once, the broker's word on each symbol, all or nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store.settings import FeedSettings
from feature_store.sources.generator import MarketConfig, generate
from feature_store.store import Store
from serving.terminal.simulated import SimulatedConfig, SymbolConfig, install
from tasks import ingest

NOW = datetime(2024, 3, 6, 10, 0, 30, tzinfo=UTC)  # half a minute into a bar
FEED = FeedSettings(source="terminal", clock="ny+7", symbols={"EURUSD": "EURUSDm"}, commission_per_lot=2.25)
SYMBOLS = ("EURUSD", "USDJPY")


@pytest.fixture(scope="module")
def small_market():
    return generate(MarketConfig(symbols=SYMBOLS, start=datetime(2024, 3, 5, tzinfo=UTC), days=2, seed=2))


def terminal(market, now=NOW, **spec_changes):
    """A broker that calls EURUSD EURUSDm and plays the market from `now` on."""
    specs = [replace(market.spec(s, "icm"), broker_symbol=FEED.symbols.get(s, s), **spec_changes) for s in SYMBOLS]
    bars = {s: market.bars(s) for s in SYMBOLS}
    return install(SimulatedConfig(symbols=tuple(SymbolConfig.from_spec(s) for s in specs), market=bars, start=now))


def fetch(path, handle, *, symbols=SYMBOLS):
    return ingest.ingest_terminal.fn(path, "icm", FEED, handle.module, symbols, "M1", handle.clock, lock_wait_s=5.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "bars.duckdb"


@pytest.fixture(scope="module")
def fetched(small_market, tmp_path_factory):
    """(store, batches) of one ingest, for tests that only look."""
    path = tmp_path_factory.mktemp("fetched") / "bars.duckdb"
    with terminal(small_market) as handle:
        return path, fetch(path, handle)


def closed(market, symbol, now):
    """What the market had at that moment, the bar that was forming left out."""
    bars = market.bars(symbol)
    return bars.filter(pl.col("time") + pl.duration(minutes=1) <= now.replace(tzinfo=None))


def test_the_store_holds_every_closed_bar_in_utc_and_not_the_forming_one(fetched, small_market):
    path, batches = fetched
    for symbol, batch in zip(SYMBOLS, batches, strict=True):
        expected = closed(small_market, symbol, NOW)
        columns = ["time", "open", "high", "low", "close", "tick_volume", "spread_points"]
        assert_frame_equal(Store(path).bars("icm", symbol, "M1").select(columns), expected.select(columns))
        assert (batch.symbol, batch.rows_new, batch.rows_changed) == (symbol, expected.height, 0)
        assert NOW <= batch.ingested_at < NOW + timedelta(seconds=30) and batch.origin.startswith("terminal ")
        assert Store(path).bars("icm", symbol, "M1")["time"][-1] < datetime(2024, 3, 6, 10, 0)


def test_the_brokers_first_word_on_a_symbol_holds_from_its_first_bar_on(fetched, small_market):
    path, _ = fetched
    first = small_market.bars("EURUSD")["time"][0].replace(tzinfo=UTC)
    spec = Store(path).symbol("icm", "EURUSD", first)
    assert (spec.source, spec.broker_symbol, spec.valid_from) == ("broker", "EURUSDm", first)
    assert (spec.digits, spec.contract_size, spec.commission_per_lot) == (5, 100_000, 2.25)
    assert spec.swap_long == small_market.spec("EURUSD", "icm").swap_long
    assert Store(path).symbol("icm", "USDJPY", NOW).broker_symbol == "USDJPY", "a name that is not listed is the same"


def test_a_second_ingest_adds_the_bars_that_closed_since_and_changes_none(path, small_market):
    with terminal(small_market) as handle:
        fetch(path, handle)
        again = fetch(path, handle)
        assert [(b.rows_new, b.rows_changed) for b in again] == [(0, 0), (0, 0)]
        assert {b.rows_same for b in again} == {101}, "only the overlap is asked for again"
        handle.clock.wait_until(NOW + timedelta(minutes=90))
        later = fetch(path, handle)
        now = handle.clock.now_utc()
    for symbol, batch in zip(SYMBOLS, later, strict=True):
        missing = closed(small_market, symbol, now).height - closed(small_market, symbol, NOW).height
        assert 80 <= missing <= 90 and (batch.rows_new, batch.rows_changed) == (missing, 0)
        assert Store(path).bars("icm", symbol, "M1").height == closed(small_market, symbol, now).height


def test_a_changed_specification_holds_from_when_it_was_seen_and_the_old_one_before(path, small_market):
    with terminal(small_market) as handle:
        fetch(path, handle)
    later = NOW + timedelta(hours=3)
    with terminal(small_market, later, swap_long=-9.0) as handle:
        fetch(path, handle)
        fetch(path, handle)
    store, old = Store(path), small_market.spec("EURUSD", "icm").swap_long
    assert store.symbol("icm", "EURUSD", later + timedelta(minutes=1)).swap_long == -9.0
    before = store.symbol("icm", "EURUSD", later - timedelta(minutes=1))
    assert (before.swap_long, before.source) == (old, "broker")


def test_an_ingest_killed_between_bars_and_specification_is_made_good_by_the_next(path, small_market, monkeypatch):
    with terminal(small_market) as handle:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "put_symbol", lambda self, spec: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                fetch(path, handle)
        assert Store(path).symbol("icm", "EURUSD", NOW).source == "assumed"
        fetch(path, handle)
    first = small_market.bars("EURUSD")["time"][0].replace(tzinfo=UTC)
    assert Store(path).symbol("icm", "EURUSD", first).source == "broker"
    assert Store(path).bars("icm", "USDJPY", "M1").height == closed(small_market, "USDJPY", NOW).height


def test_a_symbol_the_broker_does_not_have_is_told_in_one_line_before_anything_is_stored(path, small_market):
    with terminal(small_market) as handle, pytest.raises(Exception, match="GBPUSD: the broker has no symbol 'GBPUSD'") as error:
        fetch(path, handle, symbols=("EURUSD", "GBPUSD"))
    assert "\n" not in str(error.value) and not path.exists()


def test_quality_is_told_of_each_symbol_in_the_timeframe_it_is_stored_in(fetched, small_market):
    path, _ = fetched
    reports = ingest.quality.fn(path, "icm", SYMBOLS, lock_wait_s=5.0)
    assert [(r.symbol, r.timeframe, r.rows) for r in reports] == [(s, "M1", closed(small_market, s, NOW).height) for s in SYMBOLS]
    assert all(r.lines() and "EURUSD" in " ".join(reports[0].lines()) for r in reports)
