"""More values worked out by hand: estimators, oscillators, candles, activity, cost, calendar, context and regime."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_store.features._measures import exponential_weights
from feature_store.features.fractional import fractional_weights
from feature_store.features.trend import macd_histogram_weights
from tests.feature_store.features.test_values import last

OHLC = ("open", "high", "low", "close")


def bars(*rows: tuple[float, ...], repeated: int = 1) -> dict[str, list[float]]:
    """Columns of bars written as open, high, low, close."""
    return {name: [row[at] for row in rows] * repeated for at, name in enumerate(OHLC)}


# --- returns and fractional differences -------------------------------------------------------------------------


def test_autocorrelation_is_minus_1_where_each_move_is_taken_back_and_a_half_where_moves_come_in_pairs() -> None:
    assert last("autocorrelation", change=[3, -3] * 25) == pytest.approx(-1.0)
    # Products 2*2, 2*0, 0*0, 0*2 over squares 4, 4, 0, 0: 4 of 8.
    assert last("autocorrelation", change=[2, 2, 0, 0] * 12 + [2]) == pytest.approx(0.5)


def test_fractional_weights_follow_the_binomial_series_and_sum_to_nothing() -> None:
    # Of order 0.4: 1, -0.4, -0.4 * 0.6 / 2, -0.12 * 1.6 / 3; what is cut off stands on the oldest.
    weights = fractional_weights(0.4, 5)[::-1]
    assert weights == pytest.approx([1, -0.4, -0.12, -0.064, -0.416])
    assert math.fsum(fractional_weights(0.4, 96)) == pytest.approx(0, abs=1e-15)
    assert fractional_weights(1.0, 4) == pytest.approx([0, 0, -1, 1])  # a whole difference


def test_a_fractional_difference_keeps_a_part_of_a_step_that_lies_back() -> None:
    # A step of 10 three bars ago: 10 * (1 - 0.4 - 0.12), in a volatility of 2.
    assert last("fractional_difference", close=[100.0] * 93 + [110.0] * 3, volatility=[2.0] * 96) == pytest.approx(2.4)


# --- volatility -------------------------------------------------------------------------------------------------


def test_parkinson_is_the_root_of_the_mean_squared_range_over_4_ln_2() -> None:
    assert last("parkinson_ratio", high=[120] * 48, low=[100] * 48, volatility=[10.0] * 48) == pytest.approx(
        20 / math.sqrt(4 * math.log(2)) / 10
    )


def test_garman_klass_ratio_is_2_where_recent_bars_are_twice_as_long_as_all() -> None:
    # 42 bars of range 10 and 6 of range r: GK of the six over that of all 48, r**2 * 48 / (42 * 100 + 6 * r**2) = 4 * ...
    long, short = (0, 40, 0, 0), (0, 10, 0, 0)
    columns = bars(*[short] * 42, *[long] * 6)
    assert last("garman_klass_ratio", **columns) == pytest.approx(math.sqrt(1600 / ((42 * 100 + 6 * 1600) / 48)))


def test_garman_klass_takes_off_a_part_of_the_body() -> None:
    # Recent bars are all body, older ones all wick, with the same range of 10: (0.5 - (2 ln 2 - 1)) against 0.5.
    columns = bars(*[(0, 10, 0, 0)] * 42, *[(0, 10, 0, 10)] * 6)
    body, wick = 0.5 - (2 * math.log(2) - 1), 0.5
    assert last("garman_klass_ratio", **columns) == pytest.approx(math.sqrt(body / ((42 * wick + 6 * body) / 48)))


def test_rogers_satchell_sees_no_volatility_in_bars_that_only_run() -> None:
    assert last("rogers_satchell_ratio", **bars((0, 10, 0, 10), repeated=24)) == 0
    # Open and close in the middle of a range of 10: 5 * 5 + 5 * 5 = 50; Parkinson 100 / (4 ln 2).
    half = bars((5, 10, 0, 5), repeated=24)
    assert last("rogers_satchell_ratio", **half) == pytest.approx(math.sqrt(50 * 4 * math.log(2) / 100))


def test_yang_zhang_of_bodies_that_alternate() -> None:
    # No gaps but from close to open: opens at 1000, bodies +2 and -2, so gaps of -2 and +2 from the second bar on.
    up, down = (1000, 1002, 1000, 1002), (1000, 1000, 998, 998)
    columns = bars(up, down, repeated=48)
    columns = {name: [*values, values[0]] for name, values in columns.items()}
    k = 0.34 / (1.34 + 97 / 95)
    variance = 4 * 96 / 95  # of gaps and of bodies alike: mean 0, 96 squares of 4
    assert last("yang_zhang", **columns) == pytest.approx(math.sqrt(variance * (1 + k)) / 1002 * 10_000)


def test_volatility_of_volatility_is_0_for_equal_steps_and_1_where_every_second_stands_still() -> None:
    assert last("volatility_of_volatility", change=[5, -5] * 24) == 0
    assert last("volatility_of_volatility", change=[0, 6] * 24) == pytest.approx(1.0)


def test_one_jump_among_quiet_bars_is_all_of_the_variance() -> None:
    assert last("jump_share", change=[0] * 40 + [50] + [0] * 7) == pytest.approx(1.0)
    # Equal steps: bipower is pi / 2 of the realised variance.
    assert last("jump_share", change=[5, -5] * 24) == pytest.approx(1 - math.pi / 2)


def test_semivariance_balance_weighs_large_moves() -> None:
    # Falls of 3 twelve times, rises of 1 twelve times: (1 - 9) / (1 + 9).
    assert last("semivariance_balance", change=[-3, 1] * 12) == pytest.approx(-0.8)


def test_bollinger_width_is_the_deviation_in_atr() -> None:
    assert last("bollinger_width", close=[90, 110] * 10, atr=[5.0] * 20) == pytest.approx(2.0)


# --- trend and oscillators --------------------------------------------------------------------------------------


def test_exponential_weights_are_in_proportion_and_sum_to_1() -> None:
    assert exponential_weights(3, 3) == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_macd_weights_know_no_level_and_follow_line_less_signal() -> None:
    # Line of 1 and 3 over two bars: (1, 0) less (1/3, 2/3) oldest first is -(1/3), 1/3 ... signal of 1 is the line itself.
    assert macd_histogram_weights(1, 3, 1, 2, 1) == pytest.approx([0, 0])
    # Signal of 3 over two bars: 2/3 of the line now and 1/3 of the line before; line = (-1/3, 1/3).
    assert macd_histogram_weights(1, 3, 3, 2, 2) == pytest.approx([1 / 9, -2 / 9, 1 / 9])
    assert math.fsum(macd_histogram_weights(12, 26, 9, 120, 40)) == pytest.approx(0, abs=1e-15)


def test_efficiency_is_1_on_a_straight_line_and_0_where_the_price_stands_still() -> None:
    assert last("efficiency_ratio", close=list(range(25))) == 1
    assert last("efficiency_ratio", close=[7] * 25) == 0
    # 12 up by 3, 12 down by 1: distance 24 of a path of 48.
    path = np.cumsum([0] + [3] * 12 + [-1] * 12).tolist()
    assert last("efficiency_ratio", close=path) == pytest.approx(0.5)


def test_variance_ratio_of_a_line_is_its_step_and_of_a_see_saw_is_0() -> None:
    assert last("variance_ratio_4", close=list(range(100))) == pytest.approx(4.0)
    assert last("variance_ratio_4", close=[0, 1] * 50) == 0
    assert last("variance_ratio_12", close=list(range(108))) == pytest.approx(12.0)


def test_trend_correlation_is_1_on_a_line_whatever_its_slope() -> None:
    assert last("trend_correlation", close=[3 * i for i in range(24)]) == pytest.approx(1.0)
    assert last("trend_correlation", close=[-7 * i for i in range(24)]) == pytest.approx(-1.0)
    # One step in the middle: covariance 6, variances 143.75 / 3 and 0.25.
    expected = np.corrcoef(np.arange(24), [0] * 12 + [1] * 12)[0, 1]
    assert last("trend_correlation", close=[0] * 12 + [1] * 12) == pytest.approx(expected)


def test_directional_movement_counts_the_larger_side_of_each_bar_alone() -> None:
    # Seven bars push the high by 6 (low up by 2), seven push the low down by 2 (high down by 1).
    high = np.cumsum([100] + [6] * 7 + [-1] * 7).tolist()
    low = np.cumsum([50] + [2] * 7 + [-2] * 7).tolist()
    assert last("directional_balance", high=high, low=low) == pytest.approx((42 - 14) / (42 + 14))
    # Both sides by the same: neither counts.
    assert last("directional_balance", high=[100 + i for i in range(15)], low=[50 - i for i in range(15)]) == 0


def test_adx_is_100_in_a_run_and_0_where_nothing_moves() -> None:
    assert last("adx", high=[100 + i for i in range(28)], low=[50 + i for i in range(28)]) == pytest.approx(100.0)
    assert last("adx", high=[100] * 28, low=[50] * 28) == 0


def test_aroon_tells_how_fresh_the_extremes_are_and_the_newest_of_equal_ones_counts() -> None:
    high, low = [10.0] * 26, [0.0] * 26
    high[5], high[20] = 15, 15  # 5 bars ago, though 20 bars ago was as high
    low[10] = -3  # 15 bars ago
    assert last("aroon", high=high, low=low) == pytest.approx(100 * (15 - 5) / 25)


def test_cci_is_in_mean_deviations() -> None:
    # Thirteen typical prices of 100 and one of 114: mean 101, mean deviation 26 / 14.
    prices = [100] * 13 + [114]
    assert last("cci", high=prices, low=prices, close=prices) == pytest.approx(13 / (0.015 * 26 / 14))


def test_choppiness_is_0_on_the_way_and_100_to_and_fro() -> None:
    # Path 14 * 10 in a range of 140, and in a range of 10.
    rise = {"high": [10 * (i + 1) for i in range(14)], "low": [10 * i for i in range(14)]}
    assert last("choppiness", **rise, true_range=[10] * 14) == pytest.approx(0.0, abs=1e-12)
    assert last("choppiness", high=[10] * 14, low=[0] * 14, true_range=[10] * 14) == pytest.approx(100.0)


# --- candles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("open_", "close"), [(102, 105), (105, 102)])
def test_wicks_and_body_make_up_the_range(open_: float, close: float) -> None:
    columns = bars((open_, 110, 100, close))
    assert last("upper_wick", **columns) == pytest.approx(0.5)
    assert last("lower_wick", **columns) == pytest.approx(0.2)
    assert last("wick_balance", **bars((open_, 110, 100, close), repeated=12)) == pytest.approx(-0.3)


def test_bar_size_is_in_atr() -> None:
    assert last("bar_size", true_range=[30], atr=[20.0]) == pytest.approx(1.5)


def test_bars_overlap_by_what_both_cover() -> None:
    assert last("bar_overlap", high=[110, 115], low=[100, 105]) == pytest.approx(5 / 15)
    assert last("bar_overlap", high=[110, 108], low=[100, 104]) == pytest.approx(4 / 10)
    assert last("bar_overlap", high=[110, 130], low=[100, 120]) == pytest.approx(-10 / 30)


# --- activity and cost ------------------------------------------------------------------------------------------


def test_volume_trend_is_the_recent_mean_over_all() -> None:
    # 90 bars of 10 and 6 of 26: mean 11.
    assert last("volume_trend", tick_volume=[10] * 90 + [26] * 6) == pytest.approx(26 / 11)


def test_signed_volume_takes_the_side_of_the_change() -> None:
    assert last("signed_volume", change=[5, -1] * 12, tick_volume=[30, 10] * 12) == pytest.approx(0.5)


def test_volume_move_correlation_is_1_where_volume_buys_movement_up_or_down() -> None:
    assert last("volume_move_correlation", change=[4, -2] * 24, tick_volume=[50, 30] * 24) == pytest.approx(1.0)
    assert last("volume_move_correlation", change=[4, -2] * 24, tick_volume=[30, 50] * 24) == pytest.approx(-1.0)


def test_illiquidity_doubles_where_the_same_path_takes_half_the_ticks() -> None:
    thin, usual = [10] * 12, [20] * 84
    # 12 * 6 / 120 now, 96 * 6 / 1800 before.
    expected = (72 / 120) / (576 / 1800)
    assert last("illiquidity_ratio", change=[6, -6] * 48, tick_volume=usual + thin) == pytest.approx(expected)


def test_money_flow_is_1_where_bars_close_at_their_highs_and_a_bar_of_no_range_weighs_nothing() -> None:
    top, flat = (0, 10, 0, 10), (5, 5, 5, 5)
    columns = bars(*[top] * 14, *[flat] * 7)
    assert last("money_flow", **columns, tick_volume=[20] * 14 + [40] * 7) == pytest.approx(0.5)


def test_distance_to_the_volume_mean() -> None:
    close, volume = [100] * 24 + [120] * 24, [30] * 24 + [10] * 24
    # Mean weighed by volume 105.
    assert last("volume_mean_distance", close=close, tick_volume=volume, atr=[10.0] * 48) == pytest.approx(1.5)


def test_spread_trend() -> None:
    # 90 of 10 and 6 of 26: mean 11.
    assert last("spread_trend", spread_points=[10] * 90 + [26] * 6) == pytest.approx(26 / 11)


def test_the_spread_of_corwin_and_schultz_is_the_range_where_the_price_stands_still() -> None:
    # Trades at bid and ask alone: every bar and every pair has a range of one spread, 8 points; 8 in an ATR of 16.
    still = last("high_low_spread", high=[108] * 25, low=[100] * 25, atr=[16.0] * 25)
    assert still == pytest.approx(0.5)
    # Bars that move on without overlap leave no room for a spread.
    assert last("high_low_spread", high=[10 * i + 8 for i in range(25)], low=[10 * i for i in range(25)], atr=[1.0] * 25) == 0


# --- calendar ---------------------------------------------------------------------------------------------------


def wall(*moment: int) -> int:
    """New York's wall clock as features get it."""
    return int(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "tokyo", "london", "new_york"),
    [((2024, 3, 6, 8, 0), 780, 300, 0), ((2024, 3, 6, 3, 0), 480, 0, 1140), ((2024, 3, 6, 18, 59), 1439, 959, 659)],
)
def test_minutes_since_each_session_opened(moment: tuple[int, ...], tokyo: int, london: int, new_york: int) -> None:
    found = [last(f"minutes_since_{name}", new_york_s=[wall(*moment)]) for name in ("tokyo", "london", "new_york")]
    assert found == [tokyo, london, new_york]


