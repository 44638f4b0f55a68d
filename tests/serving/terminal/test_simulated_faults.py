"""What can be made to go wrong, planned by call or by time, and that it happens exactly as planned."""

from datetime import timedelta

import pytest

from serving._errors import Final
from serving.terminal.simulated import (
    AccountConfig,
    Crash,
    Fault,
    Hidden,
    ManualClose,
    ManualTrade,
    NoPrices,
    Offline,
    OtherAccount,
    ReplyLost,
    Retcode,
    SpreadSpike,
    StaleFeed,
)
from tests.serving.terminal.simulated_fixture import EURJPY, EURUSD, NOON, REQ, USDJPY, XAUUSD, f1, later
from tests.serving.terminal.test_simulated_trading import path_market

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("done", "error"), [(True, (-10002, "IPC recv failed")), (False, (-10001, "IPC send failed"))])
def test_a_lost_reply_is_none_whether_or_not_the_order_was_filled(handle, mt5, done, error):
    handle.faults.now(ReplyLost(done))
    assert mt5.order_send(REQ) is None
    assert mt5.last_error() == error
    assert mt5.positions_get() is None
    assert mt5.last_error() == (-10004, "No IPC connection")
    assert mt5.initialize()
    assert mt5.positions_total() == int(done)
    assert mt5.history_deals_total(0, 2**31) == 1 + int(done)


@pytest.mark.parametrize("code", [10004, 10012, 10031])
@pytest.mark.parametrize("times", [1, 3])
def test_a_return_code_is_answered_as_often_as_planned(handle, mt5, code, times):
    handle.faults.add(Fault(Retcode(code), function="order_send", nth=2, times=times))
    codes = [mt5.order_send(REQ).retcode for _ in range(times + 2)]
    assert codes == [10009, *[code] * times, 10009]
    assert mt5.positions_total() == 2


def test_a_timeout_may_hide_a_fill(handle, mt5):
    handle.faults.now(Retcode(10012, done=True))
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment, result.deal, result.order) == (10012, "Request timeout", 0, 0)
    assert mt5.positions_total() == 1


def test_a_planned_requote_shows_the_current_prices(handle, mt5):
    handle.faults.now(Retcode(10004))
    assert mt5.order_send(REQ)[1:7] == (0, 0, 0.0, 0.0, 1.1, 1.1001)


def test_two_faults_for_one_call_meet_two_calls(handle, mt5):
    handle.faults.now(Retcode(10004))
    handle.faults.now(Retcode(10012))
    assert [mt5.order_send(REQ).retcode for _ in range(3)] == [10004, 10012, 10009]


def test_invalid_requests_do_not_use_up_a_planned_fault(handle, mt5):
    handle.faults.now(Retcode(10004))
    assert mt5.order_send([]) is None
    assert mt5.order_send(REQ).retcode == 10004


def test_a_new_position_and_its_deals_can_stay_hidden_for_a_while(handle, mt5):
    handle.faults.now(Hidden(delay_s=2.5))
    result = mt5.order_send(REQ)
    assert result.retcode == 10009
    for call in (mt5.positions_get, lambda: mt5.history_deals_get(ticket=result.deal), lambda: mt5.history_orders_get(0, 2**31)):
        assert call() == ()
    assert mt5.positions_total() == 0
    assert mt5.account_info().margin == 110.01  # the server knows it all the time
    later(handle, 2)
    assert mt5.positions_get() == ()
    later(handle, 0.5)
    assert [p.ticket for p in mt5.positions_get()] == [result.order]
    assert mt5.history_deals_get(ticket=result.deal) != ()


def test_the_config_can_delay_every_position():
    with f1(visibility_delay_ms=500) as handle:
        handle.module.order_send(REQ)
        assert handle.module.positions_get() == ()
        later(handle, 0.5)
        assert len(handle.module.positions_get()) == 1


def test_a_stale_feed_stands_still_then_jumps_and_stops_take_the_first_price():
    bars = [(1.1, 1.1002, 1.0998, 1.1), (1.09, 1.0901, 1.0899, 1.09), (1.08, 1.0801, 1.0799, 1.08)]
    with f1(market=path_market(*bars)) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"sl": 1.095}).order
        later(handle, 90)
        quote = handle.market.quote("EURUSD")
        handle.faults.now(StaleFeed(duration_s=90, symbol="EURUSD"))
        later(handle, 89)
        assert handle.market.quote("EURUSD") == quote
        assert len(mt5.positions_get(ticket=ticket)) == 1
        later(handle, 1)
        deal = mt5.history_deals_get(position=ticket)[-1]
        assert (deal.price, deal.time - mt5.symbol_info_tick("EURUSD").time) == (1.08, 0)


def test_a_stale_feed_planned_for_later_freezes_symbols_nobody_looked_at():
    with f1(market=path_market(*[(1.2, 1.21, 1.19, 1.2)] * 30), faults=(Fault(StaleFeed(300), at=NOON + MINUTE),)) as handle:
        later(handle, 200)
        assert handle.market.quote("EURUSD") == (1.2, 1.2001)
        age_s = handle.module.symbol_info("USDJPY").time - handle.module.symbol_info("EURUSD").time
        assert age_s == 0
        later(handle, 159)
        assert handle.module.symbol_info_tick("EURUSD").time % 3600 == 60
        later(handle, 1)
        assert handle.module.symbol_info_tick("EURUSD").time % 3600 == 6 * 60


