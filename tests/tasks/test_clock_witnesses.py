"""Which stored series tell a clock: the symbol at other feeds, its kin where nothing else tells, never the feed itself."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store.bars import SCHEMA
from feature_store.clock import is_open_s, utc_to_server
from feature_store.store import Store
from tasks._clock_witnesses import related, same_symbol, span_of
from tasks.clocks import Walls, verdict_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = int(datetime(2020, 1, 6, tzinfo=UTC).timestamp())


def hours(days, step_s=3600):
    utc_s = START + step_s * np.arange(days * 86400 // step_s, dtype=np.int64)
    return utc_s[is_open_s("", utc_s)]


def frame(utc_s, close):
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    known = pl.DataFrame({"time": pl.Series(utc_s * 1000).cast(pl.Datetime("ms")), **prices})
    return known.select(known[n] if n in known.columns else pl.lit(None, dtype=SCHEMA[n]).alias(n) for n in SCHEMA)


@pytest.fixture(scope="module")
def moves():
    """Hourly returns of a market and of one that moves with it by 0.6, without any usual hours; two years."""
    utc_s = hours(730)
    own, other = np.random.default_rng(4).normal(0, 5e-4, (2, utc_s.size))
    return utc_s, np.cumsum(own), np.cumsum(0.6 * own + 0.8 * other)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "bars.duckdb")


def put(store, feed, symbol, timeframe, utc_s, log):
    bars = frame(utc_s, np.round(1.2 * np.exp(log), 5))
    store.ingest(feed, symbol, timeframe, bars, origin=feed, sha256=f"{feed}{symbol}{timeframe}", clock_rule="utc", at=NOW)


def written(moves):
    """The market as a feed on an EET clock hands it over, its Sundays lost: alone it tells no clock."""
    utc_s, log, _ = moves
    wall_s = utc_to_server(utc_s, "eet")
    kept = (wall_s // 86400 + 3) % 7 != 6
    return Walls(wall_s[kept], np.round(1.1 * np.exp(log[kept]), 5), np.full(int(kept.sum()), np.nan), "H1")


def test_a_related_symbol_of_another_feed_tells_the_clock_and_is_named(store, moves):
    walls = written(moves)
    assert verdict_of(store, "EURUSD", walls, without_feed="files").rule is None
    put(store, "other", "GBPUSD", "H1", moves[0], moves[2])
    verdict = verdict_of(store, "EURUSD", walls, without_feed="files")
    assert verdict.rule == "eet"
    assert any(line.startswith("related: moves with other GBPUSD, correlation +0.") for line in verdict.evidence)


def test_files_of_one_feed_do_not_vouch_for_each_other(store, moves):
    put(store, "files", "GBPUSD", "H1", moves[0], moves[2])
    verdict = verdict_of(store, "EURUSD", written(moves), without_feed="files")
    assert verdict.rule is None
    assert not any("related" in line for line in verdict.evidence)


def test_related_series_reach_past_both_ends_of_the_file_to_whole_weeks(store, moves):
    utc_s, _, log = moves
    put(store, "other", "GBPUSD", "H1", utc_s, log)
    first, last = START + 100 * 86400, START + 300 * 86400
    (one,) = related(store, "EURUSD", "H1", span_of(first, last), without_feed="files")
    assert one.opens_s[0] <= first - 7 * 86400
    assert one.opens_s[-1] >= last + 6 * 86400


def test_related_symbols_share_a_currency_and_the_nearest_come_first(store, moves):
    utc_s, _, log = moves[0][:50], moves[1], moves[2][:50]
    for symbol in ("XAUUSD", "GBPUSD", "EURGBP", "AUDJPY", "EURUSD", "BTCUSD"):
        put(store, "other", symbol, "H1", utc_s, log)
    put(store, "second", "GBPUSD", "H1", utc_s, log)
    span = span_of(int(utc_s[0]), int(utc_s[-1]))
    found = related(store, "EURUSD", "M5", span, without_feed="files")
    assert [one.feed for one in found] == ["other EURGBP", "other GBPUSD", "second GBPUSD", "other XAUUSD"]
    assert [one.feed for one in related(store, "EURUSD", "M5", span, without_feed="other")] == ["second GBPUSD"]
    assert related(store, "BTCUSD", "M5", span, without_feed="files") == []
    assert np.array_equal(found[0].opens_s, utc_s)


def test_of_several_timeframes_of_a_feed_the_one_that_covers_the_span_is_read(store, moves):
    utc_s, log = moves[0][:2000], moves[2][:2000]
    put(store, "other", "EURUSD", "H1", utc_s, log)
    recent = hours(120, 900)[-500:]
    put(store, "other", "EURUSD", "M15", recent, np.zeros(recent.size))
    (whole,) = same_symbol(store, "EURUSD", "H1", span_of(int(utc_s[0]), int(utc_s[-1])), without_feed="files")
    assert np.array_equal(whole.opens_s, utc_s)
    (late,) = same_symbol(store, "EURUSD", "M15", span_of(int(recent[0]), int(recent[-1])), without_feed="files")
    assert np.array_equal(late.opens_s, recent)


def test_long_series_are_read_as_hours_for_a_file_of_hours_and_as_half_hours_for_one_of_minutes(store, moves):
    minutes = hours(40, 300)
    put(store, "other", "GBPUSD", "M5", minutes, np.zeros(minutes.size))
    span = span_of(int(minutes[0]), int(minutes[-1]))
    steps = [
        int(np.diff(related(store, "EURUSD", timeframe, span, without_feed="files")[0].opens_s).min())
        for timeframe in ("M1", "H1", "H4")
    ]
    assert steps == [1800, 3600, 3600]
