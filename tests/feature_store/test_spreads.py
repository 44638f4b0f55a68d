from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.bars import epoch_s
from feature_store.clock import new_york_hour
from feature_store.labels import charged_spread
from feature_store.spreads import assumed_table, spread_table
from feature_store.store import Store
from feature_store.symbols import assumed_spec
from tests.conftest import make_bars

EURUSD = assumed_spec("sim", "EURUSD")


@pytest.fixture
def quarter_hours() -> pl.DataFrame:
    """M15 bars of about two months of 2024, spreads as made."""
    return make_bars(datetime(2024, 2, 12, tzinfo=UTC), 4000, step_s=900)


FLICKER = np.random.default_rng(3).integers(-1, 2, 20_000)
"""-1, 0 or 1 by bar: spreads that never move are not believed."""


def with_spreads(bars: pl.DataFrame, points: object) -> pl.DataFrame:
    return bars.with_columns(pl.Series("spread_points", points, dtype=pl.Int32))


def charged(table, own_points, times) -> np.ndarray:
    """What labels, backtests and replays charge, in points."""
    return charged_spread(own_points, table.at(times), 1.0, table.high_at(times))


def test_measured_points_are_the_median_of_each_new_york_hour_in_both_seasons(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    table = spread_table(with_spreads(quarter_hours, np.where(hours == 17, 40, 10 + hours)), "M15", EURUSD)
    assert table.source == "measured"
    expected = [float(40 if hour == 17 else 10 + hour) for hour in range(24)]
    assert table.points.tolist() == expected


def test_zeros_and_unknown_spreads_do_not_count_as_free(quarter_hours):
    points = [0 if i % 20 == 0 else None if i % 7 == 0 else 13 + FLICKER[i] for i in range(quarter_hours.height)]
    table = spread_table(with_spreads(quarter_hours, points), "M15", EURUSD)
    assert table.source == "measured"
    assert (table.points == 13).all() and (table.high == 14).all()
    noon = np.full(5, int(datetime(2024, 3, 6, 16, tzinfo=UTC).timestamp()))
    assert charged(table, [0.0, np.nan, 12.0, 13.0, 50.0], noon).tolist() == [14, 14, 13, 13, 50]
    assert "5.8% are 0 and pay the high one" in table.evidence


@pytest.mark.parametrize(
    ("points", "timeframe"),
    [
        (lambda i: None, "M15"),  # nothing known
        (lambda i: 0 if i % 2 else 3, "M15"),  # half zeros: a bar's minimum
        (lambda i: 12 if i < 499 else None, "M15"),  # too few
        (lambda i: 12 + FLICKER[i], "H4"),  # the minimum of four hours
        (lambda i: 20, "M15"),  # never moves: a setting, not a market
    ],
)
def test_spreads_that_cannot_be_believed_give_the_assumed_table(quarter_hours, points, timeframe):
    table = spread_table(with_spreads(quarter_hours, [points(i) for i in range(quarter_hours.height)]), timeframe, EURUSD)
    assert table.source == "assumed"
    assert table.points[17] == table.high[17] == 43
    assert (np.delete(table.points, 17) == 16).all() and (np.delete(table.high, 17) == 18).all()


def test_hours_without_enough_spreads_take_the_assumed_shape_at_the_measured_level(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    points = [None if hour == 17 else 32 + FLICKER[i] for i, hour in enumerate(hours)]
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


@pytest.mark.parametrize(
    ("symbol", "price", "points"),
    [("XAGUSD", 25.0, 30), ("XPTUSD", 1000.0, 120), ("USDZAR", 18.0, 1800), ("EURPLN", 4.3, 430), ("BTCUSD", 50_000.0, 3000)],
)
def test_metals_thin_currencies_and_coins_cost_more_than_a_cross(symbol, price, points):
    assert assumed_table(assumed_spec("sim", symbol), price).points[12] == pytest.approx(points)


def test_no_spread_is_ever_below_one_point():
    assert assumed_table(replace(assumed_spec("sim", "NZDUSD"), point=1.0), 0.6).points.min() == 1.0


def test_the_table_is_looked_up_by_new_york_hour(quarter_hours):
    table = assumed_table(EURUSD, 1.1)
    winter, summer = (int(datetime(2024, month, 10, hour, 30, tzinfo=UTC).timestamp()) for month, hour in ((1, 22), (7, 21)))
    assert table.at(np.array([winter, winter + 3600, summer, summer + 3600])).tolist() == [43, 16, 43, 16]


def test_the_store_measures_its_shortest_bars_and_assumes_when_it_cannot(tmp_path, quarter_hours):
    store = Store(tmp_path / "s.duckdb")
    known = {"origin": "test", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    store.ingest(
        "a", "EURUSD", "M15", with_spreads(quarter_hours, [11 + FLICKER[i] for i in range(quarter_hours.height)]), **known
    )
    store.ingest("b", "EURUSD", "M15", with_spreads(quarter_hours, [None] * quarter_hours.height), **known)
    measured, assumed = store.spread_table("a", "EURUSD"), store.spread_table("b", "EURUSD")
    assert (measured.source, measured.points[3]) == ("measured", 11)
    assert (assumed.source, assumed.points[3]) == ("assumed", 16)


def test_plug_values_are_left_out_and_counted_in_the_evidence(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    usual = np.where(hours == 17, 44 + 4 * FLICKER[: len(hours)], 13 + FLICKER[: len(hours)])
    plugged = (hours == 17) & (np.random.default_rng(4).random(len(hours)) < 0.7)
    table = spread_table(with_spreads(quarter_hours, np.where(plugged, 100, usual)), "M15", EURUSD)
    assert table.points[17] == pytest.approx(44, abs=4) and table.points[3] == 13
    assert f"{plugged.sum():,} plugs of exactly 100 left out" in table.evidence


def test_spreads_of_four_digit_brokers_in_tens_are_no_plugs(quarter_hours):
    hours = new_york_hour(epoch_s(quarter_hours["time"]))
    roll = 10 * np.random.default_rng(5).integers(6, 14, len(hours))  # 60, 70 ... 130
    tens = np.where(hours == 17, roll, 20 + 10 * np.abs(FLICKER[: len(hours)]))
    table = spread_table(with_spreads(quarter_hours, tens), "M15", EURUSD)
    assert "plug" not in table.evidence and 80 <= table.points[17] <= 110


def years_of_hours(levels: dict[int, object]) -> pl.DataFrame:
    """H1 bars of whole years from 2019 on whose spreads are what `levels` says of each year and bar."""
    bars = make_bars(datetime(2019, 1, 1, tzinfo=UTC), 6200 * len(levels), step_s=3600)
    years = bars["time"].dt.year().to_list()
    last = max(levels)
    return with_spreads(bars, [levels[min(year, last)](i) for i, year in enumerate(years)])


def test_each_level_of_the_years_has_its_own_table():
    bars = years_of_hours({2019: lambda i: 9 + FLICKER[i], 2020: lambda i: 31 + FLICKER[i], 2021: lambda i: 15 + FLICKER[i]})
    table = spread_table(bars, "H1", EURUSD)
    at = np.array([int(datetime(year, 6, 3, 14, tzinfo=UTC).timestamp()) for year in (2010, 2019, 2020, 2021, 2030)])
    assert table.at(at).tolist() == [9, 9, 31, 15, 15]
    assert table.points[10] == 15 and "3 levels since 2019-01" in table.evidence


def test_a_frozen_year_pays_the_dearer_of_the_years_beside_it():
    bars = years_of_hours({2019: lambda i: 9 + FLICKER[i], 2020: lambda i: 2, 2021: lambda i: 15 + FLICKER[i]})
    table = spread_table(bars, "H1", EURUSD)
    frozen = np.array([int(datetime(2020, 6, 3, 14, tzinfo=UTC).timestamp())])
    assert table.at(frozen).tolist() == [15] and table.high_at(frozen).tolist() == [16]
    assert "1 stretch not believed" in table.evidence


SPREADS = st.lists(st.one_of(st.none(), st.integers(0, 300)), min_size=600, max_size=900)


@settings(max_examples=12, deadline=None)
@given(SPREADS, st.sampled_from(["M15", "H1", "D1"]))
def test_whatever_the_bars_say_no_hour_is_free_and_silence_costs_no_less_than_the_usual(points, timeframe):
    bars = with_spreads(make_bars(datetime(2024, 2, 12, tzinfo=UTC), len(points), step_s=900), points)
    table, times = spread_table(bars, timeframe, EURUSD), epoch_s(bars["time"])
    own = np.array([np.nan if p is None else float(p) for p in points])
    assert (table.points >= 1).all() and (table.high >= table.points).all()
    assert (charged(table, own, times) >= np.fmax(np.nan_to_num(own), table.at(times))).all()
    assert (charged(table, np.zeros(len(own)), times) == table.high_at(times)).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0.01, 1)), min_size=1, max_size=50))
