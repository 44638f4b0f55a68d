"""One account at the broker: balance, open positions, and the history of its orders and deals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from serving._errors import Final
from serving.terminal._config import AccountConfig
from serving.terminal._market import Market
from serving.terminal._money import BUY, SELL, Exposure, Money
from serving.terminal.surface import AccountInfo, TradeDeal, TradeOrder, TradePosition

BALANCE_DEAL = 2
ENTRY_IN, ENTRY_OUT = 0, 1
CLIENT, EXPERT, BY_SL, BY_TP, BY_STOP_OUT = 0, 3, 4, 5, 6
FILLED = 4
HEDGING = 2

_FIRST_ORDER, _FIRST_DEAL = 50_000_001, 40_000_001


class Wish(NamedTuple):
    """Who wants a fill and under which label: travels into orders, deals and the position."""

    magic: int = 0
    comment: str = ""
    reason: int = EXPERT
    price: float = 0.0  # asked for
    filling: int = 0


@dataclass(slots=True)
class Position:
    """One open position. Times are server time in milliseconds; `margin_per_lot` was fixed when it opened."""

    ticket: int
    symbol: str
    side: int
    volume: float
    price_open: float
    sl: float
    tp: float
    time_ms: int
    update_ms: int
    magic: int
    comment: str
    reason: int
    margin_per_lot: float
    swap: float = 0.0


class Account:
    """State of one account. Every change of the balance is a deal, so that history replays to it."""

    def __init__(self, config: AccountConfig, market: Market) -> None:
        self.config = config
        self.money = Money(config, market)
        self._market = market
        self.balance = 0.0
        self.positions: dict[int, Position] = {}
        self.orders: list[Any] = []  # finished ones, TradeOrder, by time done
        self.deals: list[Any] = []  # TradeDeal, by time
        self.hidden: dict[int, int] = {}  # order ticket -> UTC ms from which its traces can be seen
        self._next_order, self._next_deal = _FIRST_ORDER, _FIRST_DEAL
        self._margin: float | None = 0.0  # None: positions changed since it was worked out
        if config.balance:
            self.deposit(config.balance, "Initial deposit")

    # --- what it is worth

    def profit(self, position: Position) -> float:
        """Floating profit without swap, at the price that would close it now."""
        bid, ask = self._market.quote(position.symbol)
        symbol = self._market.symbols[position.symbol]
        close = bid if position.side == BUY else ask
        return self.money.profit(symbol, position.side, position.volume, position.price_open, close)

    def floating(self) -> float:
        """Floating profit of all positions, swap included."""
        total, market, profit = 0.0, self._market, self.money.profit
        for p in self.positions.values():
            bid, ask = market.quote(p.symbol)
            close = bid if p.side == BUY else ask
            total += p.swap + profit(market.symbols[p.symbol], p.side, p.volume, p.price_open, close)
        return self.money.round(total)

    def equity(self) -> float:
        return self.money.round(self.balance + self.floating())

    def exposures(self) -> list[Exposure]:
        return [Exposure(p.symbol, p.side, p.volume, p.margin_per_lot) for p in self.positions.values()]

    def margin(self, extra: Exposure | None = None) -> float:
        """Margin in use, with `extra` on top if given."""
        if extra is not None:
            return self.money.margin([*self.exposures(), extra])
        if self._margin is None:
            self._margin = self.money.margin(self.exposures())
        return self._margin

    def info(self) -> Any:
        """The account as an AccountInfo."""
        config, floating, margin = self.config, self.floating(), self.margin()
        equity = self.money.round(self.balance + floating)
        level = equity / margin * 100 if margin else 0.0
        free = self.money.round(equity - margin)
        return AccountInfo(
            (config.login, config.trade_mode, config.leverage, config.limit_orders, 0, True, True, HEDGING,
             config.currency_digits, False, self.balance, 0.0, floating, equity, margin, free, level,
             config.stop_out_call, config.stop_out, 0.0, 0.0, 0.0, 0.0, 0.0,
             config.name, config.server, config.currency, config.company)
        )  # fmt: skip

    def shown(self, position: Position) -> Any:
        """The position as a TradePosition."""
        p, market = position, self._market
        bid, ask = market.quote(p.symbol)
        close = bid if p.side == BUY else ask
        profit = self.money.profit(market.symbols[p.symbol], p.side, p.volume, p.price_open, close)
        return TradePosition(
            (p.ticket, p.time_ms // 1000, p.time_ms, p.update_ms // 1000, p.update_ms, p.side, p.magic, p.ticket, p.reason,
             p.volume, p.price_open, p.sl, p.tp, close, p.swap, profit, p.symbol, p.comment, "")
        )  # fmt: skip

    def can_value(self, symbol: str) -> bool:
        """Whether `symbol` and its way into the account's currency are quoted: without it no position opens."""
        config, mine = self._market.symbols[symbol], self.config.currency
        currencies = (config.currency_profit, self.money.margin_currency(config))
        return self._market.quote(symbol)[0] > 0 and all(self._market.can_convert(one, mine) for one in currencies)

    # --- what changes it

    def deposit(self, amount: float, comment: str) -> None:
        """Put money in, or take it out when negative."""
        self._deal(order=0, side=BALANCE_DEAL, profit=self.money.round(amount), comment=comment, reason=CLIENT)

    def open(
        self, symbol: str, side: int, volume: float, price: float, stops: tuple[float, float], wish: Wish
    ) -> tuple[int, int]:
        """Open a position; (order, deal) tickets. The position's ticket is the order's."""
        config = self._market.symbols[symbol]
        per_lot = self.money.margin_per_lot(config, side, price)
        order = self._order(symbol, side, volume, price, wish, stops, position_id=0)
        now = self._server_ms()
        self.positions[order] = Position(
            order, symbol, side, volume, price, *stops, now, now, wish.magic, wish.comment, wish.reason, per_lot
        )
        deal = self._deal(
            order=order, side=side, entry=ENTRY_IN, position_id=order, volume=volume, price=price, symbol=symbol,
            commission=self._commission(symbol, volume), magic=wish.magic, comment=wish.comment, reason=wish.reason,
        )  # fmt: skip
        return order, deal

    def close(self, position: Position, volume: float, price: float, wish: Wish) -> tuple[int, int]:
        """Close `volume` lots of a position; (order, deal) tickets. Swap is realised in proportion."""
        p, config = position, self._market.symbols[position.symbol]
        left = round(p.volume - volume, 8)
        swap = p.swap if left <= 0 else self.money.round(p.swap * volume / p.volume)
        profit = self.money.profit(config, p.side, volume, p.price_open, price)
        side = SELL if p.side == BUY else BUY
        order = self._order(p.symbol, side, volume, price, wish, (0.0, 0.0), position_id=p.ticket)
        if left <= 0:
            del self.positions[p.ticket]
        else:
            p.volume, p.swap = left, self.money.round(p.swap - swap)
            p.update_ms = self._server_ms()
        deal = self._deal(
            order=order, side=side, entry=ENTRY_OUT, position_id=p.ticket, volume=volume, price=price, symbol=p.symbol,
            commission=self._commission(p.symbol, volume), swap=swap, profit=profit,
            magic=wish.magic, comment=wish.comment, reason=wish.reason,
        )  # fmt: skip
        return order, deal

    def set_stops(self, position: Position, sl: float, tp: float) -> None:
        """Replace both levels; 0 removes one."""
        position.sl, position.tp, position.update_ms = sl, tp, self._server_ms()

    def _commission(self, symbol: str, volume: float) -> float:
        return -self.money.round(self._market.symbols[symbol].commission_per_lot * volume) + 0.0

    def _server_ms(self) -> int:
        return self._market.server_ms(self._market.now_ms)

    def _order(
        self, symbol: str, side: int, volume: float, price: float, wish: Wish, stops: tuple[float, float], *, position_id: int
    ) -> int:
        ticket, now = self._next_order, self._server_ms()
        self._next_order += 1
        self.orders.append(TradeOrder(
            (ticket, now // 1000, now, now // 1000, now, 0, side, 0, wish.filling, FILLED, wish.magic, position_id or ticket, 0,
             wish.reason, volume, 0.0, wish.price, *stops, price, 0.0, symbol, wish.comment, "")
        ))  # fmt: skip
        return ticket

    def _deal(
        self, *, order: int, side: int, entry: int = ENTRY_IN, magic: int = 0, position_id: int = 0, reason: int,
        volume: float = 0.0, price: float = 0.0, commission: float = 0.0, swap: float = 0.0, profit: float = 0.0,
        symbol: str = "", comment: str = "",
    ) -> int:  # fmt: skip
        ticket, now = self._next_deal, self._server_ms()
        self._next_deal += 1
        self._margin = None
        self.deals.append(TradeDeal(
            (ticket, order, now // 1000, now, side, entry, magic, position_id, reason, volume, price, commission, swap, profit,
             0.0, symbol, comment, "")
        ))  # fmt: skip
        self.balance = self.money.round(self.balance + profit + swap + commission)
        return ticket

    # --- what can be seen of it

    def _visible(self, order: int) -> bool:
        until = self.hidden.get(order, 0)
        if until and self._market.now_ms >= until:
            del self.hidden[order]
            return True
        return not until

    def seen_positions(self) -> list[Position]:
        """Open positions by ticket, without those that cannot be seen yet."""
        if not self.hidden:
            return list(self.positions.values())
        return [position for position in self.positions.values() if self._visible(position.ticket)]

    def seen_deals(self, start_s: int, end_s: int) -> list[Any]:
        """Deals with start <= time <= end, server seconds."""
        first = bisect_left(self.deals, start_s, key=lambda deal: deal.time)
        last = bisect_right(self.deals, end_s, key=lambda deal: deal.time)
        return [deal for deal in self.deals[first:last] if self._visible(deal.order)]

    def seen_orders(self, start_s: int, end_s: int) -> list[Any]:
        """Finished orders with start <= time done <= end, server seconds."""
        first = bisect_left(self.orders, start_s, key=lambda order: order.time_done)
        last = bisect_right(self.orders, end_s, key=lambda order: order.time_done)
        return [order for order in self.orders[first:last] if self._visible(order.ticket)]

    # --- memory

    def state(self) -> dict[str, Any]:
        """Everything that must survive, as JSON can hold it; orders and deals are the account's own lists."""
        return {
            "login": self.config.login,
            "server": self.config.server,
            "currency": self.config.currency,
            "balance": self.balance,
            "next_order": self._next_order,
            "next_deal": self._next_deal,
            "positions": [asdict(position) for position in self.positions.values()],
            "orders": self.orders,
            "deals": self.deals,
            "hidden": sorted(self.hidden.items()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave. Raises `Final` for another account's."""
        mine = (self.config.login, self.config.server, self.config.currency)
        theirs = (state["login"], state["server"], state["currency"])
        if mine != theirs:
            raise Final(f"the saved state is of account {theirs}, this is {mine}; resume with the config it was saved under")
        self.balance, self._margin = state["balance"], None
        self._next_order, self._next_deal = state["next_order"], state["next_deal"]
        self.positions = {saved["ticket"]: Position(**saved) for saved in state["positions"]}
        self.orders = [TradeOrder(saved) for saved in state["orders"]]
        self.deals = [TradeDeal(saved) for saved in state["deals"]]
        self.hidden = {int(order): int(until) for order, until in state["hidden"]}
