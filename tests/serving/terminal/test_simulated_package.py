"""Scenarios A: how the package reads arguments, answers None or False, and what last_error says."""

import enum
import importlib
import re
import sys
from datetime import datetime

import numpy as np
import pytest

from serving._errors import Final
from serving.terminal import simulated, surface
from serving.terminal.simulated import AccountConfig, Crash, Fault
from tests.serving.terminal.simulated_fixture import NOON, REQ, SERVER_NOON, f1, f1_config

OK = (1, "Success")
NO_PIPE = (-10004, "No IPC connection")


def bad(text: str) -> tuple[int, str]:
    return -2, text


def test_install_registers_the_module_and_uninstall_takes_it_away():
    assert "MetaTrader5" not in sys.modules
    with f1() as handle:
        assert importlib.import_module("MetaTrader5") is handle.module
        with f1() as second:
            assert importlib.import_module("MetaTrader5") is second.module
        assert importlib.import_module("MetaTrader5") is handle.module
    assert "MetaTrader5" not in sys.modules


def test_the_module_carries_all_constants_and_structs_and_only_what_works(mt5):
    assert {name: getattr(mt5, name) for name in surface.CONSTANTS} == surface.CONSTANTS
    assert all(getattr(mt5, name) is kind for name, kind in surface.STRUCTS.items())
    assert re.fullmatch(r"\d+\.\d+\.\d+", mt5.__version__)
    assert not hasattr(mt5, "TRADE_RETCODE_HEDGE_PROHIBITED")
    for absent in ("copy_ticks_from", "copy_ticks_range", "market_book_add", "market_book_get", "market_book_release", "Buy"):
        assert not hasattr(mt5, absent)
        assert absent in simulated.__doc__
    assert all(name in simulated.__doc__ for name in simulated.FUNCTIONS)


def test_results_turn_into_dicts_whose_request_stays_a_struct(mt5):
    result = mt5.order_send(REQ)._asdict()
    assert list(result) == surface.STRUCT_FIELDS["OrderSendResult"].split()
    assert isinstance(result["request"], mt5.TradeRequest)


def test_wrong_call_shapes_raise_type_errors(mt5):
    for call in (
        lambda: mt5.account_info(1),
        lambda: mt5.copy_rates_from_pos(symbol="EURUSD", timeframe=1, start_pos=0, count=1),
        lambda: mt5.symbol_info(symbol="EURUSD"),
        lambda: mt5.order_calc_margin(action=0),
        lambda: mt5.history_deals_total(date_from=1, date_to=2),
        lambda: mt5.shutdown(1),
        lambda: mt5.last_error(1),
        lambda: mt5.symbols_total(1),
    ):
        with pytest.raises(TypeError):
            call()


def test_last_error_is_empty_before_the_first_call_and_success_after_initialize():
    with f1(connect=False) as handle:
        assert handle.module.last_error() == (0, "")
        assert handle.module.initialize() is True
        assert handle.module.last_error() == OK


def test_without_initialize_every_call_says_that_there_is_no_connection():
    with f1(connect=False) as handle:
        mt5 = handle.module
        for call, answer in (
            (mt5.account_info, None),
            (mt5.positions_get, None),
            (mt5.terminal_info, None),
            (mt5.symbols_get, None),
            (mt5.positions_total, None),
            (lambda: mt5.symbol_select("EURUSD"), False),
            (lambda: mt5.login(1_000_001), False),
            (lambda: mt5.order_send(REQ), None),
            (lambda: mt5.copy_rates_from_pos("EURUSD", 1, 0, 1), None),
            (lambda: mt5.history_deals_get(0, 1), None),
            (mt5.version, (0, 0, "")),
        ):
            assert call() == answer
            assert mt5.last_error() == NO_PIPE
        assert mt5.shutdown() is True
        assert mt5.last_error() == OK


