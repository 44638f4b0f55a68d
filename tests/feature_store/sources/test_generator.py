"""The generated market: same draws for ever, consistent bars, habits of real majors, an edge of the past only."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from benchmarks.generator import (
    ACCEPT,
    ACCEPT_LONG,
    CORRELATIONS,
    auc,
    correlations,
    facts,
    measure,
    measure_long,
    returns_bp,
    sign_auc,
)
from feature_store._errors import Final
from feature_store.bars import SCHEMA, bar_open, epoch_s, resample
from feature_store.clock import is_open_s, new_york_hour
from feature_store.sources import _market_edge as edge
from feature_store.sources._market_tables import CURRENCIES
from feature_store.sources.generator import DEFAULT_EDGE, Market, MarketConfig, amplitude_of, generate

SUNDAY = datetime(2022, 10, 23, 21, tzinfo=UTC)  # 17:00 New York, two weeks before clocks change
ALL = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "USDCAD", "EURJPY", "EURGBP")
SHORT = MarketConfig(symbols=ALL, start=SUNDAY, days=28, seed=7, edge=DEFAULT_EDGE)


@pytest.fixture(scope="module")
def market() -> Market:
    return generate(SHORT)


@pytest.fixture(scope="module")
def year_without_edge() -> Market:
    return generate(MarketConfig(symbols=("EURUSD", "USDJPY"), start=SUNDAY, days=364, seed=3))


@pytest.mark.parametrize("symbol", ALL)
def test_bars_have_the_shared_schema_and_consistent_prices_on_the_point_grid(market, symbol):
    bars, spec = market.bars(symbol), market.spec(symbol, "sim")
    assert dict(bars.schema) == SCHEMA
    assert bars["time"].is_sorted() and bars["time"].is_unique().all()
    assert (bars["high"] >= bars.select(pl.max_horizontal("open", "close")).to_series()).all()
    assert (bars["low"] <= bars.select(pl.min_horizontal("open", "close")).to_series()).all()
    for column in ("open", "high", "low", "close"):
        prices = bars[column].to_numpy()
        np.testing.assert_array_equal(prices, np.round(prices, spec.digits))
    assert bars["spread_points"].min() >= 1 and bars["tick_volume"].min() >= 1
    assert bars.select("open", "tick_volume", "spread_points").null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("symbol", ["EURUSD", "EURJPY"])
def test_no_bar_stands_on_a_weekend_or_holiday_and_no_open_hour_lacks_one(symbol):
    over_new_year = generate(MarketConfig(symbols=(symbol,), start=datetime(2023, 12, 17, 22, tzinfo=UTC), days=21, seed=1))
    times = epoch_s(over_new_year.bars(symbol)["time"])
    assert is_open_s("sim", times).all()
    hours = np.arange(*over_new_year.config.span_s, 3600)
    np.testing.assert_array_equal(np.unique(times - times % 3600), hours[is_open_s("sim", hours)])


def test_the_week_opens_and_closes_at_17_new_york_on_both_sides_of_a_clock_change(market):
    week = resample(market.bars("EURUSD"), "W1")["time"].to_list()
    assert week == [datetime(2022, 10, 23, 21), datetime(2022, 10, 30, 21), datetime(2022, 11, 6, 22), datetime(2022, 11, 13, 22)]
    hours = epoch_s(resample(market.bars("EURUSD"), "H1")["time"])
    assert np.unique(bar_open(hours, "W1"), return_counts=True)[1].tolist() == [120, 120, 120, 120]


def test_arrays_hold_the_same_bars_and_cannot_be_written_to(market):
    arrays, bars = market.arrays("USDJPY"), market.bars("USDJPY")
    np.testing.assert_array_equal(arrays["time"], epoch_s(bars["time"]))
    for name in ("open", "high", "low", "close", "spread_points", "tick_volume"):
        np.testing.assert_array_equal(arrays[name], bars[name].to_numpy())
    with pytest.raises(ValueError, match="read-only"):
        arrays["close"][0] = 1.0


def test_same_configuration_gives_the_same_bars_and_another_seed_gives_others(market):
    again, other = generate(SHORT), generate(replace(SHORT, seed=8))
    assert_frame_equal(again.bars("GBPUSD"), market.bars("GBPUSD"))
    assert not again.bars("GBPUSD").equals(other.bars("GBPUSD"))


@settings(max_examples=6, deadline=None)
@given(days=st.integers(1, 27))
def test_a_longer_market_begins_with_the_shorter_one_in_bars_and_truth(market, days):
    shorter = generate(replace(SHORT, symbols=("EURUSD", "EURJPY"), days=days))
    for symbol in shorter.config.symbols:
        bars = shorter.bars(symbol)
        assert_frame_equal(market.bars(symbol).head(bars.height), bars)
        times, mean = shorter.truth(symbol, "H1")
        np.testing.assert_array_equal(market.truth(symbol, "H1")[0][: len(times)], times)
        np.testing.assert_array_equal(market.truth(symbol, "H1")[1][: len(times)], mean)


@pytest.mark.parametrize("symbol", ["EURUSD", "USDCAD", "EURGBP"])
def test_other_symbols_in_the_list_do_not_move_a_symbol(market, symbol):
    alone = generate(replace(SHORT, symbols=(symbol,)))
    assert_frame_equal(alone.bars(symbol), market.bars(symbol))


@pytest.mark.parametrize(
    ("cross", "first", "second", "product"),
    [("EURJPY", "EURUSD", "USDJPY", True), ("EURGBP", "EURUSD", "GBPUSD", False)],
)
def test_crosses_equal_products_of_the_majors_within_rounding(market, cross, first, second, product):
    def mid(symbol: str) -> pl.DataFrame:
        half = pl.col("spread_points") * market.spec(symbol, "sim").point / 2
        return market.bars(symbol).select("time", (pl.col("close") + half).alias(symbol))

    mids = mid(cross).join(mid(first), on="time").join(mid(second), on="time")
    expected = mids[first] * mids[second] if product else mids[first] / mids[second]
    # Half a point of rounding in each of the three, seen at the scale of the cross.
    half_points = sum(market.spec(s, "sim").point / 2 / mids[s].min() for s in (cross, first, second))
    assert ((mids[cross] / expected - 1).abs() <= half_points * 1.001).all()
    assert mids.height > 25_000


def test_the_drift_can_be_worked_out_by_anyone_from_published_h1_bars(market):
    """The formula in the docstring, written again in plain numpy over closed bars: nothing else goes in."""
    h1 = resample(market.bars("USDJPY"), "H1")
    times, close = epoch_s(h1["time"]), np.log(h1["close"].to_numpy())
    hours = new_york_hour(times)
    sd = np.array(CURRENCIES["JPY"].volatility_bp)[hours] * 1e-4
    weight, level = 1 - 0.5 ** (1 / edge.LEVEL_HALF_LIFE_HOURS), 1.0
    expected = np.zeros(len(times))
    for i in range(len(times) - 1):
        if i:
            level += weight * (math.sqrt(math.pi / 2) * min(abs(close[i] - close[i - 1]) / sd[i], 6.0) - level)
        if i >= 24:
            z = (close[i] - close[i - 24]) / (level * np.sqrt((sd[i - 23 : i + 1] ** 2).sum()))
            expected[i] = edge.STRENGTH[hours[i + 1]] * sd[i + 1] * level * math.tanh(edge.STEEPNESS * z)
    published, mean = market.truth("USDJPY", "H1")
    np.testing.assert_array_equal(published, times)
    np.testing.assert_allclose(mean, expected * amplitude_of(DEFAULT_EDGE), atol=1e-12)
    assert np.count_nonzero(mean) > 300


def test_truth_of_shorter_bars_is_their_share_of_the_hour_and_longer_ones_are_refused(market):
    times, mean = market.truth("EURUSD", "H1")
    short, short_mean = market.truth("EURUSD", "M15")
    last_quarter = np.isin(short, times + 2700)  # known at the same moment as the hour
    shared = np.isin(times + 2700, short)
    np.testing.assert_allclose(short_mean[last_quarter], mean[shared] / 4)
    with pytest.raises(Final, match="H4"):
        market.truth("EURUSD", "H4")


def test_truth_of_a_cross_is_the_difference_of_its_legs(market):
    legs = market.truth("EURUSD", "H1")[1] + market.truth("USDJPY", "H1")[1]
    np.testing.assert_allclose(market.truth("EURJPY", "H1")[1], legs, atol=1e-18)
    assert np.count_nonzero(legs) > 300


def test_without_an_edge_the_truth_is_zero_and_the_next_sign_is_a_coin(year_without_edge):
    for symbol in year_without_edge.config.symbols:
        assert not year_without_edge.truth(symbol, "M1")[1].any()
        h1 = resample(year_without_edge.bars(symbol), "H1")
        # Two standard errors of an AUC over 5,400 signs are 0.016.
        assert abs(sign_auc(h1, "H1", leave_out=(16, 17, 18)) - 0.5) < 0.016


def test_the_edge_shows_in_the_next_hour_as_much_as_its_amplitude_says():
    config = MarketConfig(symbols=("EURUSD", "GBPUSD", "USDJPY", "AUDUSD"), start=SUNDAY, days=364, seed=5, edge=DEFAULT_EDGE)
    planted = generate(config)
    slopes, aucs = [], []
    for symbol in config.symbols:
        h1 = resample(planted.bars(symbol), "H1")
        times, mean = planted.truth(symbol, "H1")
        np.testing.assert_array_equal(times, epoch_s(h1["time"]))
        r = returns_bp(h1, "H1")[1:] * 1e-4
        m = mean[:-1]
        keep = np.isfinite(r) & (m != 0)
        slopes.append((r[keep] * m[keep]).sum() / (m[keep] ** 2).sum())
        aucs.append(auc(m[keep], r[keep] > 0))
    # Unbiased: a unit of stated mean is a unit of return. Theory for the AUC: Phi(drift / sd) on hours that have one.
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.12)
    assert 0.56 < np.mean(aucs) < 0.64


def test_an_edge_leaves_volatility_spread_and_volume_where_they_were(year_without_edge):
    planted = generate(replace(year_without_edge.config, edge=DEFAULT_EDGE))
    with_edge, without = planted.bars("EURUSD"), year_without_edge.bars("EURUSD")
    assert_frame_equal(
        with_edge.select("time", "tick_volume", "spread_points"), without.select("time", "tick_volume", "spread_points")
    )
    sd = [np.nanstd(returns_bp(resample(bars, "H1"), "H1")) for bars in (with_edge, without)]
    assert sd[0] / sd[1] == pytest.approx(1.0, abs=0.05)


def test_the_bid_falls_with_the_wide_spread_at_17_new_york_and_comes_back(year_without_edge):
    bars = year_without_edge.bars("USDJPY")
    r, times = returns_bp(bars, "M1"), epoch_s(bars["time"])
    minute = (times % 3600) // 60
    hours = new_york_hour(times)
    into_the_roll = np.nanmean(r[(hours == 17) & (minute == 0)])
    out_of_it = np.nansum(r[(hours == 17) & (minute > 0)]) / np.sum((hours == 17) & (minute == 30))
    assert into_the_roll < -0.5  # bp: half of the widening by some 20 points
    assert out_of_it > 0.3


def test_a_year_of_one_major_has_the_habits_of_a_real_one(year_without_edge):
    measured = facts(year_without_edge.bars("EURUSD"))
    # A single year of one symbol scatters about the mean of years: half the accepted range on either side.
    outside = {
        name: value
        for name, value in measured.items()
        for _, low, high in [ACCEPT[name]]
        if not low - (high - low) / 2 <= value <= high + (high - low) / 2
    }
    assert not outside


def test_correlations_of_majors_have_the_signs_of_real_ones_and_the_franc_follows_the_euro_most(market):
    measured = correlations({symbol: market.bars(symbol) for symbol in ALL[:6]})
    assert {pair: np.sign(value) for pair, value in measured.items()} == {p: np.sign(v) for p, v in CORRELATIONS.items()}
    assert min(measured, key=measured.__getitem__) == ("EURUSD", "USDCHF")


@pytest.mark.slow
def test_every_habit_lies_in_the_accepted_range_over_three_seeds_and_six_majors():
    for accept, measured in ((ACCEPT, measure(seeds=(1, 2, 3), days=364)), (ACCEPT_LONG, measure_long(seeds=(1, 2, 3)))):
        means = {name: float(values.mean()) for name, values in measured.items()}
        assert set(means) == set(accept)
        assert {name: v for name, v in means.items() if not accept[name][1] <= v <= accept[name][2]} == {}


def test_the_broker_of_the_market_states_its_specification(market):
    spec = market.spec("EURJPY", "sim")
    assert (spec.feed, spec.symbol, spec.digits, spec.point, spec.source) == ("sim", "EURJPY", 3, 0.001, "broker")
    assert (spec.base_currency, spec.profit_currency, spec.contract_size) == ("EUR", "JPY", 100_000.0)


def test_amplitude_grows_with_the_edge_and_is_nothing_without_one():
    amplitudes = [amplitude_of(edge) for edge in (0.0, *np.linspace(1.5, 20, 21))]
    assert amplitudes[0] == 0.0
    assert (np.diff(amplitudes) > 0).all()


def test_an_edge_too_weak_to_pay_its_costs_is_refused_because_its_strength_cannot_be_stated():
    with pytest.raises(Final, match="never measured"):
        amplitude_of(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": datetime(2022, 1, 3)}, "no time zone"),
        ({"days": 0}, "0 days"),
        ({"start": datetime(2022, 10, 22, tzinfo=UTC), "days": 1}, "closed all the time"),
        ({"symbols": ()}, "at least one"),
        ({"symbols": ("EURUSD", "EURUSD")}, "named once"),
        ({"symbols": ("USDEUR",)}, "USDEUR"),
        ({"symbols": ("EURXYZ",)}, "EURXYZ"),
        ({"edge": -1.0}, "edge -1"),
        ({"edge": 1000.0}, "edge 1000"),
        ({"edge": math.nan}, "edge nan"),
    ],
)
def test_a_market_that_cannot_be_made_is_refused_with_what_is_allowed(change, message):
    with pytest.raises(Final, match=message):
        replace(SHORT, **change)


def test_a_symbol_outside_the_market_is_refused(market):
    with pytest.raises(Final, match="GBPJPY"):
        market.bars("GBPJPY")
