"""The broker remembers: snapshots, files, autosave, and a process that dies at noon. And its books always add up."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.sources.generator import MarketConfig, generate
from serving._errors import Final
from serving.terminal.simulated import AccountConfig, Fault, ManualTrade, SimulatedConfig, SymbolConfig, install
from tests.serving.terminal.simulated_fixture import EURJPY, EURUSD, NOON, REQ, USDJPY, XAUUSD, f1, f1_config, later
from tests.serving.terminal.test_simulated_trading import path_market

HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[3]


def books(handle):
    mt5 = handle.module
    return mt5.account_info(), mt5.positions_get(), mt5.history_deals_get(0, 2**31), mt5.history_orders_get(0, 2**31)


def traded(handle):
    handle.module.order_send(REQ | {"sl": 1.09, "tp": 1.2})
    ticket = handle.module.order_send(REQ | {"type": 1, "price": 1.1, "volume": 0.3}).order
    handle.module.order_send(REQ | {"volume": 0.1, "position": ticket})
    later(handle, 3600 * 13)


def test_a_snapshot_is_json_and_brings_back_the_same_books():
    with f1() as handle:
        traded(handle)
        before = books(handle)
        saved = json.loads(json.dumps(handle.snapshot()))
        later(handle, 600)
        handle.manual_close()
        handle.deposit(5.0)
        assert books(handle) != before
        handle.restore(saved)
        assert books(handle) == before
        assert handle.clock.now_utc() == NOON + 13 * HOUR


def test_going_back_over_midnight_books_the_swap_again():
    with f1() as handle:
        handle.module.order_send(REQ | {"volume": 1.0})
        saved = handle.snapshot()
        for _ in range(2):
            later(handle, 13 * 3600)
            assert handle.module.positions_get()[0].swap == -15.0
            handle.restore(saved)
            assert handle.module.positions_get()[0].swap == 0.0


def test_a_manual_quote_is_remembered(tmp_path):
    with f1() as handle:
        handle.market.tick("EURUSD", 1.15, 1.1502)
        handle.save(tmp_path / "broker.json")
    with install(replace(f1_config(), start=NOON)) as fresh:
        assert fresh.market.quote("EURUSD") == (1.1, 1.1001)
    with install(f1_config(), resume_from=tmp_path / "broker.json") as again:
        assert again.market.quote("EURUSD") == (1.15, 1.1502)


def test_a_resumed_broker_plays_on_to_its_new_start(tmp_path):
    bars = path_market((1.1, 1.1002, 1.0998, 1.1), (1.1, 1.1005, 1.09, 1.095))
    with f1(market=bars) as handle:
        ticket = handle.module.order_send(REQ | {"sl": 1.098}).order
        handle.save(tmp_path / "broker.json")
    config = f1_config(market=bars, start=NOON + HOUR)
    with install(config, resume_from=tmp_path / "broker.json") as again:
        assert again.clock.now_utc() == NOON + HOUR
        assert again.module.account_info() is None  # a new process has to connect first
        again.module.initialize()
        deal = again.module.history_deals_get(position=ticket)[-1]
        assert (deal.reason, deal.price) == (4, 1.098)
        assert again.module.order_send(REQ | {"price": 1.0951}).order > ticket


def test_faults_of_the_past_do_not_happen_again(tmp_path):
    plan = (Fault(ManualTrade("EURUSD", 1, 0.1), at=NOON + HOUR), Fault(ManualTrade("EURUSD", 1, 0.2), at=NOON + 3 * HOUR))
    with f1(faults=plan) as handle:
        later(handle, 2 * 3600)
        handle.save(tmp_path / "broker.json")
    with install(f1_config(faults=plan), resume_from=tmp_path / "broker.json") as again:
        later(again, 2 * 3600)
        again.module.initialize()
        assert [position.volume for position in again.module.positions_get()] == [0.1, 0.2]


def change(**values):
    return lambda state: state | values


def other_bid(state):
    quotes = {name: quote | {"bid": quote["bid"] + 0.001} for name, quote in state["quotes"].items()}
    return state | {"quotes": quotes}


@pytest.mark.parametrize(
    ("config", "edit", "part"),
    [
        ({}, change(schema=2), "schema 2"),
        ({"account": AccountConfig(login=5)}, change(), "accounts"),
        ({"account": AccountConfig(server="Other")}, change(), "saved state is of account"),
        ({"symbols": (EURUSD, USDJPY, EURJPY)}, change(), "lacks"),
        ({}, other_bid, "market differs"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(config, edit, part):
    with f1() as handle:
        state = edit(handle.snapshot())
    with f1(**config) as other, pytest.raises(Final, match=part):
        other.restore(state)


def test_autosave_writes_whole_files_after_each_change(tmp_path):
    path = tmp_path / "deep" / "broker.json"
    with f1(autosave=path) as handle:
        first = json.loads(path.read_text(encoding="utf-8"))
        assert first["accounts"][0]["deals"] == 1
        ticket = handle.module.order_send(REQ | {"tp": 1.102}).order
        assert len(json.loads(path.read_text(encoding="utf-8"))["accounts"][0]["positions"]) == 1
        handle.module.order_send({"action": 6, "position": ticket, "tp": 1.103})
        assert json.loads(path.read_text(encoding="utf-8"))["accounts"][0]["positions"][0]["tp"] == 1.103
        handle.market.tick("EURUSD", 1.104, 1.1041)
        assert json.loads(path.read_text(encoding="utf-8"))["accounts"][0]["positions"] == []
    assert sorted(file.name for file in path.parent.iterdir()) == ["broker.json", "broker.json.clock", "broker.json.history"]


def test_an_autosave_cut_off_in_a_line_of_its_history_still_resumes_and_a_lost_history_is_refused(tmp_path):
    path, history = tmp_path / "broker.json", tmp_path / "broker.json.history"
    with f1(autosave=path) as handle:
        traded(handle)
        before = books(handle)
        reached = handle.clock.now_utc()
    whole = history.read_text(encoding="utf-8")
    history.write_text(whole + '[1000001,"deals",[1,2', encoding="utf-8")
    with install(f1_config(), resume_from=path) as again:
        again.module.initialize()
        assert books(again) == before
        assert again.clock.now_utc() == reached
    history.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(Final, match="history holds"):
        install(f1_config(), resume_from=path)


def test_an_autosave_goes_on_where_it_was_resumed_from(tmp_path):
    path = tmp_path / "broker.json"
    with f1(autosave=path) as handle:
        traded(handle)
    for _ in range(2):
        with install(f1_config(autosave=path), resume_from=path) as handle:
            handle.module.initialize()
            handle.module.order_send(REQ)
            before = books(handle)
    with install(f1_config(), resume_from=path) as again:
        again.module.initialize()
        assert books(again) == before
        assert again.module.history_deals_total(0, 2**31) == 6


CHILD = """
import os, pathlib, sys
from tests.serving.terminal.simulated_fixture import NOON, REQ, f1, later
handle = f1(autosave=pathlib.Path(sys.argv[1]))
handle.module.order_send(REQ | {"sl": 1.09})
later(handle, 3600)
handle.module.order_send(REQ | {"volume": 0.2, "magic": 7})
later(handle, 1800.5)
os._exit(9)
"""


def test_the_broker_outlives_a_process_that_dies_at_noon(tmp_path):
    path = tmp_path / "broker.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", CHILD, str(path)], cwd=ROOT, env=environment, timeout=120)
    assert died.returncode == 9
    with install(f1_config(autosave=path), resume_from=path) as again:
        # it had waited on after its last trade: time does not go back for whoever kept a journal
        assert again.clock.now_utc() == NOON + timedelta(seconds=5400.5)
        again.module.initialize()
        held = [(position.volume, position.sl, position.magic) for position in again.module.positions_get()]
        assert held == [(0.1, 1.09, 234000), (0.2, 0.0, 7)]
        assert again.module.account_info().balance == 10_000.0


# --- properties

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("open"),
            st.sampled_from(["EURUSD", "USDJPY", "EURJPY", "XAUUSD"]),
            st.sampled_from([0, 1]),
            st.integers(1, 120),
            st.sampled_from([0.0, 0.001, 0.01]),
        ),
        st.tuples(st.just("close"), st.integers(0, 5), st.integers(1, 60)),
        st.tuples(st.just("stops"), st.integers(0, 5), st.sampled_from([0.0, 0.002, 0.02])),
        st.tuples(st.just("move"), st.sampled_from(["EURUSD", "USDJPY", "EURJPY", "XAUUSD"]), st.floats(-0.02, 0.02)),
        st.tuples(st.just("wait"), st.integers(1, 20 * 3600)),
    ),
    min_size=1,
    max_size=25,
)
CHARGED = tuple(
    replace(s, execution="market", commission_per_lot=3.57, swap_long=-7.3, swap_short=1.1)
    for s in (EURUSD, USDJPY, EURJPY, XAUUSD)
)
DIGITS = {"EURUSD": 5, "USDJPY": 3, "EURJPY": 3, "XAUUSD": 2}


def act(handle, step) -> None:
    mt5 = handle.module
    match step:
        case ("open", symbol, side, lots, distance):
            price, up = handle.market.quote(symbol)[side], 1 if side == 0 else -1
            levels = {"sl": price * (1 - up * distance), "tp": price * (1 + up * distance)} if distance else {}
            mt5.order_send(REQ | {"symbol": symbol, "type": side, "volume": lots / 100, "type_filling": 1} | levels)
        case ("close", index, lots) if mt5.positions_get():
            position = mt5.positions_get()[index % mt5.positions_total()]
            close = {"position": position.ticket, "symbol": position.symbol, "type": 1 - position.type, "type_filling": 1}
            mt5.order_send(REQ | close | {"volume": min(lots / 100, position.volume)})
        case ("stops", index, distance) if mt5.positions_get():
            position = mt5.positions_get()[index % mt5.positions_total()]
            up = 1 if position.type == 0 else -1
            level = position.price_current * (1 - up * distance) if distance else 0.0
            mt5.order_send({"action": 6, "position": position.ticket, "sl": level})
        case ("move", symbol, change):
            bid = round(handle.market.quote(symbol)[0] * (1 + change), DIGITS[symbol])
            handle.market.tick(symbol, bid, round(bid * 1.0002, DIGITS[symbol]))
        case ("wait", seconds):
            later(handle, seconds)


def check_books(handle) -> None:
    mt5 = handle.module
    account, positions, deals, orders = books(handle)
    floating = sum(position.profit + position.swap for position in positions)
    assert account.equity == pytest.approx(account.balance + floating, abs=0.005)
    assert account.profit == pytest.approx(floating, abs=0.005)
    assert account.margin_free == pytest.approx(account.equity - account.margin, abs=0.005)
    booked = sum(round(100 * (d.profit + d.swap + d.commission + d.fee)) for d in deals)
    assert booked == round(100 * account.balance)
    tickets = {order.ticket: order for order in orders}
    volumes: dict[int, float] = {}
    for deal in deals[1:]:
        order = tickets.pop(deal.order)  # every deal has its own order
        assert (order.position_id, order.volume_initial, order.type) == (deal.position_id, deal.volume, deal.type)
        change = deal.volume if deal.entry == 0 else -deal.volume
        volumes[deal.position_id] = round(volumes.get(deal.position_id, 0.0) + change, 8)
        assert volumes[deal.position_id] >= 0
    assert tickets == {}
    assert {t: v for t, v in volumes.items() if v} == {position.ticket: position.volume for position in positions}
    assert list(deals) == sorted(deals, key=lambda deal: (deal.time_msc, deal.ticket))
    assert mt5.positions_total() == len(positions)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_books_add_up_whatever_happens(steps):
    with f1(symbols=CHARGED) as handle:
        for step in steps:
            act(handle, step)
            check_books(handle)
        before = books(handle)
        handle.restore(json.loads(json.dumps(handle.snapshot())))
        assert books(handle) == before


def test_a_generated_market_is_played_for_a_week_by_a_stranger_who_only_knows_the_package():
    """Three symbols, an order an hour, every second bar read: history replays and the market stays in step."""
    start = datetime(2024, 3, 3, 22, tzinfo=UTC)
    made = generate(MarketConfig(symbols=("EURUSD", "USDJPY", "EURJPY"), start=start, days=8, seed=5))
    symbols = tuple(SymbolConfig.from_spec(replace(made.spec(s, "sim"), swap_long=-3.0)) for s in ("EURUSD", "USDJPY", "EURJPY"))
    with install(SimulatedConfig(symbols=symbols, market=made, start=start + 12 * HOUR)) as handle:
        mt5, now = handle.module, handle.clock.now_utc()
        assert mt5.initialize()
        for hour in range(24 * 6):
            now += HOUR
            assert handle.clock.wait_until(now)
            symbol = symbols[hour % 3].name
            tick = mt5.symbol_info_tick(symbol)
            side, price = hour // 3 % 2, tick.ask if hour // 3 % 2 == 0 else tick.bid
            away = (0.005 if side == 0 else -0.005) * price  # farther than the widest spread of the night
            request = {"action": 1, "symbol": symbol, "type": side, "volume": 0.05, "sl": price - away, "tp": price + away}
            assert mt5.order_send(request).retcode == (10009 if handle.market.is_open() else 10018)
            rates = mt5.copy_rates_from_pos(symbol, mt5.TIMEFRAME_H1, 0, 10)
            assert rates["close"][-1] == tick.bid
            check_books(handle)
        deals = mt5.history_deals_get(0, 2**31)
        assert {deal.reason for deal in deals} >= {0, 3, 4, 5}
        assert any(deal.swap < 0 for deal in deals)