@pytest.mark.parametrize(
    ("call", "answer", "error"),
    [
        (lambda m: m.positions_get("EURUSD"), None, bad("Unnamed arguments not allowed")),
        (lambda m: m.positions_get(symbol=None), None, bad('Invalid "symbol" argument')),
        (lambda m: m.orders_get(ticket="1"), None, bad('Invalid "ticket" argument')),
        (lambda m: m.positions_get(group=1), None, bad('Invalid "group" argument')),
        (lambda m: m.positions_get(symbol="EURUSD"), (), OK),
        (lambda m: m.orders_get(ticket=999999), (), OK),
        (lambda m: m.orders_total(), 0, OK),
        (lambda m: m.history_deals_get(0x5D000000, 0x5D000001), (), OK),
        (lambda m: m.order_send([]), None, bad("Invalid arguments")),
        (lambda m: m.order_send(m.TradeRequest((0,) * 17)), None, bad("Invalid arguments")),
        (lambda m: m.order_send(), None, bad("Invalid number of arguments")),
        (lambda m: m.order_send(REQ, REQ), None, bad("Invalid number of arguments")),
        (lambda m: m.order_send(REQ, volume=0.1), None, bad("Unnamed arguments not allowed")),
        (lambda m: m.history_orders_get(), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(date_from=1, date_to=2), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(1), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(NOON.date(), 2), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(np.int64(1), 2), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(float("nan"), 2), None, bad("Invalid arguments")),
        (lambda m: m.history_deals_get(ticket=1.0), None, bad('Invalid "ticket" argument')),
        (lambda m: m.history_deals_get(1, 2, group=None), None, bad('Invalid "group" argument')),
        (lambda m: m.initialize(None), False, bad("Invalid 1st unnamed argument")),
        (lambda m: m.initialize("a", "b"), False, bad("Invalid number of arguments")),
        (lambda m: m.initialize(login="1"), False, bad('Invalid "login" argument')),
        (lambda m: m.initialize(server=5), False, bad('Invalid "server" argument')),
        (lambda m: m.login(), False, bad("Invalid number of arguments")),
        (lambda m: m.login("x"), False, bad('Invalid "login" argument')),
        (lambda m: m.symbol_info("NOPE"), None, (-4, "Terminal: Not found")),
        (lambda m: m.symbol_info_tick("NOPE"), None, (-4, "Terminal: Not found")),
        (lambda m: m.symbol_select("NOPE"), False, (-4, "Terminal: Not found")),
        (lambda m: m.copy_rates_from_pos("NOPE", 1, 0, 1), None, (-1, "Terminal: Call failed")),
        (lambda m: m.symbol_info("E" * 30), None, bad("Invalid arguments")),
        (lambda m: m.symbol_info(), None, bad("Invalid arguments")),
        (lambda m: m.copy_rates_from_pos("EURUSD", 1, 0), None, bad("Invalid arguments")),
        (lambda m: m.copy_rates_from("EURUSD", 1, "today", 5), None, bad("Invalid arguments")),
        (lambda m: m.order_calc_margin(0, "EURUSD"), None, bad("Invalid number of arguments")),
        (lambda m: m.symbols_get(5), False, bad("Invalid arguments")),
        (lambda m: m.symbols_get(group="NON_EXISTENT"), (), OK),
        (lambda m: m.symbols_total(), 4, OK),
        (lambda m: m.symbol_select(), False, bad("Invalid arguments")),
    ],
)
def test_an_answer_comes_with_its_error_text(mt5, call, answer, error):
    assert call(mt5) == answer
    assert mt5.last_error() == error


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("volume", 1), ("price", 1), ("volume", np.float32(0.1)), ("magic", np.int64(5)), ("position", 5.0),
        ("expiration", datetime(2024, 3, 6)), ("sl", None), ("symbol", 5), ("comment", "x" * 30), ("comment", "😀" * 15),
        ("action", "1"),
    ],
)  # fmt: skip
def test_a_request_field_of_a_wrong_type_is_named(mt5, field, value):
    assert mt5.order_send(REQ | {field: value}) is None
    assert mt5.last_error() == bad(f'Invalid "{field}" argument')
    assert mt5.order_check(REQ | {field: value}) is None


