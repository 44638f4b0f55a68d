"""Orders under every fault the simulated terminal has: one intent, one position, and the trader knows it."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import magic
from serving.orders import OrderPolicy
from serving.terminal.broker import Disconnected
from serving.terminal.simulated import Crash, Hidden, NoPrices, Offline, ReplyLost, Retcode
from tests.serving.live_parts import Desk, frozen


@pytest.fixture
def desk(tmp_path):
    with frozen() as handle:
        desk = Desk(tmp_path, handle)
        yield desk
        desk.journal.close()


def believed(desk):
    """Positions that the journal believes in, by ticket."""
    return sorted(desk.journal.open_exits())


def real(desk):
    return sorted(p.ticket for p in desk.broker.positions())


def test_an_order_is_filled_journaled_and_protected(desk):
    intent = desk.buy()
    assert (intent.state, intent.filled_lots, intent.attempts) == ("filled", 0.1, 1)
    (position,) = desk.broker.positions()
    assert magic.decode(position.magic) == (intent.line_id, intent.sequence)
    assert (position.stop, position.target) == (1.095, 1.105)
    exit_ = desk.journal.open_exits()[position.ticket]
    assert (exit_.stop, exit_.target, exit_.horizon_bars, exit_.timeframe, exit_.bundle) == (1.095, 1.105, 12, "H1", "ab")
    (request,) = desk.journal.rows("SELECT * FROM requests")
    assert '"magic"' in request["request"] and '"retcode": 10009' in request["reply"]


def test_the_intent_is_durable_before_anything_is_sent(desk, monkeypatch):
    seen = []

    def watched(request):
        seen.append([(i.state, i.attempts) for i in desk.journal.unresolved()])
        raise RuntimeError("the process dies here")

    monkeypatch.setattr(desk.handle.module, "order_send", watched)
    desk.buy()
    assert seen == [[("unknown", 1)]]


FAULTS = {
    "the reply was lost after the fill": ReplyLost(done=True),
    "the pipe broke before the fill": ReplyLost(done=False),
    "a timeout hid a fill": Retcode(10012, done=True),
    "a timeout without a fill": Retcode(10012),
    "no connection, but filled": Retcode(10031, done=True),
    "no connection": Retcode(10031),
    "an error, but filled": Retcode(10011, done=True),
    "a requote": Retcode(10004),
    "a rejection": Retcode(10006),
    "no money": Retcode(10019),
    "the fill cannot be seen for 3 s": Hidden(3.0),
    "the terminal crashed": Crash(2.0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_leaves_at_most_one_position_and_the_journal_knows_it(desk, name):
    desk.handle.faults.now(FAULTS[name]) if not isinstance(FAULTS[name], Crash) else desk.handle.faults.add(
        _on_send(FAULTS[name])
    )
    intent = desk.buy()
    desk.settle(20)
    assert desk.journal.unresolved() == []
    assert believed(desk) == real(desk) and len(real(desk)) <= 1
    state = desk.journal.intent(intent.sequence).state
    assert (state == "filled") == (len(real(desk)) == 1)
    assert state == ("rejected" if name in ("a rejection", "no money") else "filled"), "all others may be sent again while fresh"


def _on_send(effect):
    from serving.terminal.simulated import Fault

    return Fault(effect, "order_send")


effects = st.sampled_from(
    [
        None,
        ReplyLost(done=True),
        ReplyLost(done=False),
        Retcode(10012, done=True),
        Retcode(10012),
        Retcode(10031, done=True),
        Retcode(10004),
        Retcode(10006),
        Hidden(2.0),
        Hidden(4.5),
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(effects, min_size=1, max_size=5), restart=st.integers(0, 6), close_first=st.booleans())
def test_whatever_happens_there_are_never_two_positions_for_one_intent(tmp_path_factory, plan, restart, close_first):
    with frozen() as handle:
        desk = Desk(tmp_path_factory.mktemp("desk"), handle)
        for nth, effect in enumerate(plan, start=1):
            if effect is not None:
                handle.faults.add(_nth(effect, nth))
        intent = desk.buy()
        if restart:
            desk.settle(restart)
            desk = desk.again()
        desk.settle(40)
        assert len(real(desk)) <= 1 and believed(desk) == real(desk) and desk.journal.unresolved() == []
        assert (desk.journal.intent(intent.sequence).state == "filled") == bool(real(desk))
        if close_first:
            for position in desk.broker.positions():
                for _ in range(6):
                    desk.close(position)
                    desk.settle(20)
            assert real(desk) == believed(desk) == []
        desk.journal.close()


def _nth(effect, nth):
    from serving.terminal.simulated import Fault

    return Fault(effect, "order_send", nth=1 if nth == 1 else nth)


def test_a_requote_is_asked_again_while_fresh_and_only_so_often(desk):
    for _ in range(5):
        desk.handle.faults.now(Retcode(10004))
    intent = desk.buy()
    assert (intent.state, intent.attempts) == ("rejected", 3)
    assert "Requote" in intent.note


def test_an_intent_found_at_restart_is_looked_for_and_never_sent_again_once_stale(tmp_path):
    with frozen() as handle:
        desk = Desk(tmp_path, handle, OrderPolicy(look_s=0.0))
        handle.faults.now(Retcode(10012))
        intent = desk.buy()
        assert intent.state == "unknown"
        handle.clock.wait_until(handle.clock.now_utc() + timedelta(minutes=5))
        desk = desk.again()
        desk.settle(10)
        after = desk.journal.intent(intent.sequence)
        assert (after.state, after.attempts) == ("not_filled", 1) and real(desk) == []
        desk.journal.close()


def test_a_fill_before_the_crash_is_found_at_restart_with_its_exits(tmp_path):
    with frozen() as handle:
        desk = Desk(tmp_path, handle, OrderPolicy(look_s=0.0))
        handle.faults.now(ReplyLost(done=True))
        intent = desk.buy()
        desk = desk.again()
        desk.orders.resolve()
        after = desk.journal.intent(intent.sequence)
        assert after.state == "filled" and believed(desk) == real(desk) == [after.position]
        assert desk.journal.open_exits()[after.position].stop == 1.095
        desk.journal.close()


def test_when_the_terminal_is_gone_before_sending_there_is_no_intent_at_all(desk):
    desk.handle.faults.now(Crash(30))
    with pytest.raises(Disconnected):
        desk.buy()
    assert desk.journal.rows("SELECT * FROM intents") == [] == desk.journal.rows("SELECT * FROM requests")


def test_a_price_that_ran_away_is_not_chased(desk):
    desk.handle.faults.now(Retcode(10012))
    desk.handle.clock.call_at(
        desk.clock.now_utc() + timedelta(seconds=3), lambda: desk.handle.market.tick("EURUSDm", 1.1010, 1.1011)
    )
    intent = desk.buy()
    desk.settle(15)
    after = desk.journal.intent(intent.sequence)
    assert after.state == "not_filled" and "ran away" in after.note and real(desk) == []


def test_a_late_second_fill_of_one_intent_is_closed(desk):
    intent = desk.buy()
    (position,) = desk.broker.positions()
    desk.handle.module.order_send(desk_request(desk, intent.magic))
    assert len(real(desk)) == 2
    desk.settle(3)
    assert real(desk) == believed(desk) == [position.ticket]


def desk_request(desk, number):
    mt5 = desk.handle.module
    return {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSDm", "volume": 0.1, "type": mt5.ORDER_TYPE_BUY, "price": 1.1001,
            "magic": number, "deviation": 20}  # fmt: skip


def test_an_intent_given_up_whose_fill_shows_up_later_is_taken_in(tmp_path):
    with frozen() as handle:
        desk = Desk(tmp_path, handle, OrderPolicy(settle_s=1.0, max_attempts=1))
        handle.faults.now(Hidden(6.0))
        handle.faults.now(Retcode(10012, done=True))
        intent = desk.buy()
        handle.module.order_send(desk_request(desk, intent.magic)) if not desk.handle.account.positions else None
        desk.settle(10)
        assert believed(desk) == real(desk) and len(real(desk)) == 1
        assert desk.journal.intent(intent.sequence).state == "filled"
        desk.journal.close()


def test_a_position_closed_by_its_stop_is_known_with_its_deal(desk):
    desk.buy()
    desk.handle.market.tick("EURUSDm", 1.0949, 1.0950)
    desk.orders.reconcile(desk.broker.positions())
    assert believed(desk) == real(desk) == []
    (closed,) = desk.journal.events(kind="position closed")
    assert closed["detail"]["how"] == "stop" and closed["detail"]["profit"] < -50
    assert [d.line for d in desk.journal.deals() if d.kind == "trade"] == ["majors/EURUSD"] * 2


def test_deals_become_fills_once(desk):
    desk.buy()
    first, second = desk.orders.collect(), desk.orders.collect()
    assert [d.kind for d in first] == ["balance", "trade"] and second == []


def test_closing_twice_closes_once_and_opens_nothing(desk):
    desk.buy()
    (position,) = desk.broker.positions()
    states = [desk.orders.close(position, line="majors/EURUSD", reason="time").state for _ in range(2)]
    desk.settle(2)
    assert states == ["filled", "filled"] and real(desk) == believed(desk) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_close_under_a_fault_is_asked_again_until_it_is_done(desk, name):
    desk.buy()
    (position,) = desk.broker.positions()
    effect = FAULTS[name]
    desk.handle.faults.add(_on_send(effect))
    for _ in range(4):
        desk.close(position)
        desk.settle(8)
    assert real(desk) == believed(desk) == []
    assert desk.journal.unresolved() == []
    assert sum(d.lots for d in desk.broker.deals(desk.clock.now_utc() - timedelta(hours=1)) if d.entry == "out") == 0.1


def test_a_removed_stop_is_put_back(desk):
    desk.buy()
    (position,) = desk.broker.positions()
    mt5 = desk.handle.module
    mt5.order_send({"action": mt5.TRADE_ACTION_SLTP, "position": position.ticket, "symbol": "EURUSDm", "sl": 0.0, "tp": 0.0})
    assert desk.broker.positions()[0].stop == 0.0
    assert desk.orders.protect(desk.broker.positions()) == []
    assert (desk.broker.positions()[0].stop, desk.broker.positions()[0].target) == (1.095, 1.105)


def test_stops_refused_on_entry_are_set_right_after(desk, monkeypatch):
    send = desk.handle.module.order_send

    def strict(request):
        with_stops = request["action"] == 1 and (request.get("sl") or request.get("tp"))
        if with_stops:
            desk.handle.faults.now(Retcode(10016))
        return send(request)

    monkeypatch.setattr(desk.handle.module, "order_send", strict)
    intent = desk.buy()
    assert (intent.state, intent.attempts) == ("filled", 2)
    assert desk.orders.protect(desk.broker.positions()) == []
    assert desk.broker.positions()[0].stop == 1.095


def test_a_position_that_cannot_be_protected_is_given_back_to_be_closed(desk):
    desk.buy()
    mt5 = desk.handle.module
    (position,) = desk.broker.positions()
    mt5.order_send({"action": mt5.TRADE_ACTION_SLTP, "position": position.ticket, "symbol": "EURUSDm", "sl": 0.0, "tp": 0.0})
    hopeless = []
    for _ in range(3):
        assert hopeless == []
        desk.handle.faults.now(Retcode(10016))
        hopeless = desk.orders.protect(desk.broker.positions())
    assert [p.ticket for p in hopeless] == [position.ticket]


def test_foreign_positions_are_left_alone(desk):
    foreign = desk.handle.manual_trade("EURUSDm", 1, 0.3)
    assert desk.orders.reconcile(desk.broker.positions()) == [] and desk.orders.protect(desk.broker.positions()) == []
    assert believed(desk) == [] and real(desk) == [foreign]


def test_a_key_that_a_lost_journal_used_is_never_used_again(tmp_path):
    with frozen() as handle:
        desk = Desk(tmp_path / "one", handle)
        for _ in range(3):
            desk.buy(lots=0.01)
        desk.journal.close()
        desk = Desk(tmp_path / "two", handle)
        desk.orders.collect()
        desk.orders.reconcile(desk.broker.positions())
        desk.orders.reconcile(desk.broker.positions())
        assert len(desk.journal.events(kind="orphan")) == 3 and believed(desk) == []
        assert desk.buy(lots=0.01).sequence == 4
        desk.journal.close()


def test_without_prices_or_server_nothing_is_opened_and_the_reason_is_kept(desk):
    desk.handle.faults.now(NoPrices(60))
    assert "No prices" in desk.buy().note
    desk.handle.faults.now(Offline(20))
    intent = desk.buy()
    desk.settle(45)
    after = desk.journal.intent(intent.sequence)
    assert real(desk) == [] and after.state in ("not_filled", "rejected") and after.note
