"""Scenarios C to F: checks, opening and closing, stops and targets, money, swaps, stop-out, history."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from serving._errors import Final
from serving.terminal.simulated import AccountConfig
from tests.serving.terminal.simulated_fixture import (
    EURJPY,
    EURUSD,
    NOON,
    REQ,
    SERVER_NOON,
    USDJPY,
    XAUUSD,
    f1,
    flat,
    later,
    market,
)

DONE = 10009
GOLD = REQ | {"symbol": "XAUUSD", "price": 0.0, "type_filling": 1}
AT_CLOSE = {"type": 1, "price": 1.1}


def with_eurusd(**changes):
    return f1(symbols=(replace(EURUSD, **changes), USDJPY, EURJPY, XAUUSD))


def all_zero(result) -> bool:
    return result[1:7] == (0, 0, 0.0, 0.0, 0.0, 0.0)


# --- C: order_check


def test_a_check_of_one_lot_tells_the_margin_that_would_be_used(mt5):
    check = mt5.order_check(REQ | {"volume": 1.0})
    assert (check.retcode, check.comment) == (0, "Done")
    assert check[1:6] == pytest.approx((10_000, 10_000, 0, 1100.10, 8899.90))
    assert check.margin_level == pytest.approx(909.008, abs=5e-4)
    assert check.request.volume == 1.0


def test_a_check_adds_to_the_margin_in_use_and_an_opposite_order_adds_none(mt5):
    mt5.order_send(REQ | {"volume": 1.0})
    assert mt5.order_check(REQ | {"volume": 1.0}).margin == pytest.approx(2200.20)
    assert mt5.order_check(REQ | {"volume": 1.0, "type": 1, "price": 1.1}).margin == pytest.approx(1100.10, abs=0.06)


SATURDAY = datetime(2024, 3, 9, 10, tzinfo=UTC)


def test_a_check_does_not_look_at_trading_hours_but_an_order_is_told_that_the_market_is_closed(handle, mt5):
    handle.clock.wait_until(SATURDAY)
    assert handle.market.is_open() is False
    assert mt5.order_check(REQ | {"volume": 1.0}).retcode == 0
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment) == (10018, "Market closed")
    assert all_zero(result)
    assert mt5.symbol_info_tick("EURUSD") is not None


@pytest.mark.parametrize(("volume", "code", "text"), [(20.0, 10019, "No money"), (0.015, 10014, "Invalid volume")])
def test_a_check_says_what_an_order_would_be_refused_for(mt5, volume, code, text):
    check = mt5.order_check(REQ | {"volume": volume})
    assert (check.retcode, check.comment) == (code, text)
    assert mt5.order_send(REQ | {"volume": volume}).retcode == code


# --- D: opening


def test_an_order_is_filled_and_its_result_echoes_the_whole_request(mt5):
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment, result.retcode_external) == (DONE, "Request executed", 0)
    assert result.deal > 0 and result.order > 0 and result.request_id > 0
    assert result[3:7] == (0.1, 1.1001, 1.1, 1.1001)
    expected = (1, 234000, 0, "EURUSD", 0.1, 1.1001, 0.0, 0.0, 0.0, 20, 0, 0, 0, 0, "t", 0, 0)
    assert tuple(result.request) == expected


def test_the_position_and_the_account_show_the_fill(mt5):
    order = mt5.order_send(REQ).order
    (position,) = mt5.positions_get()
    assert position.ticket == position.identifier == order
    assert (position.type, position.volume, position.price_open, position.price_current) == (0, 0.1, 1.1001, 1.1)
    assert (position.profit, position.magic, position.comment, position.reason) == (-1.0, 234000, "t", 3)
    assert (position.time, position.time_msc) == (SERVER_NOON, SERVER_NOON * 1000)
    account = mt5.account_info()
    assert (account.margin, account.equity, account.balance, account.profit) == (110.01, 9999.0, 10_000.0, -1.0)
    assert account.margin_level == pytest.approx(9999 / 110.01 * 100)


def test_order_and_deal_are_linked_in_history(mt5):
    result = mt5.order_send(REQ)
    (order,) = mt5.history_orders_get(ticket=result.order)
    (deal,) = mt5.history_deals_get(position=result.order)
    assert (order.state, order.volume_initial, order.volume_current, order.position_id) == (4, 0.1, 0.0, result.order)
    assert (deal.ticket, deal.entry, deal.type, deal.order, deal.position_id) == (result.deal, 0, 0, result.order, result.order)
    assert mt5.history_deals_get(ticket=result.deal) == (deal,)
    assert mt5.history_deals_get(ticket=result.order) == (deal,)
    assert mt5.history_orders_get(position=result.order) == (order,)


@pytest.mark.parametrize(("ask", "code"), [(1.10025, DONE), (1.1003, DONE), (1.10031, 10004), (1.1005, 10004), (1.0995, 10004)])
def test_instant_execution_fills_at_the_current_price_within_the_deviation_else_requotes(handle, mt5, ask, code):
    handle.market.tick("EURUSD", round(ask - 0.0001, 5), ask)
    result = mt5.order_send(REQ)
    assert result.retcode == code
    if code == DONE:
        assert result.price == ask
        return
    assert result.comment == "Requote"
    assert result[1:7] == (0, 0, 0.0, 0.0, round(ask - 0.0001, 5), ask)
    assert result.request_id > 0
    assert mt5.positions_total() == 0


@pytest.mark.parametrize("price", [0.0, 1.0])
def test_market_execution_ignores_price_and_deviation(mt5, price):
    result = mt5.order_send(GOLD | {"price": price})
    assert (result.retcode, result.price) == (DONE, 2000.5)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"price": 0.0}, 10015, "Invalid price"),
        (GOLD | {"type_filling": 0}, 10030, "Unsupported filling mode"),
        (GOLD | {"type_filling": 2}, 10030, "Unsupported filling mode"),
        (GOLD | {"type_filling": 3}, 10030, "Unsupported filling mode"),
        ({"type_filling": 3}, 10030, "Unsupported filling mode"),
        ({"volume": 0.001}, 10014, "Invalid volume"),
        ({"volume": 0.015}, 10014, "Invalid volume"),
        ({"volume": 100.01}, 10014, "Invalid volume"),
        ({"volume": 0.0}, 10014, "Invalid volume"),
        ({"volume": -0.1}, 10014, "Invalid volume"),
        ({"sl": 1.1002}, 10016, "Invalid stops"),
        ({"tp": 1.0999}, 10016, "Invalid stops"),
        ({"price": float("nan")}, 10015, "Invalid price"),
        ({"volume": float("nan")}, 10014, "Invalid volume"),
        ({"volume": float("inf")}, 10014, "Invalid volume"),
        ({"sl": float("nan")}, 10016, "Invalid stops"),
        ({"tp": float("inf")}, 10016, "Invalid stops"),
        ({"tp": -1.0}, 10016, "Invalid stops"),
        ({"type": 1, "price": 1.1, "sl": 1.1}, 10016, "Invalid stops"),
        ({"type": 1, "price": 1.1, "tp": 1.1002}, 10016, "Invalid stops"),
        ({"action": 0}, 10013, "Invalid request"),
        ({"action": 2}, 10013, "Invalid request"),
        ({"symbol": "NOPE"}, 10013, "Invalid request"),
        ({"symbol": ""}, 10013, "Invalid request"),
        ({"type": 2}, 10035, "Invalid or prohibited order type"),
        ({"action": 5, "type": 2}, 10035, "Invalid or prohibited order type"),
        ({"action": 7, "order": 1}, 10035, "Invalid or prohibited order type"),
        ({"action": 8, "order": 1}, 10035, "Invalid or prohibited order type"),
        ({"action": 10}, 10013, "Invalid request"),
        ({"position": 999}, 10036, "Position doesn't exist"),
        ({"action": 6}, 10013, "Invalid request"),
        ({"action": 6, "position": 999}, 10036, "Position doesn't exist"),
    ],
)
def test_an_order_is_refused_with_its_code_and_zeros(mt5, change, code, text):
    result = mt5.order_send(REQ | change)
    assert (result.retcode, result.comment, result.request_id) == (code, text, 0)
    assert all_zero(result)
    assert mt5.positions_get() == ()
    assert mt5.history_orders_total(0, 2**31) == 0


@pytest.mark.parametrize("filling", [0, 1, 2])
@pytest.mark.parametrize("mask", [3, 0])
def test_instant_execution_takes_every_filling_mode(mask, filling):
    with with_eurusd(filling_mode=mask) as handle:
        assert handle.module.order_send(REQ | {"type_filling": filling}).retcode == DONE


def test_an_omitted_filling_mode_means_fill_or_kill(mt5):
    request = {name: value for name, value in GOLD.items() if name != "type_filling"}
    assert mt5.order_send(request).retcode == 10030


def test_stops_are_attached_rounded_to_the_symbols_digits(mt5):
    mt5.order_send(REQ | {"sl": 1.0990000001, "tp": 1.101})
    (position,) = mt5.positions_get()
    assert (position.sl, position.tp) == (1.099, 1.101)


@pytest.mark.parametrize(
    ("sl", "tp", "code"), [(1.09951, 0.0, 10016), (1.0995, 0.0, DONE), (0.0, 1.10049, 10016), (0.0, 1.1005, DONE)]
)
def test_stops_keep_the_stops_level_equality_allowed(sl, tp, code):
    with with_eurusd(stops_level=50) as handle:
        assert handle.module.order_send(REQ | {"sl": sl, "tp": tp}).retcode == code


def test_the_algo_trading_button_answers_with_a_result_and_the_api_option_with_none(handle, mt5):
    handle.terminal.trade_allowed = False
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment, result.request_id) == (10027, "AutoTrading disabled by client", 0)
    assert mt5.terminal_info().trade_allowed is False
    handle.terminal.trade_allowed, handle.terminal.tradeapi_disabled = True, True
    assert mt5.order_send(REQ) is None
    assert mt5.last_error() == (-8, "Auto-Trading using Python API disabled in Terminal")
    assert mt5.terminal_info().tradeapi_disabled is True


@pytest.mark.parametrize(
    ("mode", "side", "code"),
    [(0, 0, 10017), (1, 1, 10042), (2, 0, 10043), (3, 0, 10044), (3, 1, 10044), (1, 0, DONE), (2, 1, DONE), (4, 1, DONE)],
)
def test_trade_modes_forbid_sides(mode, side, code):
    with with_eurusd(trade_mode=mode) as handle:
        assert handle.module.order_send(REQ | {"type": side, "price": 1.1 if side else 1.1001}).retcode == code


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_existing_positions_close_in_every_mode_but_disabled(mode):
    with with_eurusd(trade_mode=mode) as handle:
        ticket = handle.manual_trade("EURUSD", 1, 0.1)
        assert handle.module.order_send(REQ | AT_CLOSE | {"position": ticket}).retcode == DONE


def test_requests_are_numbered_from_1_and_refused_ones_not_counted(mt5):
    assert [mt5.order_send(REQ | c).request_id for c in ({}, {"volume": 0.0}, {}, {"volume": 50.0})] == [1, 0, 2, 3]


# --- D: closing


def test_closing_realises_the_loss_of_the_spread(mt5):
    ticket = mt5.order_send(REQ).order
    result = mt5.order_send(REQ | AT_CLOSE | {"position": ticket, "comment": "bye"})
    assert (result.retcode, result.price) == (DONE, 1.1)
    assert mt5.positions_get(ticket=ticket) == ()
    deal = mt5.history_deals_get(position=ticket)[-1]
    assert (deal.entry, deal.type, deal.position_id, deal.profit, deal.comment) == (1, 1, ticket, -1.0, "bye")
    assert deal.order == result.order != ticket
    assert mt5.account_info().balance == 9999.0
    assert mt5.account_info().margin_level == 0.0


def test_closing_in_part_keeps_the_ticket(mt5):
    ticket = mt5.order_send(REQ | {"sl": 1.09}).order
    result = mt5.order_send(REQ | AT_CLOSE | {"position": ticket, "volume": 0.04, "symbol": ""})
    (position,) = mt5.positions_get(ticket=ticket)
    assert (result.retcode, position.volume, position.sl) == (DONE, 0.06, 1.09)
    assert mt5.history_deals_get(ticket=result.deal)[0][9:14] == (0.04, 1.1, 0.0, 0.0, -0.4)
    assert mt5.account_info().margin == pytest.approx(66.01)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"volume": 0.2}, 10038), ({"type": 0, "price": 1.1001}, 10013), ({"symbol": "USDJPY", "price": 150.0}, 10013)],
)
def test_a_wrong_close_leaves_the_position_alone(mt5, change, code):
    ticket = mt5.order_send(REQ).order
    assert mt5.order_send(REQ | AT_CLOSE | {"position": ticket} | change).retcode == code
    assert mt5.positions_get(ticket=ticket)[0].volume == 0.1


def test_a_rest_below_the_least_volume_is_refused():
    with with_eurusd(volume_min=0.05) as handle:
        ticket = handle.module.order_send(REQ).order
        close = REQ | AT_CLOSE | {"position": ticket}
        assert handle.module.order_send(close | {"volume": 0.06}).retcode == 10014
        assert handle.module.order_send(close | {"volume": 0.05}).retcode == DONE


def test_an_opposite_order_without_position_opens_a_second_one(mt5):
    mt5.order_send(REQ)
    mt5.order_send(REQ | AT_CLOSE)
    assert [position.type for position in mt5.positions_get()] == [0, 1]
    assert mt5.account_info().margin == pytest.approx(110.0, abs=0.02)  # matched lots are charged once


def test_matched_lots_can_cost_nothing():
    with with_eurusd(margin_hedged=0.0) as handle:
        handle.module.order_send(REQ)
        handle.module.order_send(REQ | AT_CLOSE | {"volume": 0.3})
        assert handle.module.account_info().margin == pytest.approx(220.0)  # 0.2 lots of the sell, at the bid


def test_commission_is_charged_per_lot_and_side_at_once():
    with with_eurusd(commission_per_lot=3.5) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"volume": 1.0}).order
        assert mt5.account_info().balance == 9996.5
        mt5.order_send(REQ | AT_CLOSE | {"volume": 1.0, "position": ticket})
        assert [deal.commission for deal in mt5.history_deals_get(position=ticket)] == [-3.5, -3.5]
        assert mt5.account_info().balance == 9983.0  # and 10 for the spread


def test_slippage_is_paid_on_market_execution():
    with with_eurusd(execution="market", slippage_points=2) as handle:
        buy = handle.module.order_send(REQ)
        sell = handle.module.order_send(REQ | AT_CLOSE)
        assert (buy.price, sell.price) == (1.10012, 1.09998)


def test_filters_choose_positions(mt5):
    euro = mt5.order_send(REQ).order
    yen = mt5.order_send(REQ | {"symbol": "USDJPY", "price": 150.01}).order

    def tickets(**by):
        return [position.ticket for position in mt5.positions_get(**by)]

    assert tickets() == [euro, yen]
    assert (
        tickets(symbol="USDJPY") == tickets(group="*JPY") == tickets(ticket=yen) == tickets(ticket=yen, symbol="EURUSD") == [yen]
    )
    assert tickets(symbol="NOPE") == []
    assert mt5.positions_total() == 2


# --- E: stops and targets


def sltp(mt5, ticket, **levels):
    return mt5.order_send({"action": 6, "position": ticket, "symbol": "EURUSD"} | levels)


def test_moving_stops_answers_with_zeros_and_updates_the_position(handle, mt5):
    ticket = mt5.order_send(REQ).order
    later(handle, 5)
    result = sltp(mt5, ticket, sl=1.09, tp=1.11)
    assert (result.retcode, result.comment) == (DONE, "Request executed")
    assert all_zero(result) and result.request_id > 0
    (position,) = mt5.positions_get()
    assert (position.sl, position.tp, position.time_update - position.time) == (1.09, 1.11, 5)
    assert sltp(mt5, ticket, sl=1.09, tp=1.11).retcode == 10025
    assert sltp(mt5, ticket, tp=1.12).retcode == DONE
    assert mt5.positions_get()[0].sl == 0.0
    assert sltp(mt5, ticket, sl=1.2).retcode == 10016
    assert sltp(mt5, ticket + 1, sl=1.09).retcode == 10036
    assert len(mt5.history_orders_get(0, 2**31)) == 1


def test_stops_inside_the_freeze_level_cannot_be_moved():
    with with_eurusd(freeze_level=100) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"sl": 1.0991}).order
        assert sltp(mt5, ticket, sl=1.09).retcode == 10029
        assert mt5.order_send(REQ | AT_CLOSE | {"position": ticket}).retcode == 10029
        handle.market.tick("EURUSD", 1.1001, 1.1002)
        assert sltp(mt5, ticket, sl=1.09).retcode == DONE


def closed(mt5, ticket):
    assert mt5.positions_get(ticket=ticket) == ()
    deal = mt5.history_deals_get(position=ticket)[-1]
    order = mt5.history_orders_get(ticket=deal.order)[0]
    assert (order.reason, order.comment, order.state) == (deal.reason, deal.comment, 4)
    return deal


def test_a_target_that_the_bid_reaches_closes_at_the_level(handle, mt5):
    ticket = mt5.order_send(REQ | {"tp": 1.102}).order
    handle.market.tick("EURUSD", 1.1019, 1.102)
    assert len(mt5.positions_get(ticket=ticket)) == 1
    handle.market.tick("EURUSD", 1.102, 1.1021)
    deal = closed(mt5, ticket)
    assert (deal.price, deal.reason, deal.comment, deal.profit) == (1.102, 5, "[tp 1.10200]", 19.0)


@pytest.mark.parametrize(
    ("side", "levels", "bid", "price", "reason"),
    [
        (0, {"sl": 1.095}, 1.09, 1.09, 4),  # through the stop: the first price there is
        (0, {"tp": 1.105}, 1.11, 1.11, 5),  # through the target: the better price
        (1, {"sl": 1.105}, 1.1099, 1.11, 4),  # sells by the ask
        (1, {"tp": 1.095}, 1.0899, 1.09, 5),
        (1, {"sl": 1.105}, 1.1049, 1.105, 4),
    ],
)
def test_a_jump_fills_at_the_first_price(handle, mt5, side, levels, bid, price, reason):
    ticket = mt5.order_send(REQ | levels | {"type": side, "price": 1.1 if side else 1.1001}).order
    handle.market.tick("EURUSD", bid, round(bid + 0.0001, 5))
    deal = closed(mt5, ticket)
    assert (deal.price, deal.reason) == (price, reason)


def path_market(*prices: tuple[float, float, float, float]):
    """EURUSD stands at 1.1 up to noon, then plays one bar per tuple."""
    bars = market()
    frame = flat(1.1, 10, NOON - timedelta(hours=1), 61 + len(prices))
    for offset, values in enumerate(prices):
        for column, value in zip(("open", "high", "low", "close"), values, strict=True):
            frame[61 + offset, column] = value
    return bars | {"EURUSD": frame}


@pytest.mark.parametrize(
    ("bar", "levels", "price", "reason", "second"),
    [
        ((1.1, 1.1005, 1.09, 1.1), {"sl": 1.095}, 1.095, 4, 40),  # inside a bar the bid passes the level itself
        ((1.1, 1.1005, 1.09, 1.1), {"sl": 1.095, "tp": 1.1004}, 1.1004, 5, 20),  # the nearer extreme comes first
        ((1.1, 1.11, 1.0995, 1.1), {"sl": 1.0996, "tp": 1.105}, 1.0996, 4, 20),
        ((1.09, 1.1, 1.089, 1.1), {"sl": 1.095}, 1.09, 4, 0),  # the open is a jump: a stop takes what there is
        ((1.11, 1.111, 1.1, 1.1), {"tp": 1.105}, 1.11, 5, 0),
    ],
)
def test_levels_are_tested_along_the_stated_path(bar, levels, price, reason, second):
    with f1(market=path_market(bar)) as handle:
        ticket = handle.module.order_send(REQ | levels).order
        later(handle, 3600)
        deal = closed(handle.module, ticket)
        assert (deal.price, deal.reason, deal.time - SERVER_NOON) == (price, reason, 60 + second)


def test_waiting_by_the_second_and_in_one_jump_give_the_same_history():
    bars = [(1.1, 1.1005, 1.0995, 1.1002), (1.1002, 1.1009, 1.0998, 1.1), (1.1, 1.1001, 1.0985, 1.099)]
    histories = []
    for seconds in (1, 7, 600):
        with f1(market=path_market(*bars)) as handle:
            for levels in ({"sl": 1.0996}, {"tp": 1.1007}, {"sl": 1.0987, "tp": 1.2}):
                handle.module.order_send(REQ | levels)
            for _ in range(600 // seconds + 1):
                later(handle, seconds)
            histories.append([tuple(deal) for deal in handle.module.history_deals_get(0, 2**31)])
    assert histories[0] == histories[1] == histories[2]
    assert len(histories[0]) == 7


# --- F: money


@pytest.mark.parametrize(
    ("request_", "margin"),
    [
        ((0, "EURUSD", 0.1, 1.1001), 110.01),
        ((0, "USDJPY", 1.0, 150.01), 1000.0),
        ((0, "EURJPY", 0.1, 165.02), 110.01),
        ((1, "EURUSD", 0.1, 1.1), 110.0),
        ((0, "XAUUSD", 0.01, 1899.97), 19.0),
    ],
)
def test_margins_of_the_documentation(mt5, request_, margin):
    assert mt5.order_calc_margin(*request_) == margin


@pytest.mark.parametrize(
    ("request_", "profit"),
    [
        ((0, "USDJPY", 1.0, 108.184, 108.484), 276.54),
        ((1, "USDJPY", 1.0, 108.179, 107.879), 278.09),
        ((0, "EURUSD", 1.0, 1.1, 1.103), 300.0),
        ((0, "EURJPY", 1.0, 165.0, 165.3), 199.99),  # a gain at USDJPY's ask: 30000 / 150.010
        ((1, "EURJPY", 1.0, 165.0, 165.3), -200.0),  # a loss at its bid: 30000 / 150.000
        ((0, "XAUUSD", 0.1, 2000.0, 2010.0), 100.0),
    ],
)
def test_profits_of_the_documentation(mt5, request_, profit):
    assert mt5.order_calc_profit(*request_) == profit


@pytest.mark.parametrize(
    "wrong", [(2, "EURUSD", 1.0, 1.1), (0, "EURUSD", 0.0, 1.1), (0, "EURUSD", 1.0, -1.0), (0, "EURUSD", 1.0, float("nan"))]
)
def test_impossible_calculations_are_refused(mt5, wrong):
    assert mt5.order_calc_margin(*wrong) is None
    assert mt5.last_error() == (-2, "Terminal: Invalid params")


def test_tick_values_are_worse_for_gains_than_for_losses_across_currencies(mt5):
    info = mt5.symbol_info("EURJPY")
    assert info.trade_tick_value == info.trade_tick_value_profit == pytest.approx(100 / 150.01)
    assert info.trade_tick_value_loss == pytest.approx(100 / 150.0)


def test_an_account_without_positions_has_no_margin_and_no_level(mt5):
    assert (mt5.account_info().margin, mt5.account_info().margin_level) == (0.0, 0.0)


def test_swaps_are_booked_at_server_midnight_wednesday_three_times_and_realised_at_the_exit():
    with f1(market=market(4)) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"volume": 1.0}).order
        handle.clock.wait_until(datetime(2024, 3, 6, 21, 59, 59, tzinfo=UTC))
        assert mt5.positions_get()[0].swap == 0.0
        handle.clock.wait_until(datetime(2024, 3, 6, 22, tzinfo=UTC))
        assert mt5.positions_get()[0].swap == -15.0
        handle.clock.wait_until(datetime(2024, 3, 7, 23, tzinfo=UTC))
        assert mt5.positions_get()[0].swap == -20.0
        assert mt5.account_info().equity == 10_000 - 10 - 20
        assert mt5.order_send(REQ | AT_CLOSE | {"volume": 0.25, "position": ticket}).retcode == DONE
        assert mt5.positions_get()[0].swap == -15.0
        mt5.order_send(REQ | AT_CLOSE | {"volume": 0.75, "position": ticket})
        assert [deal.swap for deal in mt5.history_deals_get(position=ticket)] == [0.0, -5.0, -15.0]
        assert mt5.account_info().balance == 9970.0


def test_a_week_has_seven_nights():
    with f1(market=market(12)) as handle:
        handle.module.order_send(REQ | {"volume": 1.0})
        handle.clock.wait_until(NOON + timedelta(days=7))
        assert handle.module.positions_get()[0].swap == -35.0


def test_stop_out_closes_a_position_whose_loss_eats_the_margin():
    with f1(account=AccountConfig(balance=1000.0)) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"volume": 0.5}).order
        handle.market.tick("EURUSD", 1.0830, 1.0831)  # equity 145, margin 550.05: 26.4 %
        deal = closed(mt5, ticket)
        assert (deal.reason, deal.price, deal.profit) == (6, 1.083, -855.0)
        assert mt5.account_info().balance == 145.0
        assert deal.comment.startswith("so: 26.36%")


def test_stop_out_closes_the_larger_loss_first_and_stops_when_the_level_recovers():
    with f1(account=AccountConfig(balance=1500.0)) as handle:
        mt5 = handle.module
        small = mt5.order_send(REQ | {"volume": 0.2}).order
        large = mt5.order_send(REQ | {"volume": 0.6}).order
        handle.market.tick("EURUSD", 1.0839, 1.084)  # 0.8 lots lose 1296: equity 204, margin 880.08, 23.2 %
        assert [position.ticket for position in mt5.positions_get()] == [small]
        assert mt5.history_deals_get(position=large)[-1].reason == 6


def test_history_begins_with_the_balance_deal(mt5):
    deal = mt5.history_deals_get(0, 2**31)[0]
    assert (deal.type, deal.order, deal.symbol, deal.profit, deal.position_id) == (2, 0, "", 10_000.0, 0)


def test_history_is_asked_for_in_server_time(mt5):
    mt5.order_send(REQ)
    assert mt5.history_deals_get(NOON - timedelta(days=9), NOON) == ()
    assert mt5.history_deals_total(NOON - timedelta(days=9), NOON) == 0
    found = mt5.history_deals_get(NOON - timedelta(days=9), NOON + timedelta(days=1))
    assert len(found) == 2 == mt5.history_deals_total(0, NOON + timedelta(days=1))
    assert len(mt5.history_deals_get(0, NOON + timedelta(days=1), group="EUR*")) == 1


def test_a_cross_needs_its_conversion_to_have_a_quote():
    bars = market() | {"USDJPY": flat(150.0, 10, NOON + timedelta(hours=1), 60)}
    with f1(market=bars) as handle:
        mt5 = handle.module
        assert mt5.order_calc_profit(0, "EURJPY", 1.0, 165.0, 166.0) is None
        assert mt5.symbol_info("EURJPY").trade_tick_value == 0.0
        for name, price in (("USDJPY", 150.01), ("EURJPY", 165.02)):
            assert mt5.order_send(REQ | {"symbol": name, "price": price}).retcode == 10021
        with pytest.raises(Final, match="conversion"):
            handle.manual_trade("EURJPY", 1, 0.1)
        assert mt5.account_info().profit == 0.0