def test_a_spread_spike_widens_the_ask_and_stops_sells_out(handle, mt5):
    ticket = mt5.order_send(REQ | {"type": 1, "price": 1.1, "sl": 1.1005}).order
    handle.faults.add(Fault(SpreadSpike(points=100, duration_s=5, symbol="EURUSD"), at=NOON + MINUTE + timedelta(seconds=7)))
    later(handle, 66)
    assert len(mt5.positions_get()) == 1
    later(handle, 1)
    assert handle.market.quote("EURUSD") == (1.1, 1.1011)
    deal = mt5.history_deals_get(position=ticket)[-1]
    assert (deal.reason, deal.price, deal.time - deal.time // 3600 * 3600) == (4, 1.1011, 67)
    later(handle, 5)
    assert handle.market.quote("EURUSD") == (1.1, 1.1001)


def test_a_spike_of_all_symbols_spares_buys(handle, mt5):
    mt5.order_send(REQ | {"sl": 1.0995})
    handle.faults.now(SpreadSpike(points=1000, duration_s=60))
    later(handle, 120)
    assert mt5.positions_total() == 1


def test_orders_without_prices_and_without_a_server_are_refused_with_zeros(handle, mt5):
    handle.faults.now(NoPrices(duration_s=10))
    handle.faults.now(Offline(duration_s=5))
    assert mt5.terminal_info().connected is False
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment, result.request_id) == (10031, "No connection", 0)
    later(handle, 5)
    assert mt5.terminal_info().connected is True
    result = mt5.order_send(REQ)
    assert (result.retcode, result.comment, result.request_id) == (10021, "No prices", 0)
    assert result[1:7] == (0, 0, 0.0, 0.0, 0.0, 0.0)
    later(handle, 5)
    assert mt5.order_send(REQ).retcode == 10009


def test_trades_by_hand_carry_no_magic_and_are_closed_by_hand(handle, mt5):
    handle.faults.add(Fault(ManualTrade("EURUSD", side=-1, volume=0.3, sl=1.11), at=NOON + MINUTE))
    handle.faults.add(Fault(ManualClose(), at=NOON + 2 * MINUTE))
    ours = mt5.order_send(REQ).order
    later(handle, 60)
    foreign = mt5.positions_get()[1]
    assert (foreign.magic, foreign.reason, foreign.type, foreign.volume, foreign.sl) == (0, 0, 1, 0.3, 1.11)
    later(handle, 60)
    assert [p.ticket for p in mt5.positions_get()] == [ours]
    assert mt5.history_deals_get(position=foreign.ticket)[-1].reason == 0
    handle.manual_close(ours)
    assert mt5.positions_get() == ()
    handle.manual_close()  # nothing left: nothing happens
    handle.deposit(-100.0, "out")
    assert mt5.history_deals_get(0, 2**31)[-1][4:17] == (2, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, -100.0, 0.0, "", "out")


def test_another_account_behind_the_pipe_shows_its_own_books():
    other = AccountConfig(login=42, balance=77.0, server="Elsewhere")
    with f1(other_accounts=(other,), faults=(Fault(OtherAccount(42), at=NOON + MINUTE),)) as handle:
        mt5 = handle.module
        ticket = mt5.order_send(REQ | {"tp": 1.102}).order
        later(handle, 60)
        assert mt5.account_info()[0] == 42
        assert (mt5.account_info().balance, mt5.account_info().server) == (77.0, "Elsewhere")
        assert mt5.positions_get() == ()
        handle.market.tick("EURUSD", 1.103, 1.1031)  # the first account goes on at the broker
        assert mt5.login(1_000_001)
        assert mt5.history_deals_get(position=ticket)[-1].reason == 5
        with pytest.raises(Final, match="none of the config"):
            handle.faults.now(OtherAccount(43))


def test_a_terminal_crashes_at_its_time_and_the_server_goes_on(handle, mt5):
    ticket = mt5.order_send(REQ | {"tp": 1.102}).order
    handle.faults.add(Fault(Crash(down_s=30), at=NOON + MINUTE))
    later(handle, 70)
    handle.market.tick("EURUSD", 1.102, 1.1021)
    assert mt5.account_info() is None
    assert mt5.last_error()[0] == -10001
    assert mt5.initialize() is True
    assert handle.clock.now_utc() >= NOON + timedelta(seconds=90)
    assert mt5.history_deals_get(position=ticket)[-1].reason == 5


def test_the_same_plan_gives_the_same_history_twice():
    plan = (
        Fault(Retcode(10004), function="order_send", nth=2, times=2),
        Fault(ReplyLost(), function="order_send", nth=5),
        Fault(SpreadSpike(50, 20), at=NOON + MINUTE),
        Fault(ManualTrade("USDJPY", 1, 0.2), at=NOON + 2 * MINUTE),
    )
    seen = []
    for _ in range(2):
        with f1(faults=plan, symbols=(EURUSD, USDJPY, EURJPY, XAUUSD)) as handle:
            mt5 = handle.module
            answers = []
            for _ in range(8):
                result = mt5.order_send(REQ)
                answers.append((None if result is None else tuple(result)[:10], mt5.last_error()))
                mt5.initialize()
                later(handle, 30)
            seen.append((answers, mt5.history_deals_get(0, 2**31), mt5.account_info()))
    assert seen[0] == seen[1]
    assert [answer and answer[0] for answer, _ in seen[0][0]] == [10009, 10004, 10004, 10009, None, 10009, 10009, 10009]
