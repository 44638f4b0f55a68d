"""Values worked out by hand, one small frame for each feature that can be."""

from __future__ import annotations

import math

import polars as pl
import pytest

from feature_store.features import all_features
from feature_store.features._zscore import zscore


def last(name: str, **columns: list[float]) -> float:
    one = next(f for f in all_features() if f.name == name)
    return float(pl.DataFrame(columns).select(one.expression()).to_series()[-1])


def test_a_scaled_return_is_the_change_over_its_usual_size_for_that_many_bars() -> None:
    # 12 points over three bars, each of which usually moves 4: 12 / (4 * sqrt 3).
    assert last("scaled_return_3", close=[100, 0, 0, 112], volatility=[4.0] * 4) == pytest.approx(12 / (4 * math.sqrt(3)))


def test_momentum_is_the_fast_mean_less_the_slow_one_in_atr() -> None:
    close = [100.0] * 36 + [108.0] * 12
    # Fast mean 108, slow mean (36 * 100 + 12 * 108) / 48 = 102.
    assert last("momentum", close=close, atr=[3.0] * 48) == pytest.approx(2.0)


def test_distance_to_mean_is_in_atr() -> None:
    # Mean of nineteen 100 and one 120 is 101.
    assert last("distance_to_mean", close=[100.0] * 19 + [120.0], atr=[9.5] * 20) == pytest.approx(2.0)


def test_rsi_is_the_share_of_the_path_that_went_up() -> None:
    assert last("rsi", change=[3] * 7 + [-1] * 7) == pytest.approx(75.0)
    assert last("rsi", change=[1] * 14) == 100.0
    assert math.isnan(last("rsi", change=[0] * 14))


def test_range_position_is_0_at_the_low_and_1_at_the_high() -> None:
    high, low = [110] * 23 + [120], [100] * 23 + [105]
    assert last("range_position", high=high, low=low, close=[105] * 23 + [115]) == pytest.approx(0.75)


def test_bar_body_is_signed_and_unknown_where_the_bar_has_no_range() -> None:
    assert last("bar_body", open=[108], high=[110], low=[100], close=[103]) == pytest.approx(-0.5)
    assert math.isnan(last("bar_body", open=[100], high=[100], low=[100], close=[100]))


def test_gap_is_from_the_close_before_to_the_open() -> None:
    assert last("gap", open=[0, 130], close=[100, 0], atr=[20.0, 20.0]) == pytest.approx(1.5)


def test_volatility_ratio_is_1_where_nothing_changed() -> None:
    assert last("volatility_ratio", change=[5, -5] * 6, volatility=[5.0] * 12) == pytest.approx(1.0)


def test_normalised_atr_is_in_basis_points() -> None:
    assert last("normalised_atr", close=[110_000], atr=[110.0]) == pytest.approx(10.0)


def test_spread_in_atr() -> None:
    assert last("spread_atr", spread_points=[12], atr=[80.0]) == pytest.approx(0.15)


def test_a_zscore_is_exact_and_a_frozen_column_has_none() -> None:
    frame = pl.DataFrame({"x": [7] * 60 + [1, 2, 3, 4]})
    scores = frame.select(zscore(pl.col("x"), 4)).to_series().to_list()
    # 1, 2, 3, 4: mean 2.5, variance 1.25.
    assert scores[-1] == pytest.approx(1.5 / math.sqrt(1.25))
    assert all(math.isnan(s) for s in scores[3:60])


@pytest.mark.parametrize(("hour", "sin", "cos"), [(0, 0, 1), (6, 1, 0), (12, 0, -1), (18, -1, 0)])
def test_the_hour_goes_round_once_a_new_york_day(hour: int, sin: float, cos: float) -> None:
    moment = 19_800 * 86400 + hour * 3600
    assert last("new_york_hour_sin", new_york_s=[moment]) == pytest.approx(sin, abs=1e-12)
    assert last("new_york_hour_cos", new_york_s=[moment]) == pytest.approx(cos, abs=1e-12)


def test_the_day_before_may_be_left_on_either_side() -> None:
    columns = {"d1.high": [1200], "d1.low": [1000]}
    assert last("day_before_position", close=[1250], **columns) == pytest.approx(1.25)
    assert last("day_before_position", close=[950], **columns) == pytest.approx(-0.25)


def test_the_week_is_measured_against_ten_days_of_change() -> None:
    close = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert last("d1_return", close=close) == pytest.approx(50 / (10 * math.sqrt(5)))


def test_correlation_with_a_lead_that_moves_alike_twice_as_far_or_against_is_1_and_minus_1() -> None:
    change = [3, -5, 2, 7] * 12
    lead = [0]
    for step in change:
        lead.append(lead[-1] + 2 * step)
    columns: dict[str, list[float]] = {"change": [None, *change], "volatility": [math.sqrt(21.75)] * 49}  # type: ignore[list-item]
    assert last("lead_correlation", **columns, **{"lead.close": lead}) == pytest.approx(1.0)
    assert last("lead_correlation", **columns, **{"lead.close": [-x for x in lead]}) == pytest.approx(-1.0)