def test_no_spread_up_to_the_high_one_becomes_cheaper_by_zeroing_and_none_up_to_the_usual_by_lowering(drawn):
    table = assumed_table(EURUSD, 1.1)
    times = int(datetime(2024, 3, 4, tzinfo=UTC).timestamp()) + 3600 * np.arange(len(drawn))
    own, share = np.array(drawn).T
    paid = charged(table, own, times)
    tame = own <= table.high_at(times)
    assert (charged(table, np.zeros(len(own)), times)[tame] >= paid[tame]).all()
    low = own <= table.at(times)
    assert (charged(table, own * share, times)[low] == paid[low]).all()


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "plug", "roll"), [("EURUSD_H1_ln", 100, 22.0), ("XAUUSD_H1_ln", 250, 158.0)])
def test_plugs_of_real_feeds_do_not_reach_the_table(real_data, file, plug, roll):
    bars = pl.read_parquet(real_data / "bars" / f"{file}.parquet").rename({"spread": "spread_points"})
    table = spread_table(bars, "H1", assumed_spec("real", file[:6]))
    assert table.source == "measured" and f"plugs of exactly {plug} left out" in table.evidence
    assert table.points[17] == roll and len(table.stretches) > 1


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["EURUSD_M30_sk", "USDJPY_M30_sk", "EURUSD_H1_ln", "GBPUSD_M1_nt"])
def test_a_real_feed_whose_spreads_are_all_zeroed_does_not_become_cheaper(real_data, file):
    symbol, timeframe, _ = file.split("_")
    bars = pl.read_parquet(real_data / "bars" / f"{file}.parquet").rename({"spread": "spread_points"})
    spec, times = assumed_spec("real", symbol), epoch_s(bars["time"])
    own = bars["spread_points"].cast(pl.Float64).to_numpy()
    told = charged(spread_table(bars, timeframe, spec), own, times)
    silent = charged(spread_table(with_spreads(bars, np.zeros(len(own))), timeframe, spec), np.zeros(len(own)), times)
    assert silent.mean() > told.mean()


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
