"""The surface of the MetaTrader5 package 5.0.6231: structs, dtypes, constants, error and return-code texts.

The struct types are CPython's own PyStructSequence, made as the package makes them: tuple subclasses with
`n_fields`, `__match_args__` and `_asdict()` (shallow), without `_fields` or `_replace`, immutable, and not
picklable. Whoever must move one across processes sends `tuple(value)`. Source: a static reading of the wheel,
which wins over MetaQuotes' documentation where the two differ.
"""

from __future__ import annotations

import ctypes
import warnings
from typing import Any

import numpy as np

from serving.terminal._constants import CONSTANTS as CONSTANTS

VERSION = "5.0.6231"
AUTHOR = "MetaQuotes Ltd."

STRUCT_FIELDS: dict[str, str] = {
    "AccountInfo": (
        "login trade_mode leverage limit_orders margin_so_mode trade_allowed trade_expert margin_mode currency_digits "
        "fifo_close balance credit profit equity margin margin_free margin_level margin_so_call margin_so_so "
        "margin_initial margin_maintenance assets liabilities commission_blocked name server currency company"
    ),
    "TerminalInfo": (
        "community_account community_connection connected dlls_allowed trade_allowed tradeapi_disabled email_enabled "
        "ftp_enabled notifications_enabled mqid build maxbars codepage ping_last community_balance retransmission "
        "company name language path data_path commondata_path"
    ),
    "SymbolInfo": (
        "custom chart_mode select visible session_deals session_buy_orders session_sell_orders volume volumehigh "
        "volumelow time digits spread spread_float ticks_bookdepth trade_calc_mode trade_mode start_time "
        "expiration_time trade_stops_level trade_freeze_level trade_exemode swap_mode swap_rollover3days "
        "margin_hedged_use_leg expiration_mode filling_mode order_mode order_gtc_mode option_mode option_right bid "
        "bidhigh bidlow ask askhigh asklow last lasthigh lastlow volume_real volumehigh_real volumelow_real "
        "option_strike point trade_tick_value trade_tick_value_profit trade_tick_value_loss trade_tick_size "
        "trade_contract_size trade_accrued_interest trade_face_value trade_liquidity_rate volume_min volume_max "
        "volume_step volume_limit swap_long swap_short margin_initial margin_maintenance session_volume "
        "session_turnover session_interest session_buy_orders_volume session_sell_orders_volume session_open "
        "session_close session_aw session_price_settlement session_price_limit_min session_price_limit_max "
        "margin_hedged price_change price_volatility price_theoretical price_greeks_delta price_greeks_theta "
        "price_greeks_gamma price_greeks_vega price_greeks_rho price_greeks_omega price_sensitivity basis category "
        "currency_base currency_profit currency_margin bank description exchange formula isin name page path"
    ),
    "Tick": "time bid ask last volume time_msc flags volume_real",
    "BookInfo": "type price volume volume_dbl",
    "TradePosition": (
        "ticket time time_msc time_update time_update_msc type magic identifier reason volume price_open sl tp "
        "price_current swap profit symbol comment external_id"
    ),
    "TradeOrder": (
        "ticket time_setup time_setup_msc time_done time_done_msc time_expiration type type_time type_filling state "
        "magic position_id position_by_id reason volume_initial volume_current price_open sl tp price_current "
        "price_stoplimit symbol comment external_id"
    ),
    "TradeDeal": (
        "ticket order time time_msc type entry magic position_id reason volume price commission swap profit fee symbol "
        "comment external_id"
    ),
    "TradeRequest": (
        "action magic order symbol volume price stoplimit sl tp deviation type type_filling type_time expiration "
        "comment position position_by"
    ),
    "OrderSendResult": "retcode deal order volume price bid ask comment request_id retcode_external request",
    "OrderCheckResult": "retcode balance equity profit margin margin_free margin_level comment request",
}
"""Fields of each struct, in order, parted by blanks."""


class _Field(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("doc", ctypes.c_char_p))


class _Description(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("doc", ctypes.c_char_p),
        ("fields", ctypes.POINTER(_Field)),
        ("n_in_sequence", ctypes.c_int),
    )


# The types keep pointers into these; they must live as long as the interpreter.
_DESCRIPTIONS: list[Any] = []


def _asdict(self: Any) -> dict[str, Any]:
    """Field name to value, in field order; nested structs stay structs."""
    return dict(zip(type(self).__match_args__, self, strict=True))


def _struct(name: str) -> Any:
    fields = STRUCT_FIELDS[name].split()
    table = (_Field * (len(fields) + 1))(*(_Field(field.encode(), None) for field in fields), _Field(None, None))
    description = _Description(name.encode(), None, table, len(fields))
    _DESCRIPTIONS.append((table, description))
    new_type = ctypes.pythonapi.PyStructSequence_NewType
    new_type.restype, new_type.argtypes = ctypes.py_object, [ctypes.POINTER(_Description)]
    with warnings.catch_warnings():
        # A name without a dot is what the package has too; CPython warns that it then knows no module.
        warnings.simplefilter("ignore", DeprecationWarning)
        made: Any = new_type(ctypes.byref(description))
    # The package's types are static. A heap type that dies at exit before its last instance makes CPython complain.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    made.__module__ = "builtins"
    made._asdict = _asdict
    return made


