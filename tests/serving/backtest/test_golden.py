"""Trades worked out by hand. EURUSD 0.1 lots: one pip is 1 USD, the spread (1 pip) 1 USD, commission 0.70 a round turn."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from serving.backtest import run
from serving.decision import RISK, TARGET
from tests.serving.backtest.conftest import FIXED

FLAT = (1.1000, 1.1002, 1.0998, 1.1000)  # decided here: ask 1.1001, stop 1.0991 and target 1.1011 for a long


def only(result):
    assert result.trades.height == 1
    return result.trades.row(0, named=True)


def test_a_long_fills_at_the_next_open_on_the_ask_and_its_target_pays_less_commission(backtest_of):
    data = backtest_of({"EURUSD": [FLAT, (1.1000, 1.1012, 1.0999, 1.1005), FLAT]}, {"EURUSD": [1, 0, 0]})
    result = run(data)
    trade = only(result)
    assert trade["entry_price"] == pytest.approx(1.1001) and trade["exit_price"] == pytest.approx(1.1011)
    assert trade["entry_time"] == datetime(2024, 3, 5, 9) and trade["exit_time"] == datetime(2024, 3, 5, 10)
    assert trade["reason"] == "target"
    assert trade["gross"] == pytest.approx(11.0) and trade["spread_cost"] == pytest.approx(1.0)
    assert trade["commission"] == pytest.approx(0.7) and trade["net"] == pytest.approx(9.3)
    assert trade["r_multiple"] == pytest.approx(9.3 / 10.7)
    assert result.totals.final_balance == pytest.approx(10_009.30)


def test_a_bar_that_holds_stop_and_target_loses(backtest_of):
    data = backtest_of({"EURUSD": [FLAT, (1.1000, 1.1020, 1.0980, 1.1005)]}, {"EURUSD": [1, 0]})
    trade = only(run(data))
    assert trade["reason"] == "stop" and trade["exit_price"] == pytest.approx(1.0991)
    assert trade["net"] == pytest.approx(-10.7) and trade["r_multiple"] == pytest.approx(-1.0)


def test_a_stop_the_open_jumped_over_fills_at_the_worse_open(backtest_of):
    data = backtest_of({"EURUSD": [FLAT, FLAT, (1.0980, 1.0985, 1.0975, 1.0982)]}, {"EURUSD": [1, 0, 0]})
    trade = only(run(data))
    assert trade["exit_price"] == pytest.approx(1.0980) and trade["net"] == pytest.approx(-21.0 - 0.7)


def test_a_target_the_open_jumped_over_still_fills_at_the_target(backtest_of):
    data = backtest_of({"EURUSD": [FLAT, FLAT, (1.1030, 1.1035, 1.1025, 1.1030)]}, {"EURUSD": [1, 0, 0]})
    assert only(run(data))["exit_price"] == pytest.approx(1.1011)


@pytest.mark.parametrize(("high", "reason"), [(1.1009, "stop"), (1.10089, "the data ended")])
def test_a_short_is_stopped_on_the_ask(backtest_of, high, reason):
    data = backtest_of({"EURUSD": [FLAT, (1.1000, high, 1.0995, 1.1000)]}, {"EURUSD": [-1, 0]})
    trade = only(run(data))
    assert trade["entry_price"] == pytest.approx(1.1000) and trade["reason"] == reason
    assert trade["exit_price"] == pytest.approx(1.1010 if reason == "stop" else 1.1001)


@pytest.mark.parametrize(("low", "reason"), [(1.0989, "target"), (1.09891, "the data ended")])
def test_a_short_reaches_its_target_on_the_ask(backtest_of, low, reason):
    data = backtest_of({"EURUSD": [FLAT, (1.1000, 1.1002, low, 1.1000)]}, {"EURUSD": [-1, 0]})
    assert only(run(data))["reason"] == reason


def test_an_opposite_signal_closes_and_opens_the_other_side_at_the_same_open(backtest_of):
    rows = [FLAT, FLAT, (1.1004, 1.1005, 1.1003, 1.1004), FLAT]
    result = run(backtest_of({"EURUSD": rows}, {"EURUSD": [1, -1, 0, 0]}))
    first, second = result.trades.rows(named=True)
    assert first["reason"] == "the signal turned to the other side" and first["exit_price"] == pytest.approx(1.1004)
    assert first["net"] == pytest.approx(3.0 - 0.7)
    assert second["side"] == -1 and second["entry_price"] == pytest.approx(1.1004)
    assert second["entry_time"] == first["exit_time"] == datetime(2024, 3, 5, 10)


def test_the_time_exit_is_decided_at_the_close_of_the_last_bar_and_filled_at_the_next_open(backtest_of):
    spec = FIXED._replace(horizon_bars=2)
    rows = [FLAT, FLAT, FLAT, (1.1003, 1.1005, 1.0999, 1.1000), FLAT]
    trade = only(run(backtest_of({"EURUSD": rows}, {"EURUSD": [1, 1, 1, 0, 0]}, spec=spec)))
    assert trade["reason"] == "held for its whole horizon" and trade["bars_held"] == 2
    assert trade["exit_time"] == datetime(2024, 3, 5, 11) and trade["exit_price"] == pytest.approx(1.1003)


def test_yen_profit_becomes_dollars_at_the_closing_price(backtest_of):
    flat = (150.000, 150.020, 149.980, 150.000)
    data = backtest_of({"USDJPY": [flat, (150.000, 150.600, 149.990, 150.400)]}, {"USDJPY": [1, 0]}, atr=0.5, spread_points=10)
    trade = only(run(data))
    assert trade["entry_price"] == pytest.approx(150.010) and trade["exit_price"] == pytest.approx(150.510)
    assert trade["net"] == pytest.approx(0.5 * 10_000 / 150.510 - 0.7)  # 32.52 USD


@pytest.mark.parametrize(("close", "divisor"), [(165.3, 150.01), (164.7, 150.00)])
def test_a_cross_converts_gains_at_the_ask_and_losses_at_the_bid_of_the_other_symbol(backtest_of, close, divisor):
    dollar = (150.0, 150.1, 149.9, 150.0)
    euro, euros = (165.0, 165.1, 164.9, 165.0), (1.1, 1.1001, 1.0999, 1.1)
    markets = {"EURJPY": [euro, euro, (close, close, close, close)], "USDJPY": [dollar] * 3, "EURUSD": [euros] * 3}
    trade = only(run(backtest_of(markets, {"EURJPY": [1, 0, 0]}, atr=1.0)))
    assert trade["net"] == pytest.approx((close - 165.01) * 10_000 / divisor - 0.7)


def test_a_currency_that_cannot_be_converted_is_refused(backtest_of):
    from serving._errors import Final

    with pytest.raises(Final, match="no rate from JPY to USD"):
        backtest_of({"EURJPY": [(165.0, 165.1, 164.9, 165.0)]}, {"EURJPY": [1]})


def test_the_daily_loss_on_the_bars_worst_price_halts_closes_at_the_next_open_and_refuses_the_rest(backtest_of):
    spec = FIXED._replace(stop_atr=10.0, target_atr=10.0, fixed_lots=1.0)
    # 1 lot from 1.1001; the low of 1.0955 is -460 USD and 3.50 commission: past 4.5 % of 10 000, though the close is not.
    rows = [FLAT, (1.1000, 1.1002, 1.0955, 1.0990), (1.0992, 1.0995, 1.0985, 1.0990), FLAT, FLAT]
    data = backtest_of({"EURUSD": rows}, {"EURUSD": [1, 1, 1, 1, 1]}, spec=spec, limits={"daily_loss_fraction": 0.045})
    result = run(data)
    trade = only(result)
    assert trade["reason"] == "the risk day has lost as much as it may"
    assert trade["exit_price"] == pytest.approx(1.0992) and trade["net"] == pytest.approx(-90.0 - 7.0)
    assert result.equity["halted"].to_list() == [False, True, True, True, True] and result.totals.halts == 1
    assert result.reasons["p EURUSD"]["trading state is halted"] == 3


def test_without_the_loss_the_same_bars_do_not_halt(backtest_of):
    spec = FIXED._replace(stop_atr=10.0, target_atr=10.0, fixed_lots=1.0)
    rows = [FLAT, (1.1000, 1.1002, 1.0957, 1.0990), FLAT]  # -440 - 3.50
    data = backtest_of({"EURUSD": rows}, {"EURUSD": [1, 1, 1]}, spec=spec, limits={"daily_loss_fraction": 0.045})
    assert run(data).totals.halts == 0


def test_a_person_who_resumes_next_day_lets_the_account_trade_again(backtest_of):
    spec = FIXED._replace(stop_atr=10.0, target_atr=10.0, fixed_lots=1.0)
    start = datetime(2024, 3, 5, 2)  # the New York day turns at 05:00 UTC
    rows = [FLAT, (1.1000, 1.1002, 1.0955, 1.0990), FLAT, FLAT, FLAT]
    said = {"EURUSD": [1, 0, 1, 1, 0]}
    limits = {"daily_loss_fraction": 0.045}
    latched = run(backtest_of({"EURUSD": rows}, said, spec=spec, limits=limits, start=start))
    resumed = run(backtest_of({"EURUSD": rows}, said, spec=spec, limits=limits, start=start, resume_next_day=True))
    assert latched.trades.height == 1 and resumed.trades.height == 2
    assert resumed.trades["entry_time"].to_list()[1] == datetime(2024, 3, 5, 6)


def test_the_trailing_drawdown_counts_from_the_best_moment(backtest_of):
    spec = FIXED._replace(stop_atr=50.0, target_atr=50.0, fixed_lots=1.0)
    # +99 pips at the best moment of bar 1 (peak 10 986.50), then back: 10 % of the peak lies at 9 887.85.
    rows = [FLAT, (1.1000, 1.1100, 1.1000, 1.1000), (1.1000, 1.1001, 1.0988, 1.0990), FLAT]
    limits = {"drawdown_fraction": 0.10}
    result = run(backtest_of({"EURUSD": rows}, {"EURUSD": [1, 0, 0, 0]}, spec=spec, limits=limits))
    assert only(result)["reason"] == "equity has fallen from its peak as far as it may"


def test_an_order_whose_stop_the_open_has_passed_is_refused_by_the_broker(backtest_of):
    data = backtest_of({"EURUSD": [FLAT, (1.0985, 1.0990, 1.0980, 1.0985)]}, {"EURUSD": [1, 0]})
    result = run(data)
    assert result.trades.height == 0 and result.totals.refused_at_open == 1


def test_an_order_waits_for_the_next_bar_its_symbol_has(backtest_of):
    dollar = (150.0, 150.1, 149.9, 150.0)
    markets = {"EURUSD": [FLAT, None, (1.1002, 1.1004, 1.1001, 1.1002)], "USDJPY": [dollar] * 3}
    trade = only(run(backtest_of(markets, {"EURUSD": [1, 0, 0]})))
    assert trade["entry_time"] == datetime(2024, 3, 5, 10) and trade["entry_price"] == pytest.approx(1.1003)


def test_a_position_held_over_wednesday_pays_three_nights_of_swap(backtest_of):
    spec = FIXED._replace(stop_atr=50.0, target_atr=50.0)
    start = datetime(2024, 3, 6, 19)  # Wednesday; New York closes at 22:00 UTC
    data = backtest_of(
        {"EURUSD": [FLAT] * 6}, {"EURUSD": [1, 0, 0, 0, 0, 0]}, spec=spec, start=start, symbol_changes={"swap_long": -5.0}
    )
    result = run(data)
    assert only(result)["swap"] == pytest.approx(-1.5)  # 5 points x 3 nights x 0.1 lots
    assert result.totals.net == pytest.approx(-1.0 - 0.7 - 1.5)


def test_nothing_is_sent_into_a_closed_market(backtest_of):
    start = datetime(2024, 3, 8, 20)  # Friday: the bar of 21:00 closes at 17:00 New York
    result = run(backtest_of({"EURUSD": [FLAT] * 2}, {"EURUSD": [0, 1]}, start=start))
    assert result.reasons["p EURUSD"]["the market is closed"] == 1


def test_in_target_mode_a_flat_signal_closes(backtest_of):
    spec = FIXED._replace(mode=TARGET)
    rows = [FLAT, FLAT, FLAT, (1.1004, 1.1005, 1.1003, 1.1004)]
    trade = only(run(backtest_of({"EURUSD": rows}, {"EURUSD": [1, 1, 0, 0]}, spec=spec)))
    assert trade["reason"] == "the signal is flat" and trade["exit_price"] == pytest.approx(1.1004)


def test_lots_follow_risk_kelly_and_the_stop(backtest_of):
    spec = FIXED._replace(sizing=RISK, risk_fraction=0.05)
    # q = 0.7 / 0.8 = 0.875. A lot loses 100 + 7 at the stop and wins 100 - 7: b = 0.86916, Kelly = 0.875 - 0.125 / b
    # = 0.731183; 0.05 x 10 000 x 0.731183 / 107 = 3.4167 lots, rounded down; the cap of 2 % allows 200 / 107 = 1.869.
    rows = {"EURUSD": [FLAT, FLAT]}
    free = run(backtest_of(rows, {"EURUSD": [1, 0]}, spec=spec, leverage=1000.0))
    capped = run(backtest_of(rows, {"EURUSD": [1, 0]}, spec=spec, limits={"loss_per_trade_fraction": 0.02}))
    assert only(free)["lots"] == 3.41 and only(capped)["lots"] == 1.86


def test_rates_that_are_given_convert_instead_of_the_bars_own(backtest_of):
    euro = (165.0, 165.1, 164.9, 165.0)
    rates = {"EURJPY": (np.full(3, 0.0064), np.full(3, 0.0068))}
    up, down = [euro, euro, (165.3, 165.3, 165.3, 165.3)], [euro, euro, (164.7, 164.7, 164.7, 164.7)]
    gain = only(run(backtest_of({"EURJPY": up}, {"EURJPY": [1, 0, 0]}, atr=1.0, rates=rates)))
    loss = only(run(backtest_of({"EURJPY": down}, {"EURJPY": [1, 0, 0]}, atr=1.0, rates=rates)))
    assert gain["net"] == pytest.approx(0.29 * 10_000 * 0.0064 - 0.7)
    assert loss["net"] == pytest.approx(-0.31 * 10_000 * 0.0068 - 0.7)
