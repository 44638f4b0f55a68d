"""The package's functions about symbols and bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.terminal._arguments import NAME_UNITS, in_group, is_text, seconds_of, slot_int
from serving.terminal._config import SymbolConfig
from serving.terminal._market import NoQuote
from serving.terminal._rates import TIMEFRAME_S, RateTable
from serving.terminal._session import Session
from serving.terminal.surface import (
    CALL_FAILED,
    CONSTANTS,
    INVALID_ARGUMENTS,
    INVALID_PARAMS,
    NOT_FOUND,
    RATES_DTYPE,
    STRUCT_FIELDS,
    SUCCESS,
    SymbolInfo,
    Tick,
)

_DAY = CONSTANTS["TIMEFRAME_D1"]
_FIELDS = STRUCT_FIELDS["SymbolInfo"].split()
_FIRST_FLOAT, _FIRST_TEXT = _FIELDS.index("bid"), _FIELDS.index("basis")
_BLANK: dict[str, Any] = {
    name: 0 if row < _FIRST_FLOAT else 0.0 if row < _FIRST_TEXT else "" for row, name in enumerate(_FIELDS)
} | {"custom": False, "margin_hedged_use_leg": False, "spread_float": True}
_QUOTE_FLAGS = CONSTANTS["TICK_FLAG_BID"] | CONSTANTS["TICK_FLAG_ASK"]
# Market orders, stop loss and take profit: what this floor trades.
_ORDER_MODE = 1 | 16 | 32


class MarketFunctions(Session):
    """symbols_*, symbol_*, copy_rates_*."""

    # --- symbols

    def symbols_total(self) -> int | None:
        """Number of symbols the broker has."""
        self.error = SUCCESS
        return len(self._server.market.symbols) if self._reaches("symbols_total") else None

    def symbols_get(self, *args: Any, **kwargs: Any) -> Any:
        """Tuple of SymbolInfo of all symbols, or of those in `group`; False for bad arguments."""
        self.error = SUCCESS
        group = args[0] if args else kwargs.get("group", "*")
        if len(args) > 1 or not is_text(group, NAME_UNITS):
            self.error = INVALID_ARGUMENTS
            return False
        if not self._reaches("symbols_get"):
            return None
        matches = in_group(group)
        return tuple(self._info(symbol) for name, symbol in self._server.market.symbols.items() if matches(name))

    def _asked(self, function: str, args: tuple[Any, ...]) -> SymbolConfig | None:
        """The one symbol a function is asked about; sets the error when there is none."""
        self.error = SUCCESS
        if len(args) != 1 or not is_text(args[0]):
            self.error = INVALID_ARGUMENTS
            return None
        if not self._reaches(function):
            return None
        symbol = self._server.market.symbols.get(args[0])
        if symbol is None:
            self.error = NOT_FOUND
        return symbol

    def symbol_info(self, *args: Any) -> Any:
        """The symbol's SymbolInfo; quotes are 0 while it is not selected."""
        symbol = self._asked("symbol_info", args)
        return None if symbol is None else self._info(symbol)

    def symbol_info_tick(self, *args: Any) -> Any:
        """The symbol's last Tick; None while it is not selected or was never quoted."""
        symbol = self._asked("symbol_info_tick", args)
        if symbol is None:
            return None
        market = self._server.market
        bid, ask = market.quote(symbol.name)
        if bid <= 0 or symbol.name not in self._server.selected:
            self.error = NOT_FOUND
            return None
        moved_ms = market.server_ms(market.series[symbol.name].moved_ms)
        return Tick((moved_ms // 1000, bid, ask, 0.0, 0, moved_ms, _QUOTE_FLAGS, 0.0))

    def symbol_select(self, *args: Any) -> bool:
        """True once the symbol is shown (default) or hidden; False while positions hold it, or if unknown."""
        self.error = SUCCESS
        if not 1 <= len(args) <= 2 or not is_text(args[0]):
            self.error = INVALID_ARGUMENTS
            return False
        if not self._reaches("symbol_select"):
            return False
        name, show = args[0], len(args) == 1 or bool(args[1])
        if name not in self._server.market.symbols:
            self.error = NOT_FOUND
            return False
        if show:
            self._server.selected.add(name)
            return True
        if any(position.symbol == name for position in self._server.current.positions.values()):
            self.error = CALL_FAILED
            return False
        self._server.selected.discard(name)
        return True

    def _info(self, symbol: SymbolConfig) -> Any:
        s, selected = symbol, symbol.name in self._server.selected
        hedged = s.contract_size if s.margin_hedged is None else s.margin_hedged
        known = {
            "select": selected, "visible": selected, "digits": s.digits, "trade_calc_mode": s.calc_mode,
            "trade_mode": s.trade_mode, "trade_stops_level": s.stops_level, "trade_freeze_level": s.freeze_level,
            "trade_exemode": s.execution_mode, "swap_mode": CONSTANTS["SYMBOL_SWAP_MODE_POINTS"],
            "swap_rollover3days": s.swap_rollover3days, "expiration_mode": 15, "filling_mode": s.filling_mode,
            "order_mode": _ORDER_MODE, "point": s.point, "trade_tick_size": s.point, "trade_contract_size": s.contract_size,
            "volume_min": s.volume_min, "volume_max": s.volume_max, "volume_step": s.volume_step, "swap_long": s.swap_long,
            "swap_short": s.swap_short, "margin_hedged": hedged, "currency_base": s.currency_base,
            "currency_profit": s.currency_profit, "currency_margin": s.currency_margin, "name": s.name,
            "description": f"{s.currency_base} vs {s.currency_profit}", "path": f"Simulated\\{s.name}",
        }  # fmt: skip
        quoted = self._quoted(s) if selected else {}
        values = list((_BLANK | known | quoted).values())
        values[_FIRST_FLOAT:_FIRST_TEXT] = map(float, values[_FIRST_FLOAT:_FIRST_TEXT])  # a config may hold 100_000
        return SymbolInfo(values)

    def _quoted(self, s: SymbolConfig) -> dict[str, Any]:
        market = self._server.market
        bid, ask = market.quote(s.name)
        if bid <= 0:
            return {}
        money, value = self._server.current.money, s.point * s.contract_size
        quoted = {
            "time": market.server_ms(market.series[s.name].moved_ms) // 1000,
            "bid": bid,
            "ask": ask,
            "spread": round((ask - bid) / s.point),
        }
        try:
            gain, loss = money.exact(value, s), -money.exact(-value, s)
        except NoQuote:
            return quoted  # its conversion symbol was not quoted yet: the tick's value is not known
        quoted |= {"trade_tick_value": gain, "trade_tick_value_profit": gain, "trade_tick_value_loss": loss}
        return quoted | self._day(s, ask - bid)

    def _day(self, s: SymbolConfig, spread: float) -> dict[str, Any]:
        table = self._server.market.table(s.name, _DAY)
        if table is None or table.count() == 0:
            return {}
        today = table.rows(table.count() - 1, table.count())[0]
        day = {"bidhigh": float(today["high"]), "bidlow": float(today["low"]), "session_open": float(today["open"])}
        day |= {"askhigh": round(day["bidhigh"] + spread, s.digits), "asklow": round(day["bidlow"] + spread, s.digits)}
        if table.count() > 1:
            before = float(table.rows(table.count() - 2, table.count() - 1)[0]["close"])
            day |= {"session_close": before, "price_change": (float(today["close"]) / before - 1) * 100}
        return day

    # --- bars

    def copy_rates_from_pos(self, *args: Any) -> Any:
        """`count` bars that end `start_pos` bars before the forming one, ascending."""
        self.error = SUCCESS
        if len(args) != 4:
            return self._fail(INVALID_ARGUMENTS)
        symbol = args[0]
        timeframe, start, count = (slot_int("copy_rates_from_pos", value) for value in args[1:])
        if not is_text(symbol):
            return self._fail(INVALID_ARGUMENTS)
        table = self._table("copy_rates_from_pos", symbol, timeframe, count)
        if table is None:
            return None
        if start < 0:
            return self._fail(INVALID_PARAMS)
        stop = table.count() - start
        if stop <= 0:
            return self._fail(CALL_FAILED)
        return table.rows(max(0, stop - count), stop)

    def copy_rates_from(self, *args: Any) -> Any:
        """The `count` bars that end with the one open at the date, ascending."""
        self.error = SUCCESS
        if len(args) != 4:
            return self._fail(INVALID_ARGUMENTS)
        timeframe, count = slot_int("copy_rates_from", args[1]), slot_int("copy_rates_from", args[3])
        date = seconds_of(args[2])
        if not is_text(args[0]) or date is None:
            return self._fail(INVALID_ARGUMENTS)
        table = self._table("copy_rates_from", args[0], timeframe, count)
        if table is None:
            return None
        stop = min(table.count(), int(table.time.searchsorted(date, side="right")))
        return table.rows(max(0, stop - count), stop)

    def copy_rates_range(self, *args: Any) -> Any:
        """Bars whose open lies between the two dates, both included, ascending."""
        self.error = SUCCESS
        if len(args) != 4:
            return self._fail(INVALID_ARGUMENTS)
        timeframe = slot_int("copy_rates_range", args[1])
        start, end = seconds_of(args[2]), seconds_of(args[3])
        if not is_text(args[0]) or start is None or end is None:
            return self._fail(INVALID_ARGUMENTS)
        span = 1 + (end - start) // TIMEFRAME_S.get(timeframe, 60)
        table = self._table("copy_rates_range", args[0], timeframe, span)
        if table is None:
            return None
        first, stop = int(table.time.searchsorted(start)), min(table.count(), int(table.time.searchsorted(end, side="right")))
        return table.rows(first, stop) if first < stop else np.empty(0, dtype=RATES_DTYPE)

    def _table(self, function: str, symbol: str, timeframe: int, count: int) -> RateTable | None:
        if not self._reaches(function):
            return None
        if symbol not in self._server.market.symbols:
            self.error = CALL_FAILED
            return None
        table = self._server.market.table(symbol, timeframe)
        if table is None or not 1 <= count <= self._server.config.maxbars:
            self.error = INVALID_PARAMS
            return None
        return table
