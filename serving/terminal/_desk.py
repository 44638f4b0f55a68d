"""The trade desk: order_check and order_send from a valid request to an answer with a return code.

This floor trades at market (open, close, close in part) and moves stops. Requests of the other kinds are
answered as by a broker that does not offer them: PENDING, MODIFY and REMOVE 10035, CLOSE_BY 10013. Requests
refused by the terminal itself carry request_id 0; those the server looked at count up from 1.
"""

from __future__ import annotations

from math import inf
from typing import Any

from serving.terminal._account import EXPERT, Account, Position, Wish
from serving.terminal._config import INSTANT, SymbolConfig
from serving.terminal._faults import Hidden, Retcode
from serving.terminal._market import NoQuote
from serving.terminal._money import BUY, SELL, Exposure
from serving.terminal._server import Server
from serving.terminal.surface import CHECK_OK, CONSTANTS, RETCODE_TEXTS, OrderCheckResult, OrderSendResult

DEAL, SLTP = CONSTANTS["TRADE_ACTION_DEAL"], CONSTANTS["TRADE_ACTION_SLTP"]
_NOT_OFFERED = {
    CONSTANTS["TRADE_ACTION_PENDING"]: 10035,
    CONSTANTS["TRADE_ACTION_MODIFY"]: 10035,
    CONSTANTS["TRADE_ACTION_REMOVE"]: 10035,
    CONSTANTS["TRADE_ACTION_CLOSE_BY"]: 10013,
}
FOK, IOC, RETURN = 0, 1, 2
FINE = 0
DONE, REQUOTE = 10009, 10004
_ONE_SIDED = {1: {SELL: 10042}, 2: {BUY: 10043}, 3: {BUY: 10044, SELL: 10044}}


