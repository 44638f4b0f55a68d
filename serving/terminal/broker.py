"""The broker adapter: the only code that sees broker symbols, server time and MetaTrader's structures.

It is handed a terminal, an object with the MetaTrader5 package's own functions and constants: the package
itself, or the simulated one. A call that finds the pipe gone raises `Disconnected`; who called reconnects and
reconciles before trading goes on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from feature_store.bars import bar_close
from feature_store.clock import Clock, server_to_utc, utc_to_server
from feature_store.symbols import SymbolSpec
from serving import magic
from serving._errors import Final, Retryable
from serving.terminal import _history
from serving.terminal._broker_types import (
    AccountMoney,
    Deal,
    Disconnected,
    Done,
    Identity,
    OpenPosition,
    OrderSeen,
    Quote,
    Rejected,
    Reply,
    Request,
    Unknown,
    WrongAccount,
)
from serving.terminal._replies import sort_reply

__all__ = [
    "AccountMoney",
    "Broker",
    "Deal",
    "Disconnected",
    "Done",
    "Identity",
    "OpenPosition",
    "OrderSeen",
    "Quote",
    "Rejected",
    "Reply",
    "Request",
    "Unknown",
    "WrongAccount",
]

log = logging.getLogger(__name__)

_LOST = -10000  # and below: the pipe, not the request
_CLOCK_SLACK_S = 120
_CONNECT_TIMEOUT_MS = 10_000
_FOK_BIT, _IOC_BIT = 1, 2  # of SymbolInfo.filling_mode; the package exports no names for them


class Broker:
    """One account at one broker, in our words.

    symbols: our name to the broker's; a symbol not in it is taken to have the same name on both sides.
    clock_rule: the server's clock, see `feature_store.clock.parse_rule`. commission_per_lot: account currency,
    per lot and side, for specifications, since terminals do not say it.
    """

    def __init__(
        self,
        terminal: Any,
        *,
        feed: str,
        clock: Clock,
        clock_rule: str,
        symbols: Mapping[str, str],
        commission_per_lot: float = 0.0,
        connection: Mapping[str, object] | None = None,
    ) -> None:
        self._terminal, self.feed, self._clock, self._rule = terminal, feed, clock, clock_rule
        self._to_broker = dict(symbols)
        self._to_ours = {broker: ours for ours, broker in self._to_broker.items()}
        if len(self._to_ours) != len(self._to_broker):
            raise Final(f"feed {feed!r}: two symbols share one broker symbol; give each its own in [feeds.{feed}.symbols]")
        self._selected = dict(self._to_broker)
        self._commission_per_lot = commission_per_lot
        # path, login, password, server of initialize(). Its own default of 60 s would blind the trader that long.
        self._connection = {"timeout": _CONNECT_TIMEOUT_MS, **(connection or {})}
        self.identity: Identity | None = None
        self._infos: dict[str, Any] = {}
        self._offset_ms: dict[int, int] = {}  # server hour -> UTC minus server time

    def connect(self) -> Identity:
        """Identity of the account, pinned by the first connection and compared by every later one. Raises
        `Disconnected` when the terminal does not answer, `Final` for another account or a wrong clock rule."""
        terminal = self._terminal
        if not terminal.initialize(**self._connection):
            code, text = terminal.last_error()
            if code in (-6, -7, -2):
                raise Final(f"terminal refused the login: {text} ({code}); check login, server and password")
            raise Disconnected(f"terminal does not answer: {text} ({code}); start it and log in")
        self.verify()
        self._infos.clear()
        for symbol in self._selected:
            self.select(symbol)
        self._check_clock_rule()
        assert self.identity is not None
        return self.identity

    def disconnect(self) -> None:
        self._terminal.shutdown()

    def verify(self) -> None:
        """Raises `WrongAccount` unless the account is the pinned one; pins it the first time."""
        self._compare(self._ask("account_info"))

    def _compare(self, info: Any) -> None:
        found = Identity(info.login, info.server, info.company, info.currency, info.margin_mode, info.trade_mode)
        if self.identity is None:
            self.identity = found
        elif found != self.identity:
            raise WrongAccount(
                f"the terminal is on {found} ({found.company}), pinned is {self.identity}; log it back in, then resume"
            )

    def is_connected(self) -> bool:
        """Whether the terminal has its trade server. Raises `Disconnected` when the terminal itself is gone."""
        return bool(self._ask("terminal_info").connected)

    def select(self, symbol: str) -> None:
        """Makes quotes of `symbol` flow. Raises `Final` for a symbol the broker does not have."""
        name = self.broker_symbol(symbol)
        self._selected[symbol] = name
        if not self._call("symbol_select", name, True):
            raise Final(f"{symbol}: the broker has no symbol {name!r}; name its own in [feeds.{self.feed}.symbols]")

    def broker_symbol(self, symbol: str) -> str:
        return self._to_broker.get(symbol, symbol)

    def account(self) -> AccountMoney:
        """The account's money now. Raises `WrongAccount` as `verify` does."""
        info = self._ask("account_info")
        self._compare(info)
        return AccountMoney(info.balance, info.equity, info.margin)

    def quote(self, symbol: str) -> Quote | None:
        """Newest quote; None when the broker has none, or one that is no price."""
        tick = self._call("symbol_info_tick", self.broker_symbol(symbol))
        if tick is None or not (tick.bid > 0 and tick.ask >= tick.bid and math.isfinite(tick.ask)):
            return None
        return Quote(symbol, tick.bid, tick.ask, self._utc_ms(tick.time_msc) / 1000)

    def spec(self, symbol: str) -> SymbolSpec:
        """What one lot of `symbol` is, as the broker says; commission as the settings say."""
        info = self._info(symbol)
        return SymbolSpec(
            feed=self.feed, symbol=symbol, broker_symbol=info.name, valid_from=self._clock.now_utc(), digits=info.digits,
            point=info.point, contract_size=info.trade_contract_size, base_currency=info.currency_base,
            profit_currency=info.currency_profit, margin_currency=info.currency_margin, volume_min=info.volume_min,
            volume_max=info.volume_max, volume_step=info.volume_step, stops_level_points=info.trade_stops_level,
            freeze_level_points=info.trade_freeze_level, swap_long=info.swap_long, swap_short=info.swap_short,
            commission_per_lot=self._commission_per_lot, source="broker",
        )  # fmt: skip

    def margin_per_lot(self, symbol: str, side: int, price: float) -> float:
        """Margin of one lot in account currency; NaN when the terminal cannot say."""
        action = self._terminal.ORDER_TYPE_BUY if side > 0 else self._terminal.ORDER_TYPE_SELL
        margin = self._call("order_calc_margin", action, self.broker_symbol(symbol), 1.0, price)
        return math.nan if margin is None else float(margin)

    def has_symbol(self, symbol: str) -> bool:
        """Whether the broker knows `symbol` under our name or the mapped one."""
        return self._call("symbol_info", self.broker_symbol(symbol)) is not None

    def positions(self) -> list[OpenPosition]:
        """All open positions of the account, foreign ones included."""
        return [_history.position(p, self._ours(p.symbol), self._utc_ms) for p in self._ask("positions_get")]

    def working_orders(self) -> list[OrderSeen]:
        return [_history.order(o, self._ours(o.symbol)) for o in self._ask("orders_get")]

    def past_orders(self, since: datetime) -> list[OrderSeen]:
        """Orders that left the book since then, newest included whatever the server's clock shows."""
        return [_history.order(o, self._ours(o.symbol)) for o in self._ask("history_orders_get", *self._span(since))]

    def deals(self, since: datetime) -> list[Deal]:
        """Deals since then, oldest first."""
        found = [_history.deal(d, self._ours(d.symbol), self._utc_ms) for d in self._ask("history_deals_get", *self._span(since))]
        return sorted(found, key=lambda d: (d.at_ms, d.ticket))

    def closed_bars(self, symbol: str, timeframe: str, count: int) -> pl.DataFrame:
        """The last `count` bars closed by the clock, columns of `bars.SCHEMA`, oldest first; fewer when the broker
        has fewer. The forming bar is never among them. Raises `Retryable` while history is still loading."""
        rates = self._rates(self.broker_symbol(symbol), getattr(self._terminal, f"TIMEFRAME_{timeframe}"), count + 1)
        opens = server_to_utc(rates["time"], self._rule)
        now_s = self._clock.now_utc().timestamp()
        prices = np.stack([rates[name] for name in ("open", "high", "low", "close")])
        keep = (bar_close(opens, timeframe) <= now_s) & np.isfinite(prices).all(axis=0) & (prices > 0).all(axis=0)
        return _history.frame(rates[keep][-count:], opens[keep][-count:])

    def prepare(self, request: Request) -> dict[str, Any]:
        """The raw request, after comparing the account's identity once more. Nothing is sent yet."""
        self.verify()
        terminal, info, quote = self._terminal, self._info(request.symbol), self.quote(request.symbol)
        if request.kind == "protect":
            return {
                "action": terminal.TRADE_ACTION_SLTP, "symbol": info.name, "position": request.position,
                "sl": self._price(request.stop, info), "tp": self._price(request.target, info),
            }  # fmt: skip
        price = 0.0 if quote is None else (quote.ask if request.side > 0 else quote.bid)
        raw = {
            "action": terminal.TRADE_ACTION_DEAL, "symbol": info.name, "volume": float(request.lots),
            "type": terminal.ORDER_TYPE_BUY if request.side > 0 else terminal.ORDER_TYPE_SELL,
            "price": self._price(price, info), "deviation": request.deviation_points, "magic": request.magic,
            "comment": magic.comment(request.comment), "type_time": terminal.ORDER_TIME_GTC,
            "type_filling": self._filling(info),
        }  # fmt: skip
        if request.kind == "close":
            return raw | {"position": request.position}
        return raw | {"sl": self._price(request.stop, info), "tp": self._price(request.target, info)}

    def send(self, raw: dict[str, Any], kind: str) -> Reply:
        """The broker's answer to a prepared request. Never raises: what went wrong on the way is `Unknown`."""
        try:
            result = self._terminal.order_send(raw)
            error = (0, "") if result is not None else self._terminal.last_error()
        except Exception as problem:  # whatever a terminal throws, the request may be out
            return Unknown(0, f"{type(problem).__name__}: {problem}", {"raised": repr(problem)})
        return sort_reply(result, error, kind)

    def may_refuse_stops(self, symbol: str) -> bool:
        """Whether brokers are known to refuse stops on entry here (market and exchange execution)."""
        terminal = self._terminal
        late = (terminal.SYMBOL_TRADE_EXECUTION_MARKET, terminal.SYMBOL_TRADE_EXECUTION_EXCHANGE)
        return self._info(symbol).trade_exemode in late

    def _filling(self, info: Any) -> int:
        """All or nothing where the symbol allows it, so that a partial fill is the exception."""
        terminal = self._terminal
        if info.filling_mode & _FOK_BIT:
            return int(terminal.ORDER_FILLING_FOK)
        if info.filling_mode & _IOC_BIT:
            return int(terminal.ORDER_FILLING_IOC)
        return int(terminal.ORDER_FILLING_RETURN)

    def _price(self, price: float, info: Any) -> float:
        return round(float(price), int(info.digits))

    def _info(self, symbol: str) -> Any:
        if symbol not in self._infos:
            info = self._call("symbol_info", self.broker_symbol(symbol))
            if info is None:
                raise Final(
                    f"{symbol}: the broker has no symbol {self.broker_symbol(symbol)!r}; map it in [feeds.{self.feed}.symbols]"
                )
            self._infos[symbol] = info
        return self._infos[symbol]

    def refresh_specs(self) -> None:
        """Specifications are asked anew at their next use; brokers change them around the roll."""
        self._infos.clear()

    def _rates(self, name: str, timeframe: int, count: int) -> Any:
        maxbars = int(self._ask("terminal_info").maxbars)
        parts: list[Any] = []
        taken, full = 0, True
        while full and taken < count:
            wanted = min(count - taken, maxbars)
            part = self._call("copy_rates_from_pos", name, timeframe, taken, wanted)
            if part is None and not parts:
                code, text = self._terminal.last_error()
                raise Retryable(f"{name}: no bars yet: {text} ({code}); the terminal may still be loading history")
            if part is None:
                break  # the start lies before the broker's history: what there is was given
            parts.append(part)
            taken, full = taken + len(part), len(part) == wanted
        rates = np.concatenate(parts) if len(parts) > 1 else parts[0]
        # A bar that closed between two chunks shifts positions by one: the overlap is dropped here.
        _, first = np.unique(rates["time"], return_index=True)
        return rates[first]

    def _check_clock_rule(self) -> None:
        now_s = self._clock.now_utc().timestamp()
        for symbol in self._selected:
            quote = self.quote(symbol)
            if quote is not None and quote.time_s > now_s + _CLOCK_SLACK_S:
                ahead = f"{(quote.time_s - now_s) / 3600:.1f} h in the future"
                raise Final(f"{symbol}: its quote lies {ahead}; clock rule {self._rule!r} of feed {self.feed!r} is wrong")

    def _span(self, since: datetime) -> tuple[int, int]:
        # A day past now: the server's clock runs ahead of UTC, and an upper bound of now would miss the newest.
        until = self._clock.now_utc() + timedelta(days=1)
        start, end = utc_to_server(np.array([int(since.timestamp()), int(until.timestamp())]), self._rule)
        return max(int(start), 0), int(end)

    def _utc_ms(self, server_ms: int) -> int:
        hour = int(server_ms) // 3_600_000
        if hour not in self._offset_ms:  # clocks change on whole hours
            self._offset_ms[hour] = 1000 * (int(server_to_utc(np.array([hour * 3600]), self._rule)[0]) - hour * 3600)
        return int(server_ms) + self._offset_ms[hour]

    def _ours(self, broker_symbol: str) -> str:
        return self._to_ours.get(broker_symbol, broker_symbol)

    def _call(self, name: str, *values: object) -> Any:
        """Result of a terminal function. Raises `Disconnected` when it failed because the pipe is gone."""
        result = getattr(self._terminal, name)(*values)
        if result is None or result is False:
            code, text = self._terminal.last_error()
            if code <= _LOST:
                raise Disconnected(f"lost the terminal in {name}: {text} ({code})")
        return result

    def _ask(self, name: str, *values: object) -> Any:
        """As `_call`, for functions whose None always means that the terminal failed."""
        result = self._call(name, *values)
        if result is None:
            code, text = self._terminal.last_error()
            raise Disconnected(f"{name} gave nothing: {text} ({code})")
        return result
