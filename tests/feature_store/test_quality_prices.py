"""Jumps stay, spikes come back, stale quotes stand still: each planted where the answer is known."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store import quality
from feature_store.bars import epoch_s, resample
from feature_store.clock import new_york_hour
from tests.conftest import make_bars

PRICES = ("open", "high", "low", "close")
START = datetime(2024, 3, 4, tzinfo=UTC)


def report(bars, *others, timeframe="M1"):
    return quality.report(bars, "sim", "EURUSD", timeframe, others=others)


def shifted(bars: pl.DataFrame, from_row: int, factor: float) -> pl.DataFrame:
    inside = pl.int_range(pl.len()) >= from_row
    return bars.with_columns(pl.when(inside).then(pl.col(c) * factor).otherwise(pl.col(c)).alias(c) for c in PRICES)


def with_low(bars: pl.DataFrame, row: int, factor: float) -> pl.DataFrame:
    return bars.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.col("low") * factor).otherwise(pl.col("low")).alias("low")
    )


def test_a_move_that_stays_is_a_jump_and_one_that_comes_back_within_the_bar_a_spike(small_bars):
    fell, dipped = report(shifted(small_bars, 300, 0.99)), report(with_low(small_bars, 300, 0.99))
    assert (fell.jump_count, fell.spike_count, dipped.jump_count, dipped.spike_count) == (1, 0, 0, 1)
    assert fell.jumps[0].time == dipped.spikes[0].time == datetime(2024, 3, 4, 5, tzinfo=UTC)
    assert fell.jumps[0].return_bp == pytest.approx(1e4 * np.log(0.99), abs=5)
    assert dipped.spikes[0].return_bp == pytest.approx(1e4 * np.log(0.99), abs=5)
    assert fell.warnings == dipped.warnings == (), "neither is called an error while nobody else was there"


def test_a_close_that_the_next_one_takes_back_is_a_spike(small_bars):
    odd = shifted(shifted(small_bars, 300, 1.01), 301, 1 / 1.01)
    found = report(odd)
    assert (found.jump_count, found.spike_count) == (0, 1)
    assert found.spikes[0].time == datetime(2024, 3, 4, 5, tzinfo=UTC)


def test_a_crash_whose_wick_reached_four_times_as_far_as_its_close_is_a_jump(small_bars):
    # GBPUSD on 2016-10-06 at 23:00 UTC: low 765 bp under the close, close 180 bp under the open.
    crash = with_low(shifted(small_bars, 300, 0.982), 300, 0.926)
    found = report(crash)
    assert (found.jump_count, found.spike_count) == (1, 0)


def test_what_is_usual_at_its_hour_is_no_jump_and_the_same_at_a_quiet_hour_is():
    bars = make_bars(START, 24 * 5 * 40, step_s=3600)
    hour = new_york_hour(epoch_s(bars["time"]))
    random = np.random.default_rng(3)
    move = random.normal(0, 1e-4, bars.height) * np.where(hour == 8, 10.0, 1.0)
    at_news, at_night = np.flatnonzero(hour == 8)[20], np.flatnonzero(hour == 22)[20]
    move[[at_news, at_night]] = 25e-4
    close = 1.1 * np.exp(np.cumsum(move))
    open_ = np.concatenate([[1.1], close[:-1]])
    bars = bars.with_columns(
        pl.Series("open", open_), pl.Series("close", close),
        pl.Series("high", np.maximum(open_, close)), pl.Series("low", np.minimum(open_, close)),
    )  # fmt: skip
    found = report(bars, timeframe="H1")
    assert [jump.time for jump in found.jumps] == [bars["time"][int(at_night)].replace(tzinfo=UTC)]
    assert found.jumps[0].return_bp == pytest.approx(25) and found.jumps[0].scales > 12


def test_another_feed_tells_a_bad_tick_from_the_market(small_bars):
    dipped = with_low(with_low(small_bars, 300, 0.99), 400, 0.99)
    other = quality.Other("other", "M1", with_low(small_bars, 400, 0.994))
    found = report(dipped, other)
    assert {spike.time.hour: spike.seen for spike in found.spikes} == {5: False, 6: True}
    assert found.warnings == ("1 spikes were seen by no other feed; they look like bad ticks",)
    elsewhere = quality.Other("late", "M1", small_bars.with_columns(pl.col("time") + pl.duration(days=1)))
    assert [spike.seen for spike in report(dipped, elsewhere).spikes] == [None, None], "it was not there"


def test_an_hour_bar_proves_nothing_about_a_minute(small_bars):
    other = quality.Other("other", "H1", resample(small_bars, "H1"))
    assert [spike.seen for spike in report(with_low(small_bars, 300, 0.99), other).spikes] == [None]


def test_a_stale_run_is_told_with_its_first_bar_and_price(small_bars):
    price = small_bars["close"][99]
    inside = pl.int_range(pl.len()).is_between(100, 106)
    frozen = small_bars.with_columns(pl.when(inside).then(price).otherwise(pl.col(c)).alias(c) for c in PRICES)
    found = report(frozen)
    assert found.stale == (quality.StaleRun(datetime(2024, 3, 4, 1, 40, tzinfo=UTC), 7, price),)
    assert (found.stale_runs, found.longest_stale_bars) == (1, 7)


def test_prices_that_never_move_are_one_stale_run_and_no_jump(small_bars):
    flat = small_bars.with_columns(pl.lit(1.1).alias(c) for c in PRICES)
    found = report(flat)
    assert (found.jump_count, found.spike_count, found.stale_runs, found.longest_stale_bars) == (0, 0, 1, 599)


def test_one_bar_has_a_report_too(small_bars):
    found = report(small_bars.head(1))
    assert (found.rows, found.jump_count, found.gap_count, found.stale_runs) == (1, 0, 0, 0)
    assert found.lines()