class Desk:
    """Answers trade requests against the server's current account."""

    def __init__(self, server: Server) -> None:
        self._server, self._market, self._terminal = server, server.market, server.terminal
        self._request_id = 0

    # --- answers

    def check(self, r: Any) -> Any:
        """Estimate of what the request would do, as an OrderCheckResult. Trading hours are not looked at."""
        account = self._server.current
        code = self._refused_by_terminal(r)
        try:
            extra = self._extra(r) if code == FINE else None
        except NoQuote:
            code, extra = 10021, None
        margin, equity = account.margin(extra), account.equity()
        if code == FINE and extra is not None and margin > equity:
            code = 10019
        if code != FINE:
            return OrderCheckResult((code, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, RETCODE_TEXTS[code], r))
        level = equity / margin * 100 if margin else 0.0
        free = account.money.round(equity - margin)
        return OrderCheckResult((FINE, account.balance, equity, account.floating(), margin, free, level, CHECK_OK, r))

    def send(self, r: Any, effect: Retcode | Hidden | None = None) -> Any:
        """Do what the request asks, as an OrderSendResult; `effect` is the fault this call meets."""
        if isinstance(effect, Retcode):
            if effect.done:
                self._send(r, 0)
            return self._refused(effect.code, r, by_server=effect.code != 10031)
        return self._send(r, round(effect.delay_s * 1000) if effect else self._server.config.visibility_delay_ms)

    def _send(self, r: Any, hide_ms: int) -> Any:
        code = self._refused_by_terminal(r)
        if code != FINE:
            return self._refused(code, r, by_server=False)
        code = self._refused_by_server(r)
        if code != FINE:
            return self._refused(code, r, by_server=True)
        return self._move_stops(r) if r.action == SLTP else self._fill(r, hide_ms)

    def _refused(self, code: int, r: Any, *, by_server: bool) -> Any:
        bid, ask = self._market.quote(r.symbol) if code == REQUOTE and r.symbol in self._market.series else (0.0, 0.0)
        text = RETCODE_TEXTS.get(code, "")
        return OrderSendResult((code, 0, 0, 0.0, 0.0, bid, ask, text, self._next_id() if by_server else 0, 0, r))

    def _next_id(self) -> int:
        self._request_id += 1
        return self._request_id

    # --- what is asked

    def _position(self, r: Any) -> Position | None:
        return self._server.current.positions.get(r.position) if r.position else None

    def _symbol(self, r: Any) -> SymbolConfig | None:
        position = self._position(r)
        name = position.symbol if position is not None and not r.symbol else r.symbol
        return self._market.symbols.get(name)

    def _extra(self, r: Any) -> Exposure | None:
        if r.action != DEAL or r.position:
            return None
        symbol = self._market.symbols[r.symbol]
        bid, ask = self._market.quote(symbol.name)
        account = self._server.current
        per_lot = account.money.margin_per_lot(symbol, r.type, ask if r.type == BUY else bid)
        return Exposure(symbol.name, r.type, r.volume, per_lot)

    # --- the terminal's own checks

    def _refused_by_terminal(self, r: Any) -> int:
        if not self._terminal.trade_allowed:
            return 10027
        if self._terminal.offline_until_ms > self._server.now_ms:
            return 10031
        if r.action in _NOT_OFFERED:
            return _NOT_OFFERED[r.action]
        if r.action not in (DEAL, SLTP) or (r.action == SLTP and not r.position):
            return 10013
        if r.position and self._position(r) is None:
            return 10036
        symbol = self._symbol(r)
        if symbol is None:
            return 10013
        if symbol.trade_mode == 0:
            return 10017
        return self._stops_refusal(r, symbol) if r.action == SLTP else self._deal_refusal(r, symbol)

    def _deal_refusal(self, r: Any, symbol: SymbolConfig) -> int:
        if r.type not in (BUY, SELL):
            return 10035
        position = self._position(r)
        if position is None and r.type in _ONE_SIDED.get(symbol.trade_mode, {}):
            return _ONE_SIDED[symbol.trade_mode][r.type]
        if position is not None and (position.symbol != symbol.name or position.side == r.type):
            return 10013
        if not _volume_fits(r.volume, symbol):
            return 10014
        if position is not None:
            left = round(position.volume - r.volume, 8)
            if left < 0:
                return 10038
            if 0 < left < symbol.volume_min - 1e-9:
                return 10014
        if not _filling_allowed(r.type_filling, symbol):
            return 10030
        if self._no_prices(symbol):
            return 10021
        if symbol.execution_mode == INSTANT and not 0 < r.price < inf:
            return 10015
        return FINE if position is not None else self._level_refusal(r, symbol, r.type)

    def _no_prices(self, symbol: SymbolConfig) -> bool:
        until = self._terminal.no_prices_until_ms.get(symbol.name, 0)
        if symbol.name not in self._server.selected or until > self._server.now_ms:
            return True
        return not self._server.current.can_value(symbol.name)

    def _level_refusal(self, r: Any, symbol: SymbolConfig, side: int) -> int:
        """10016 for a level on the wrong side or nearer than the stops level, measured in whole points."""
        price, up = self._closing_price(symbol, side)
        for level, way in ((r.sl, -up), (r.tp, up)):
            if not 0 <= level < inf or (level and round((level - price) * way / symbol.point) < symbol.stops_level):
                return 10016
        return FINE

    def _closing_price(self, symbol: SymbolConfig, side: int) -> tuple[float, int]:
        bid, ask = self._market.quote(symbol.name)
        return (bid, 1) if side == BUY else (ask, -1)

    def _stops_refusal(self, r: Any, symbol: SymbolConfig) -> int:
        position = self._position(r)
        assert position is not None
        if position.symbol != symbol.name:
            return 10013
        if self._no_prices(symbol):
            return 10021
        code = self._level_refusal(r, symbol, position.side)
        unchanged = code == FINE and (_rounded(r.sl, symbol), _rounded(r.tp, symbol)) == (position.sl, position.tp)
        return 10025 if unchanged else code

    # --- the server's checks

    def _refused_by_server(self, r: Any) -> int:
        if not self._market.is_open():
            return 10018
        symbol, position = self._symbol(r), self._position(r)
        assert symbol is not None
        if position is not None and self._frozen(position, symbol):
            return 10029
        if r.action == SLTP:
            return FINE
        if symbol.execution_mode == INSTANT:
            bid, ask = self._market.quote(symbol.name)
            if round(abs(r.price - (ask if r.type == BUY else bid)) / symbol.point) > r.deviation:
                return REQUOTE
        return FINE if position is not None else self._money_refusal(r)

    def _frozen(self, position: Position, symbol: SymbolConfig) -> bool:
        if not symbol.freeze_level:
            return False
        price, _ = self._closing_price(symbol, position.side)
        levels = [level for level in (position.sl, position.tp) if level]
        return any(round(abs(level - price) / symbol.point) < symbol.freeze_level for level in levels)

    def _money_refusal(self, r: Any) -> int:
        account = self._server.current
        try:
            extra = self._extra(r)
        except NoQuote:
            return 10021
        margin = account.margin(extra)
        # An order that adds no margin, such as a full hedge, is let through on any equity.
        return 10019 if margin > account.equity() and margin > account.margin() else FINE

    # --- doing it

    def _fill(self, r: Any, hide_ms: int) -> Any:
        symbol, position, account = self._symbol(r), self._position(r), self._server.current
        assert symbol is not None
        bid, ask = self._market.quote(symbol.name)
        price = self._server.slipped(symbol, r.type, ask if r.type == BUY else bid)
        wish = Wish(r.magic, r.comment, EXPERT, r.price, r.type_filling)
        if position is None:
            stops = (_rounded(r.sl, symbol), _rounded(r.tp, symbol))
            order, deal = account.open(symbol.name, r.type, r.volume, price, stops, wish)
        else:
            order, deal = account.close(position, r.volume, price, wish)
        self._hide(account, order, hide_ms)
        self._server.refresh()
        return OrderSendResult((DONE, deal, order, r.volume, price, bid, ask, RETCODE_TEXTS[DONE], self._next_id(), 0, r))

    def _hide(self, account: Account, order: int, hide_ms: int) -> None:
        if hide_ms:
            account.hidden[order] = self._server.now_ms + hide_ms

    def _move_stops(self, r: Any) -> Any:
        symbol, position = self._symbol(r), self._position(r)
        assert symbol is not None and position is not None
        self._server.current.set_stops(position, _rounded(r.sl, symbol), _rounded(r.tp, symbol))
        self._server.changed()
        return OrderSendResult((DONE, 0, 0, 0.0, 0.0, 0.0, 0.0, RETCODE_TEXTS[DONE], self._next_id(), 0, r))


def _rounded(price: float, symbol: SymbolConfig) -> float:
    return round(price, symbol.digits)


def _volume_fits(volume: float, symbol: SymbolConfig) -> bool:
    if not symbol.volume_min - 1e-9 <= volume <= symbol.volume_max + 1e-9:
        return False
    steps = volume / symbol.volume_step
    return abs(steps - round(steps)) < 1e-6


def _filling_allowed(filling: int, symbol: SymbolConfig) -> bool:
    if symbol.execution_mode == INSTANT:
        return filling in (FOK, IOC, RETURN)
    return filling in (FOK, IOC) and bool(symbol.filling_mode & (1 << filling))
