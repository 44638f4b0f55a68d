"""The trade server: accounts in one market, moved through time. Stops, targets, stop-out, swaps, planned faults.

Between two points of a bar's path prices are continuous: a level passed there fills at the level. Where the
price jumps (a bar's open, a feed that comes back, a tick set by hand) a stop fills at the first price there
is, which is worse, and a target at that price, which is better.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from serving._errors import Final
from serving.terminal import _faults as faults
from serving.terminal._account import BY_SL, BY_STOP_OUT, BY_TP, CLIENT, Account, Position, Wish
from serving.terminal._config import INSTANT, SimulatedConfig, SymbolConfig
from serving.terminal._market import DAY_MS, Market
from serving.terminal._money import BUY, SELL
from serving.terminal._series import NEVER_MS, Series

Action = Callable[[], None]


@dataclass
class TerminalState:
    """Switches of the terminal itself, free to be set at any time."""

    trade_allowed: bool = True  # the Algo Trading button
    tradeapi_disabled: bool = False
    has_account: bool = True
    offline_until_ms: int = 0
    down_until_ms: int = 0
    no_prices_until_ms: dict[str, int] = field(default_factory=dict)


def epoch_ms(t: datetime) -> int:
    """Aware moment as UTC milliseconds."""
    return int(t.timestamp() * 1000)


class Server:
    """Market, accounts and what is planned, at one moment."""

    def __init__(self, config: SimulatedConfig) -> None:
        self.config = config
        self.market = Market(config)
        self.accounts = {a.login: Account(a, self.market) for a in (config.account, *config.other_accounts)}
        self.current = self.accounts[config.account.login]
        self.terminal = TerminalState()
        self.selected = {symbol.name for symbol in config.symbols if symbol.selected}
        self.plan = faults.Plan()
        self.on_change: Action | None = None
        self.crash: Callable[[float], None] | None = None
        self._heap: list[tuple[int, int, Action]] = []
        self._sequence = itertools.count()
        self._watched: tuple[Series, ...] = ()
        self._midnight_ms = NEVER_MS
        self.due_ms = NEVER_MS
        self.interrupted = False

    # --- time

    @property
    def now_ms(self) -> int:
        return self.market.now_ms

    def at(self, when_ms: int, action: Action) -> None:
        """Run `action` when time comes to `when_ms`; at the next wait if that has passed."""
        heapq.heappush(self._heap, (when_ms, next(self._sequence), action))
        self.due_ms = self._next_due()

    def advance_to(self, target_ms: int) -> bool:
        """Go to `target_ms`, doing on the way, in order of time, all that is due. False when interrupted
        on the way; then time stands where that happened."""
        while self.due_ms <= target_ms:
            self._step(max(self.due_ms, self.market.now_ms))
            self.due_ms = self._next_due()
            if self.interrupted:
                return False
        if target_ms > self.market.now_ms:
            self.market.now_ms = target_ms
        return True

    def reset(self, now_ms: int) -> None:
        """Stand at `now_ms`, earlier than before perhaps; who restores accounts calls `refresh` after it."""
        self.market.reset(now_ms)
        self._watched = ()

    def _next_due(self) -> int:
        due = self._heap[0][0] if self._heap else NEVER_MS
        if self._watched:
            due = min(due, self._midnight_ms)
            for series in self._watched:
                if series.next_ms < due or series.spikes:
                    due = min(due, series.due_ms())
        return due

    def _step(self, now_ms: int) -> None:
        self.market.now_ms = now_ms
        while self._heap and self._heap[0][0] <= now_ms:
            heapq.heappop(self._heap)[2]()
        if not self._watched:
            return
        if now_ms >= self._midnight_ms:
            self._roll_over()
        moved = []
        for series in self._watched:
            changed = series.move(now_ms)
            if (series.spikes and series.see_spikes(now_ms)) or changed:
                moved.append(series)
        if moved:
            self._react(moved)

    def refresh(self) -> None:
        """Take note that positions came or went: what must be watched, and whoever wants to know."""
        held = {position.symbol for account in self.accounts.values() for position in account.positions.values()}
        watched = {name: self.market.at(name) for name in sorted(held)}
        for account in self.accounts.values():
            for symbol in (self.market.symbols[p.symbol] for p in account.positions.values()):
                for series, _ in self.market.path(symbol.currency_profit, account.config.currency):
                    series.move(self.now_ms)
                    watched.setdefault(series.symbol.name, series)
        if watched and not self._watched:
            self._midnight_ms = self.market.next_midnight_ms()
        self._watched = tuple(watched.values())
        self.due_ms = self._next_due()
        self.changed()

    def changed(self) -> None:
        """Tell whoever keeps the broker's memory that it has changed."""
        if self.on_change is not None:
            self.on_change()

    # --- what prices do

    def _react(self, moved: Iterable[Series]) -> None:
        closed = False
        for account in self.accounts.values():
            if account.positions:
                for series in moved:
                    closed |= self._triggers(account, series)
                closed |= self._stop_out(account)
        if closed:
            self.refresh()

    def _triggers(self, account: Account, series: Series) -> bool:
        name, hits = series.symbol.name, []
        bid, ask = series.quote(self.now_ms)
        for p in account.positions.values():
            if p.symbol != name:
                continue
            price, up = (bid, 1.0) if p.side == BUY else (ask, -1.0)
            if p.sl and (p.sl - price) * up >= 0:
                hits.append((p, p.sl, BY_SL, price))
            elif p.tp and (price - p.tp) * up >= 0:
                hits.append((p, p.tp, BY_TP, price))
        for p, level, reason, price in hits:
            self._exit_at_level(account, p, level, reason, price if series.jumped else level)
        return bool(hits)

    def _exit_at_level(self, account: Account, p: Position, level: float, reason: int, price: float) -> None:
        symbol = self.market.symbols[p.symbol]
        kind = "sl" if reason == BY_SL else "tp"
        if reason == BY_SL:
            price = self.slipped(symbol, SELL if p.side == BUY else BUY, price)
        comment = f"[{kind} {level:.{symbol.digits}f}]"
        account.close(p, p.volume, price, Wish(comment=comment, reason=reason, price=level))

    def _stop_out(self, account: Account) -> bool:
        closed = False
        while account.positions:
            margin, equity = account.margin(), account.equity()
            if not margin or equity / margin * 100 >= account.config.stop_out:
                return closed
            worst = min(account.positions.values(), key=lambda p: account.profit(p) + p.swap)
            comment = f"so: {equity / margin * 100:.2f}%/{equity:.2f}"
            account.close(worst, worst.volume, self.exit_price(worst), Wish(comment=comment, reason=BY_STOP_OUT))
            closed = True
        return closed

    def slipped(self, symbol: SymbolConfig, side: int, price: float) -> float:
        """The price after the slippage that market execution costs."""
        if not symbol.slippage_points or symbol.execution_mode == INSTANT:
            return price
        distance = symbol.slippage_points * symbol.point
        return round(price + (distance if side == BUY else -distance), symbol.digits)

    def exit_price(self, position: Position) -> float:
        """What a position of that side is closed at now."""
        bid, ask = self.market.quote(position.symbol)
        return bid if position.side == BUY else ask

    def tick(self, name: str, bid: float, ask: float) -> None:
        """Quote `name` by hand; whatever that triggers happens at once."""
        if not 0 < bid <= ask:
            raise Final(f"{name}: bid {bid} and ask {ask}; the bid must be above 0 and not above the ask")
        self.market.tick(name, bid, ask)
        self._react([self.market.series[name]])

    def _roll_over(self) -> None:
        # Value dates move on five nights a week; one of them carries the weekend.
        day = self.market.server_ms(self._midnight_ms) // DAY_MS - 1
        weekday = (day + 4) % 7
        for account in self.accounts.values():
            for p in account.positions.values():
                symbol = self.market.symbols[p.symbol]
                nights = 0 if weekday in (0, 6) else 3 if weekday == symbol.swap_rollover3days else 1
                points = symbol.swap_long if p.side == BUY else symbol.swap_short
                amount = points * symbol.point * symbol.contract_size * p.volume * nights
                p.swap = account.money.round(p.swap + account.money.in_account(amount, symbol))
        self._midnight_ms = self.market.next_midnight_ms()
        self.changed()

    # --- what people and faults do

    def add_fault(self, fault: faults.Fault) -> None:
        """Plan a fault: for a call, or for a moment."""
        effect = fault.effect
        if fault.at is None:
            self.plan.add(fault)
        else:
            self.at(epoch_ms(fault.at), lambda: self.apply(effect))

    def apply(self, effect: faults.Effect) -> None:
        """Let a timed effect happen now."""
        now = self.now_ms
        match effect:
            case faults.StaleFeed(duration_s, symbol):
                for series in self.market.named(symbol):
                    series.move(now)
                    series.frozen.append((now, now + round(duration_s * 1000)))
            case faults.SpreadSpike(points, duration_s, symbol):
                for series in self.market.named(symbol):
                    series.spikes.append((now, now + round(duration_s * 1000), points))
                    series.see_spikes(now)
                self._react(list(self._watched))
            case faults.NoPrices(duration_s, symbol):
                for series in self.market.named(symbol):
                    self.terminal.no_prices_until_ms[series.symbol.name] = now + round(duration_s * 1000)
            case faults.Offline(duration_s):
                self.terminal.offline_until_ms = now + round(duration_s * 1000)
            case faults.ManualTrade(symbol, side, volume, sl, tp):
                self.manual_trade(symbol, side, volume, sl, tp)
            case faults.ManualClose(ticket):
                self.manual_close(ticket)
            case faults.OtherAccount(login):
                self.switch(login)
            case faults.Crash(down_s) if self.crash is not None:
                self.crash(down_s)
            case _:
                raise Final(f"fault {type(effect).__name__} waits for a call: plan it with a function")
        self.due_ms = self._next_due()

    def manual_trade(self, name: str, side: int, volume: float, sl: float, tp: float) -> int:
        """Open a position as a person would: no magic, reason CLIENT; its ticket."""
        if side not in (1, -1) or not self.current.can_value(name):
            raise Final(f"manual trade of {name}: side {side} must be +1 or -1, the symbol and its conversion must be quoted")
        bid, ask = self.market.quote(name)
        way, price = (BUY, ask) if side > 0 else (SELL, bid)
        ticket, _ = self.current.open(name, way, volume, price, (sl, tp), Wish(reason=CLIENT, price=price))
        self.refresh()
        return ticket

    def manual_close(self, ticket: int) -> None:
        """Close a position as a person would; 0 takes the newest. Closing what is not there does nothing."""
        positions = self.current.positions
        found = positions.get(ticket or max(positions, default=0))
        if found is not None:
            price = self.exit_price(found)
            self.current.close(found, found.volume, price, Wish(reason=CLIENT, price=price))
            self.refresh()

    def switch(self, login: int) -> None:
        """Put another account behind the terminal."""
        if login not in self.accounts:
            raise Final(f"login {login} is none of the config's accounts {sorted(self.accounts)}")
        self.current = self.accounts[login]
        self.changed()
