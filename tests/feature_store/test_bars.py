from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import SCHEMA, SECONDS, bar_close, bar_open, conform, epoch_s, resample
from tests.conftest import make_bars

MOMENTS = st.integers(int(datetime(2005, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2035, 1, 1, tzinfo=UTC).timestamp()))


def stamp(*parts: int) -> np.ndarray:
    return np.array([int(datetime(*parts, tzinfo=UTC).timestamp())], dtype=np.int64)


def bars_at(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (stamp(2024, 1, 10, 12), stamp(2024, 1, 9, 22)),  # 17:00 New York of the eve, winter
        (stamp(2024, 7, 10, 12), stamp(2024, 7, 9, 21)),  # summer
        (stamp(2024, 7, 9, 21), stamp(2024, 7, 9, 21)),
        (stamp(2024, 7, 9, 20, 59), stamp(2024, 7, 8, 21)),
        (stamp(2024, 3, 11, 12), stamp(2024, 3, 10, 21)),  # Monday after the change: opened in summer time
    ],
)
def test_daily_bars_open_at_17_new_york_in_both_seasons(moment, expected):
    assert bar_open(moment, "D1") == expected


@pytest.mark.parametrize(("day", "hours"), [((2024, 1, 10), [2, 6, 10, 14, 18, 22]), ((2024, 7, 10), [1, 5, 9, 13, 17, 21])])
def test_four_hour_bars_open_at_17_21_1_5_9_13_new_york(day, hours):
    minutes = stamp(*day) + 60 * np.arange(24 * 60)
    opens = np.unique(bar_open(minutes, "H4"))
    inside = opens[opens >= stamp(*day)]
    assert [datetime.fromtimestamp(t, UTC).hour for t in inside] == hours


def test_a_week_opens_on_sunday_17_new_york():
    assert bar_open(stamp(2024, 7, 11, 3), "W1") == stamp(2024, 7, 7, 21)
    assert bar_close(stamp(2024, 7, 7, 21), "W1") == stamp(2024, 7, 14, 21)
    # The week of the change lasts an hour less; nobody trades in that hour.
    assert bar_close(stamp(2024, 3, 3, 22), "W1") == stamp(2024, 3, 10, 21)


@pytest.mark.parametrize("timeframe", list(SECONDS))
@given(moment=MOMENTS)
def test_bars_tile_time_without_hole_or_overlap(timeframe, moment):
    t = np.array([moment], dtype=np.int64)
    opened = bar_open(t, timeframe)
    closed = bar_close(opened, timeframe)
    assert opened <= t < closed
    assert bar_open(opened, timeframe) == opened
    assert bar_open(closed, timeframe) == closed
    assert bar_open(closed - 1, timeframe) == opened


@pytest.mark.parametrize("timeframe", ["H2", "H3", "H4", "D1"])
def test_bars_of_a_round_the_clock_feed_tile_the_nights_of_both_changes(timeframe):
    for night in ((2024, 3, 10), (2024, 11, 3)):
        seconds = stamp(*night) + 300 * np.arange(2 * 288)
        opened = bar_open(seconds, timeframe)
        assert (np.diff(opened) >= 0).all()
        starts = np.unique(opened)
        assert (bar_close(starts[:-1], timeframe) == starts[1:]).all()


def test_resampled_bar_takes_first_open_highest_high_lowest_low_last_close_and_least_known_spread():
    bars = bars_at(
        [
            (datetime(2024, 3, 4, 10, 0), 1.10, 1.12, 1.09, 1.11, 10, 14, None),
            (datetime(2024, 3, 4, 10, 1), 1.11, 1.15, 1.10, 1.14, None, None, None),
            (datetime(2024, 3, 4, 10, 4), 1.14, 1.14, 1.05, 1.06, 5, 12, None),
            (datetime(2024, 3, 4, 10, 6), 1.06, 1.07, 1.06, 1.07, None, None, 3),
        ]
    )
    expected = bars_at(
        [
            (datetime(2024, 3, 4, 10, 0), 1.10, 1.15, 1.05, 1.06, 15, 12, None),
            (datetime(2024, 3, 4, 10, 5), 1.06, 1.07, 1.06, 1.07, None, None, 3),
        ]
    )
    assert_frame_equal(resample(bars, "M5"), expected)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), dropped=st.floats(0, 0.9))
def test_resampling_twice_equals_resampling_once(seed, dropped):
    bars = make_bars(datetime(2024, 3, 7, tzinfo=UTC), 3000, seed=seed)  # crosses a weekend and the US change of 10 March
    bars = bars.filter(pl.Series(np.random.default_rng(seed).random(bars.height) >= dropped))
    for path in (["M5", "M15", "H1"], ["H1", "H4", "D1"], ["M30", "H2", "D1", "W1"]):
        steps = bars
        for timeframe in path:
            steps = resample(steps, timeframe)
        assert_frame_equal(steps, resample(bars, path[-1]))


def test_resampling_keeps_total_volume_and_the_extremes(small_bars):
    hourly = resample(small_bars, "H1")
    assert hourly.height == 10
    assert hourly["tick_volume"].sum() == small_bars["tick_volume"].sum()
    assert hourly["high"].max() == small_bars["high"].max()
    assert hourly["low"].min() == small_bars["low"].min()


def test_no_bars_resample_to_no_bars_of_the_same_columns(small_bars):
    assert resample(small_bars.clear(), "H1").schema == pl.Schema(SCHEMA)


def test_epoch_seconds_of_a_column_are_those_of_its_moments():
    assert epoch_s(pl.Series([datetime(1970, 1, 1, 0, 1)]).cast(pl.Datetime("ms"))).tolist() == [60]


def test_an_unknown_timeframe_is_refused_with_those_there_are():
    with pytest.raises(Final, match=r"timeframe 'H5' is not known; use one of M1, M2"):
        bar_open(stamp(2024, 1, 1), "H5")


def test_conforming_adds_unknown_columns_as_null_and_refuses_missing_prices_and_wrong_types(small_bars):
    narrow = conform(small_bars.select("time", "open", "high", "low", "close"))
    assert narrow.schema == pl.Schema(SCHEMA)
    assert narrow["spread_points"].null_count() == narrow.height
    with pytest.raises(Final, match="bars lack the columns low, close"):
        conform(small_bars.select("time", "open", "high"))
    with pytest.raises(Final, match="bars cannot be read as"):
        conform(small_bars.with_columns(pl.lit("dear").alias("close")))