def test_the_first_wrong_field_in_the_order_of_the_struct_wins(mt5):
    mt5.order_send(REQ | {"comment": 1, "tp": 1, "magic": 0.5})
    assert mt5.last_error() == bad('Invalid "magic" argument')


def test_what_the_package_takes_is_filled(mt5):
    class Side(enum.IntEnum):
        BUY = 0

    for request in (
        REQ | {"volume": np.float64(0.1), "type": Side.BUY},
        REQ | {"foo": object()},
        REQ | {"comment": "x" * 29},
        REQ | {"type": False},
    ):
        assert mt5.order_send(request).retcode == 10009
    assert mt5.order_send(**REQ).retcode == 10009


def test_wrong_types_in_c_slots_raise_a_system_error_caused_by_a_type_error(mt5):
    for call in (
        lambda: mt5.copy_rates_from_pos("EURUSD", 1, 0, 10.0),
        lambda: mt5.copy_rates_from("EURUSD", "1", 0, 10),
        lambda: mt5.copy_rates_range("EURUSD", 1.0, 0, 10),
        lambda: mt5.order_calc_margin(0, "EURUSD", "1", 1.1),
    ):
        with pytest.raises(SystemError) as caught:
            call()
        assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(SystemError) as caught:
        mt5.order_send(REQ | {"magic": -1})
    assert isinstance(caught.value.__cause__, OverflowError)


def test_margin_is_calculated_from_ints_too(mt5):
    assert isinstance(mt5.order_calc_margin(0, "EURUSD", 1, 1), float)


def test_a_bad_login_closes_the_pipe_in_initialize_and_keeps_it_in_login(mt5):
    assert mt5.login(1, "bad", "X") is False
    assert mt5.last_error() == (-6, "Terminal: Authorization failed")
    assert mt5.account_info().login == 1_000_001
    assert mt5.initialize(login=1, password="bad", server="X") is False
    assert mt5.last_error() == (-6, "Terminal: Authorization failed")
    assert mt5.account_info() is None
    assert mt5.last_error() == NO_PIPE


def test_login_goes_to_another_account_of_the_broker():
    with f1(other_accounts=(AccountConfig(login=7, password="p", balance=500.0),)) as handle:
        mt5 = handle.module
        assert mt5.login(7, "wrong") is False
        assert mt5.login(7, "p", "Tradewind-Simulated") is True
        assert (mt5.account_info().login, mt5.account_info().balance) == (7, 500.0)
        assert mt5.initialize(login=1_000_001, password="simulated") is True
        assert mt5.account_info().balance == 10_000.0


def test_after_a_crash_one_call_fails_then_there_is_no_connection_until_initialize(handle, mt5):
    handle.faults.now(Crash())
    assert mt5.positions_get() is None
    assert mt5.last_error() == (-10001, "IPC send failed")
    for _ in range(2):
        assert mt5.positions_get() is None
        assert mt5.last_error() == NO_PIPE
    assert mt5.initialize() is True
    assert mt5.positions_get() == ()


def test_a_terminal_that_is_down_answers_initialize_with_a_timeout_until_it_is_up(handle, mt5):
    handle.faults.add(Fault(Crash(down_s=30), function="account_info", nth=2))
    assert mt5.account_info() is not None
    assert mt5.account_info() is None
    assert mt5.initialize(timeout=10_000) is False
    assert mt5.last_error() == (-10005, "IPC timeout")
    assert mt5.initialize(timeout=60_000) is True
    assert (handle.clock.now_utc() - NOON).total_seconds() == pytest.approx(30, abs=0.11)


def test_a_terminal_without_account_times_out_after_the_time_asked_for():
    with f1(connect=False) as handle:
        handle.terminal.has_account = False
        assert handle.module.initialize(timeout=300) is False
        assert handle.module.last_error() == (-10005, "IPC timeout")
        assert (handle.clock.now_utc() - NOON).total_seconds() == pytest.approx(0.3)