@pytest.mark.parametrize(
    ("moment", "day", "left"),
    [
        ((2024, 2, 25, 18, 0), 0, 3),  # Sunday evening is Monday 26 February, of a leap year
        ((2024, 3, 1, 17, 0), 4, 30),  # the close of Friday 1 March is still Friday
        ((2023, 2, 28, 17, 0), 1, 0),
        ((2023, 2, 28, 17, 1), 2, 30),  # after it 1 March began
        ((2024, 12, 31, 12, 0), 1, 0),
    ],
)
def test_the_trading_day_ends_at_17_new_york(moment: tuple[int, ...], day: int, left: int) -> None:
    assert last("day_of_week", new_york_s=[wall(*moment)]) == day
    assert last("days_to_month_end", new_york_s=[wall(*moment)]) == left


# --- context and regime -----------------------------------------------------------------------------------------


def test_longer_bars_are_scored_like_own_ones() -> None:
    high, low, close = [110] * 29 + [120], [100] * 29 + [105], [105] * 29 + [110]
    assert last("h4_range_position", high=high, low=low, close=close) == pytest.approx(0.5)
    assert last("h4_volatility_ratio", change=[6, -6] * 6, volatility=[4.0] * 12) == pytest.approx(1.5)
    assert last("d1_range_ratio", high=[110] * 9 + [130], low=[100] * 10) == pytest.approx(30 / 12)