AccountInfo = _struct("AccountInfo")
TerminalInfo = _struct("TerminalInfo")
SymbolInfo = _struct("SymbolInfo")
Tick = _struct("Tick")
BookInfo = _struct("BookInfo")
TradePosition = _struct("TradePosition")
TradeOrder = _struct("TradeOrder")
TradeDeal = _struct("TradeDeal")
TradeRequest = _struct("TradeRequest")
OrderSendResult = _struct("OrderSendResult")
OrderCheckResult = _struct("OrderCheckResult")

STRUCTS: dict[str, Any] = {
    "AccountInfo": AccountInfo,
    "TerminalInfo": TerminalInfo,
    "SymbolInfo": SymbolInfo,
    "Tick": Tick,
    "BookInfo": BookInfo,
    "TradePosition": TradePosition,
    "TradeOrder": TradeOrder,
    "TradeDeal": TradeDeal,
    "TradeRequest": TradeRequest,
    "OrderSendResult": OrderSendResult,
    "OrderCheckResult": OrderCheckResult,
}

RATES_DTYPE = np.dtype(
    [("time", "<i8"), ("open", "<f8"), ("high", "<f8"), ("low", "<f8"), ("close", "<f8"),
     ("tick_volume", "<u8"), ("spread", "<i4"), ("real_volume", "<u8")]
)  # fmt: skip
"""One bar of copy_rates_*: 60 bytes, packed. `time` is the open in server time dressed as UTC."""

TICKS_DTYPE = np.dtype(
    [("time", "<i8"), ("bid", "<f8"), ("ask", "<f8"), ("last", "<f8"),
     ("volume", "<u8"), ("time_msc", "<i8"), ("flags", "<u4"), ("volume_real", "<f8")]
)  # fmt: skip
"""One tick of copy_ticks_*: 60 bytes, packed."""

LastError = tuple[int, str]

SUCCESS: LastError = (1, "Success")
CALL_FAILED: LastError = (-1, "Terminal: Call failed")
INVALID_PARAMS: LastError = (-2, "Terminal: Invalid params")
INVALID_ARGUMENTS: LastError = (-2, "Invalid arguments")
INVALID_NUMBER: LastError = (-2, "Invalid number of arguments")
UNNAMED_ARGUMENTS: LastError = (-2, "Unnamed arguments not allowed")
NOT_FOUND: LastError = (-4, "Terminal: Not found")
AUTHORIZATION_FAILED: LastError = (-6, "Terminal: Authorization failed")
API_DISABLED: LastError = (-8, "Auto-Trading using Python API disabled in Terminal")
SEND_FAILED: LastError = (-10001, "IPC send failed")
RECEIVE_FAILED: LastError = (-10002, "IPC recv failed")
NO_CONNECTION: LastError = (-10004, "No IPC connection")
TIMED_OUT: LastError = (-10005, "IPC timeout")

CHECK_OK = "Done"
RETCODE_TEXTS: dict[int, str] = {
    10004: "Requote",
    10006: "Request rejected",
    10007: "Request canceled",
    10008: "Order placed",
    10009: "Request executed",
    10010: "Request executed partially",
    10011: "Request error",
    10012: "Request timeout",
    10013: "Invalid request",
    10014: "Invalid volume",
    10015: "Invalid price",
    10016: "Invalid stops",
    10017: "Trade disabled",
    10018: "Market closed",
    10019: "No money",
    10020: "Price changed",
    10021: "No prices",
    10022: "Invalid expiration",
    10023: "Order has been changed already",
    10024: "Too many trade requests",
    10025: "No changes",
    10026: "AutoTrading disabled by server",
    10027: "AutoTrading disabled by client",
    10028: "Order locked by dealer",
    10029: "Modification failed due to order or position being close to market",
    10030: "Unsupported filling mode",
    10031: "No connection",
    10032: "Allowed for real accounts only",
    10033: "Order limit reached",
    10034: "Volume limit reached",
    10035: "Invalid or prohibited order type",
    10036: "Position doesn't exist",
    10038: "Volume to be closed exceeds the position volume",
    10039: "Order to close this position already exists",
    10040: "Position limit reached",
    10041: "Request rejected, order will be canceled",
    10042: "Only long positions are allowed",
    10043: "Only short positions are allowed",
    10044: "Only position closing is allowed",
    10045: "Position close prohibited by FIFO rule",
    10046: "Hedge is prohibited",
}
"""Comment of an order result by return code. 10046 has no constant in the package."""