def test_symbols_are_found_by_masks(mt5):
    def names(group):
        return [symbol.name for symbol in mt5.symbols_get(group)]

    assert names("EUR*") == ["EURUSD", "EURJPY"]
    assert names("*") == ["EURUSD", "USDJPY", "EURJPY", "XAUUSD"]
    assert names("*, !EUR*") == ["USDJPY", "XAUUSD"]
    assert names("!EUR*") == []
    assert names("eur*") == names("EUR???") == names("[E]URUSD") == []
    assert names("*,!EUR") == names("*")


def test_a_hidden_symbol_is_selected_by_default():
    with f1(connect=False) as handle:
        mt5 = handle.module
        mt5.initialize()
        assert mt5.symbol_info("XAUUSD").select is False
        assert mt5.symbol_info("XAUUSD").bid == 0.0
        assert mt5.symbol_info_tick("XAUUSD") is None
        assert mt5.symbol_select("XAUUSD") is True
        assert mt5.symbol_info("XAUUSD").select is True
        assert mt5.symbol_info("XAUUSD").ask == 2000.5


def test_a_symbol_with_positions_cannot_be_hidden(mt5):
    mt5.order_send(REQ)
    assert mt5.symbol_select("EURUSD", False) is False
    assert mt5.symbol_select("USDJPY", False) is True


TYPES = {"int": int, "bool": bool, "float": float, "str": str}


def test_struct_values_have_the_types_of_the_package(mt5):
    mt5.order_send(REQ)
    order, deal = mt5.history_orders_get(0, 2**31)[0], mt5.history_deals_get(0, 2**31)[0]
    for value, floats in (
        (mt5.account_info(), slice(10, 24)),
        (mt5.terminal_info(), slice(14, 16)),
        (mt5.symbol_info("USDJPY"), slice(31, 83)),
        (mt5.positions_get()[0], slice(9, 16)),
        (order, slice(14, 21)),
        (deal, slice(9, 15)),
        (mt5.order_send(REQ), slice(3, 7)),
    ):
        rows = range(len(value))[floats]
        texts = [row for row, item in enumerate(value) if type(item) is str]
        assert all(type(value[row]) is float for row in rows)
        others = [row for row in range(len(value)) if row not in rows and row not in texts]
        assert all(isinstance(value[row], int | mt5.TradeRequest) for row in others)


def test_the_terminal_says_what_it_is(mt5):
    assert mt5.terminal_info().connected is True
    assert mt5.terminal_info().maxbars == 100_000
    version, build, day = mt5.version()
    assert (version, build > 0, isinstance(day, str)) == (500, True, True)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (lambda: {"account": AccountConfig(margin_mode="netting")}, "netting"),
        (lambda: {"start": datetime(2024, 3, 6)}, "no zone"),
        (lambda: {"maxbars": 0}, "maxbars"),
        (lambda: {"symbols": ()}, "at least one"),
        (lambda: {"market": {}}, "no bars of 'EURUSD'"),
        (lambda: {"symbols": f1_config().symbols[2:3]}, "convert JPY to USD"),
        (lambda: {"server_clock": "moon"}, "clock rule"),
    ],
)
def test_a_config_that_cannot_be_played_is_refused_with_its_reason(changes, part):
    with pytest.raises(Exception, match=part) as caught:
        simulated.install(f1_config(**changes()))
    assert type(caught.value).__name__ == "Final"
    assert "MetaTrader5" not in sys.modules


def test_faults_that_make_no_sense_are_refused():
    for wrong in (
        lambda: Fault(Crash()),
        lambda: Fault(simulated.Retcode(10004), function="account_info"),
        lambda: Fault(simulated.Offline(5), function="order_send"),
        lambda: Fault(simulated.ReplyLost(), at=NOON),
        lambda: Fault(Crash(), function="version", nth=0),
    ):
        with pytest.raises(Final):
            wrong()


def test_server_time_is_dressed_as_utc(mt5):
    tick = mt5.symbol_info_tick("EURUSD")
    assert tick.time == SERVER_NOON
    assert tick.time_msc // 1000 == tick.time