def test_the_day_so_far_is_in_days_and_its_place_in_ten_of_them() -> None:
    day = {"d1.close": [1000], "d1.volatility_of_ten": [80.0], "d1.high_of_ten": [1200], "d1.low_of_ten": [1000]}
    assert last("day_return", close=[1040], **day) == pytest.approx(0.5)
    assert last("days_range_position", close=[1250], **day) == pytest.approx(1.25)


def test_the_lead_explains_what_moves_alike() -> None:
    change = [3, -5, 2, 7] * 13
    lead = np.cumsum([0] + [2 * step for step in change]).tolist()
    close = np.cumsum([0, *change]).tolist()
    columns: dict[str, list[float]] = {"change": [None, *change], "volatility": [math.sqrt(21.75)] * 53}  # type: ignore[list-item]
    assert last("lead_residual", close=close, **columns, **{"lead.close": lead}) == pytest.approx(0.0, abs=1e-12)
    # An own drift of 1 a bar beside a lead that sees nothing of it, having no change in its last 12 bars.
    resting = [*lead[:40], *[lead[40]] * 13]
    found = last("lead_residual", close=close, **columns, **{"lead.close": resting})
    assert found == pytest.approx((close[-1] - close[-13]) / math.sqrt(21.75 * 12))
    trend = last("lead_trend", close=list(range(25)), volatility=[2.0] * 25)
    assert trend == pytest.approx(24 / (2 * math.sqrt(24)))


