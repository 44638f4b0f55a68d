from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store.bars import epoch_s
from feature_store.clock import new_york_hour
from feature_store.spreads import assumed_table, spread_table
from feature_store.store import Store
from feature_store.symbols import assumed_spec
from tests.conftest import make_bars

EURUSD = assumed_spec("sim", "EURUSD")


@pytest.fixture
def quarter_hours() -> pl.DataFrame:
    """M15 bars of about two months of 2024, spreads as made."""
    return make_bars(datetime(2024, 2, 12, tzinfo=UTC), 4000, step_s=900)


def with_spreads(bars: pl.DataFrame, points: object) -> pl.DataFrame:
    return bars.with_columns(pl.Series("spread_points", points, dtype=pl.Int32))


def test_measured_points_are_the_median_of_each_new_york_hour_in_both_seasons(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    table = spread_table(with_spreads(quarter_hours, np.where(hours == 17, 40, 10 + hours)), "M15", EURUSD)
    assert table.source == "measured"
    expected = [float(40 if hour == 17 else 10 + hour) for hour in range(24)]
    assert table.points.tolist() == expected


def test_zeros_and_unknown_spreads_do_not_count_as_free(quarter_hours):
    points = [0 if i % 20 == 0 else None if i % 7 == 0 else 12 for i in range(quarter_hours.height)]
    table = spread_table(with_spreads(quarter_hours, points), "M15", EURUSD)
    assert table.source == "measured"
    assert (table.points == 12).all()


@pytest.mark.parametrize(
    ("points", "timeframe"),
    [
        (lambda i: None, "M15"),  # nothing known
        (lambda i: 0 if i % 2 else 3, "M15"),  # half zeros: a bar's minimum
        (lambda i: 12 if i < 499 else None, "M15"),  # too few
        (lambda i: 12, "H4"),  # the minimum of four hours
    ],
)
def test_spreads_that_cannot_be_believed_give_the_assumed_table(quarter_hours, points, timeframe):
    table = spread_table(with_spreads(quarter_hours, [points(i) for i in range(quarter_hours.height)]), timeframe, EURUSD)
    assert table.source == "assumed"
    assert table.points[17] == 43
    assert (np.delete(table.points, 17) == 16).all()


def test_hours_without_enough_spreads_take_the_assumed_shape_at_the_measured_level(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    points = [None if hour == 17 else 32 for hour in hours]
    table = spread_table(with_spreads(quarter_hours, points), "M15", EURUSD)
    assert table.source == "measured"
    assert table.points[16] == 32
    assert table.points[17] == 43 * 32 / 16


def test_assumed_points_follow_the_point_size_of_the_feed():
    four_digits = replace(EURUSD, digits=4, point=0.0001)
    assert assumed_table(four_digits, 1.1).points[12] == pytest.approx(1.6)
    assert assumed_table(assumed_spec("sim", "USDJPY"), 150.0).points[12] == pytest.approx(15)
    assert assumed_table(assumed_spec("sim", "XAUUSD"), 2000.0).points[17] == pytest.approx(193)


def test_assumed_points_of_other_symbols_are_a_share_of_the_price():
    table = assumed_table(assumed_spec("sim", "NZDUSD"), 0.6)
    assert table.points[12] == pytest.approx(18)  # 3 hundredths of a percent of 0.6 in steps of 0.00001
    assert table.points[17] == pytest.approx(72)


def test_no_spread_is_ever_below_one_point():
    assert assumed_table(replace(assumed_spec("sim", "NZDUSD"), point=1.0), 0.6).points.min() == 1.0


def test_the_table_is_looked_up_by_new_york_hour(quarter_hours):
    table = assumed_table(EURUSD, 1.1)
    winter, summer = (int(datetime(2024, month, 10, hour, 30, tzinfo=UTC).timestamp()) for month, hour in ((1, 22), (7, 21)))
    assert table.at(np.array([winter, winter + 3600, summer, summer + 3600])).tolist() == [43, 16, 43, 16]


def test_the_store_measures_its_shortest_bars_and_assumes_when_it_cannot(tmp_path, quarter_hours):
    store = Store(tmp_path / "s.duckdb")
    known = {"origin": "test", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    store.ingest("a", "EURUSD", "M15", with_spreads(quarter_hours, [11] * quarter_hours.height), **known)
    store.ingest("b", "EURUSD", "M15", with_spreads(quarter_hours, [None] * quarter_hours.height), **known)
    measured, assumed = store.spread_table("a", "EURUSD"), store.spread_table("b", "EURUSD")
    assert (measured.source, measured.points[3]) == ("measured", 11)
    assert (assumed.source, assumed.points[3]) == ("assumed", 16)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "source"),
    [
        ("EURUSD_M30_sk", "EURUSD", "M30", "measured"),
        ("EURUSD_H1_vj", "EURUSD", "H1", "assumed"),  # zero in 48 % of bars
        ("USDJPY_M15_vs", "USDJPY", "M15", "assumed"),  # zero in 94 %
        ("EURUSD_M1_bt", "EURUSD", "M1", "assumed"),  # unknown
    ],
)
def test_real_feeds_are_believed_or_not_as_their_spreads_deserve(real_data, file, symbol, timeframe, source):
    bars = pl.read_parquet(real_data / "bars" / f"{file}.parquet").rename({"spread": "spread_points"})
    table = spread_table(bars, timeframe, assumed_spec("real", symbol))
    assert table.source == source
    if file == "EURUSD_M30_sk":
        assert table.points[17] == 24
        assert (np.delete(table.points, 17) == 16).all()
