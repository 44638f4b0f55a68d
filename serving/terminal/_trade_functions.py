"""The package's functions about positions, orders, history and trading."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from serving.terminal._arguments import NAME_UNITS, BadField, in_group, is_text, request_of, seconds_of, slot_float, slot_int
from serving.terminal._desk import Desk
from serving.terminal._faults import Hidden, ReplyLost, Retcode
from serving.terminal._market import NoQuote
from serving.terminal._money import BUY, SELL
from serving.terminal._server import Server
from serving.terminal._session import Session
from serving.terminal.surface import (
    API_DISABLED,
    CALL_FAILED,
    INVALID_ARGUMENTS,
    INVALID_NUMBER,
    INVALID_PARAMS,
    NOT_FOUND,
    SUCCESS,
    UNNAMED_ARGUMENTS,
)

Records = tuple[Any, ...]


def _everything(ticket: int, symbol: str) -> bool:
    return True


class TradeFunctions(Session):
    """positions_*, orders_*, history_*, order_*."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._desk = Desk(server)

    # --- what is open

    def positions_total(self) -> int | None:
        """Number of open positions."""
        self.error = SUCCESS
        return len(self._server.current.seen_positions()) if self._reaches("positions_total") else None

    def positions_get(self, *args: Any, **kwargs: Any) -> Any:
        """Tuple of TradePosition: all, or by ticket, else symbol, else group (keywords only)."""
        wanted = self._filter("positions_get", args, kwargs)
        if wanted is None:
            return None
        account = self._server.current
        return tuple(account.shown(p) for p in account.seen_positions() if wanted(p.ticket, p.symbol))

    def orders_total(self) -> int | None:
        """Number of pending orders: 0, this floor has none."""
        self.error = SUCCESS
        return 0 if self._reaches("orders_total") else None

    def orders_get(self, *args: Any, **kwargs: Any) -> Any:
        """Tuple of the pending TradeOrder: empty, this floor has none."""
        return None if self._filter("orders_get", args, kwargs) is None else ()

    def _filter(self, function: str, args: Records, kwargs: dict[str, Any]) -> Callable[[int, str], bool] | None:
        self.error = SUCCESS
        if args:
            self.error = UNNAMED_ARGUMENTS
            return None
        for name in ("ticket", "symbol", "group"):
            if name in kwargs and not (isinstance(kwargs[name], int) if name == "ticket" else is_text(kwargs[name], NAME_UNITS)):
                self.error = (-2, f'Invalid "{name}" argument')
                return None
        if not self._reaches(function):
            return None
        if "ticket" in kwargs:
            ticket = kwargs["ticket"]
            return lambda t, _: bool(t == ticket)
        if "symbol" in kwargs:
            symbol = kwargs["symbol"]
            return lambda _, s: bool(s == symbol)
        if "group" not in kwargs:
            return _everything
        matches = in_group(kwargs["group"])
        return lambda _, s: matches(s)

    # --- history

    def history_orders_total(self, *args: Any) -> Any:
        """Number of finished orders between two dates."""
        found = self._history("history_orders_total", args, {}, deals=False)
        return None if found is None else len(found)

    def history_deals_total(self, *args: Any) -> Any:
        """Number of deals between two dates."""
        found = self._history("history_deals_total", args, {}, deals=True)
        return None if found is None else len(found)

    def history_orders_get(self, *args: Any, **kwargs: Any) -> Any:
        """Tuple of finished TradeOrder between two dates (by time done), or by ticket=, or by position=."""
        return self._history("history_orders_get", args, kwargs, deals=False)

    def history_deals_get(self, *args: Any, **kwargs: Any) -> Any:
        """Tuple of TradeDeal between two dates, or one by ticket= (of the deal, else of its order), or by position=."""
        return self._history("history_deals_get", args, kwargs, deals=True)

    def _history(self, function: str, args: Records, kwargs: dict[str, Any], *, deals: bool) -> Any:
        self.error = SUCCESS
        if args or not ("ticket" in kwargs or "position" in kwargs):
            return self._history_between(function, args, kwargs, deals=deals)
        name = "ticket" if "ticket" in kwargs else "position"
        number = kwargs[name]
        if not isinstance(number, int):
            return self._fail((-2, f'Invalid "{name}" argument'))
        if not self._reaches(function):
            return None
        records = self._records(0, 1 << 40, deals=deals)
        if name == "position":
            return tuple(record for record in records if record.position_id == number)
        found = [record for record in records if record.ticket == number]
        if not found and deals:
            found = [record for record in records if record.order == number and number]
        return tuple(found[:1])

    def _history_between(self, function: str, args: Records, kwargs: dict[str, Any], *, deals: bool) -> Any:
        dates = [seconds_of(value) for value in args]
        if len(dates) != 2 or dates[0] is None or dates[1] is None:
            return self._fail(INVALID_ARGUMENTS)
        group = kwargs.get("group", "*")
        if not is_text(group, NAME_UNITS):
            return self._fail((-2, 'Invalid "group" argument'))
        if not self._reaches(function):
            return None
        records = self._records(dates[0], dates[1], deals=deals)
        if "group" not in kwargs:
            return tuple(records)
        matches = in_group(group)
        return tuple(record for record in records if matches(record.symbol))

    def _records(self, start_s: int, end_s: int, *, deals: bool) -> list[Any]:
        account = self._server.current
        return account.seen_deals(start_s, end_s) if deals else account.seen_orders(start_s, end_s)

    # --- trading

    def _request(self, function: str, args: Records, kwargs: dict[str, Any]) -> Any:
        self.error = SUCCESS
        if args and kwargs:
            return self._fail(UNNAMED_ARGUMENTS)
        if len(args) > 1 or not (args or kwargs):
            return self._fail(INVALID_NUMBER)
        given = args[0] if args else kwargs
        if not isinstance(given, dict):
            return self._fail(INVALID_ARGUMENTS)
        try:
            return request_of(function, given)
        except BadField as field:
            return self._fail((-2, f'Invalid "{field}" argument'))

    def order_check(self, *args: Any, **kwargs: Any) -> Any:
        """OrderCheckResult: whether the request could be paid for; retcode 0 says yes."""
        request = self._request("order_check", args, kwargs)
        return self._desk.check(request) if request is not None and self._reaches("order_check") else None

    def order_send(self, *args: Any, **kwargs: Any) -> Any:
        """OrderSendResult of the request; None only when the package itself fails, which proves nothing."""
        request = self._request("order_send", args, kwargs)
        if request is None or not self._connected():
            return None
        if self._server.terminal.tradeapi_disabled:
            return self._fail(API_DISABLED)
        effect = self._server.plan.take("order_send") if self._server.plan.armed else None
        if effect is None or isinstance(effect, Retcode | Hidden):
            return self._desk.send(request, effect)
        if effect == ReplyLost(done=True):
            self._desk.send(request)
        self._survives(effect)
        return None

    def order_calc_margin(self, *args: Any) -> Any:
        """Margin of an order in the account's currency: action 0 or 1, symbol, lots, price."""
        return self._calculated("order_calc_margin", args, prices=1)

    def order_calc_profit(self, *args: Any) -> Any:
        """Profit of a round trip in the account's currency: action 0 or 1, symbol, lots, open, close."""
        return self._calculated("order_calc_profit", args, prices=2)

    def _calculated(self, function: str, args: Records, *, prices: int) -> Any:
        self.error = SUCCESS
        if len(args) != 3 + prices:
            return self._fail(INVALID_NUMBER)
        side, name = slot_int(function, args[0]), args[1]
        volume, *quoted = (slot_float(function, value) for value in args[2:])
        if not is_text(name):
            return self._fail(INVALID_ARGUMENTS)
        if not self._reaches(function):
            return None
        symbol = self._server.market.symbols.get(name)
        if symbol is None:
            return self._fail(NOT_FOUND)
        if side not in (BUY, SELL) or not all(0 < value < inf for value in (volume, *quoted)):
            return self._fail(INVALID_PARAMS)
        money = self._server.current.money
        try:
            if prices == 1:
                return money.round(volume * money.margin_per_lot(symbol, side, quoted[0]))
            return money.profit(symbol, side, volume, *quoted)
        except NoQuote:
            return self._fail(CALL_FAILED)