def test_a_lead_that_is_one_bar_early_correlates_with_the_next_bar() -> None:
    own = [3, -5, 2, 7] * 13
    lead = np.cumsum([0, *own[1:], 3]).tolist()  # its change now is ours of the next bar
    columns: dict[str, list[float]] = {"change": [None, *own], "volatility": [math.sqrt(21.75)] * 53}  # type: ignore[list-item]
    assert last("lead_lag_correlation", **columns, **{"lead.close": lead}) == pytest.approx(1.0)


def test_turbulence_of_two_that_have_nothing_to_do_with_each_other_is_their_joint_size() -> None:
    own, other = [2, -2, 2, -2] * 12, [3, 3, -3, -3] * 12
    lead = np.cumsum([0, *other]).tolist()
    columns: dict[str, list[float]] = {"change": [None, *own], "volatility": [2.0] * 49}  # type: ignore[list-item]
    # Each is one deviation away, at a right angle.
    assert last("lead_turbulence", **columns, **{"lead.close": lead}) == pytest.approx(math.sqrt(2))


def test_regime_distance_is_the_hypotenuse_of_both_scores() -> None:
    assert last("regime_distance", volatility_score=[3.0], trend_score=[-4.0]) == pytest.approx(5.0)
    assert last("volatility_regime", volatility_score=[3.0]) == 3
