"""A terminal with the MetaTrader5 package's own surface, played from stored or generated bars.

`install(config)` registers it as the module `MetaTrader5` and returns the `Handle` that drives its clock,
market and faults. Time moves only through `handle.clock`; between two waits the market stands still.

Functions: initialize, shutdown, login, version, terminal_info, account_info, last_error, symbols_total,
symbols_get, symbol_info, symbol_info_tick, symbol_select, copy_rates_from, copy_rates_from_pos,
copy_rates_range, positions_total, positions_get, orders_total, orders_get, history_orders_total,
history_orders_get, history_deals_total, history_deals_get, order_check, order_send, order_calc_margin,
order_calc_profit. Of the actions of order_send: DEAL and SLTP.

Not provided yet, and so absent (AttributeError): copy_ticks_from, copy_ticks_range, market_book_add,
market_book_get, market_book_release, and the helpers Buy, Sell, Close.

Left open by the facts and decided here: a market closed by the feed's trading week answers 10018 while
quotes stay readable; the margin of a position is fixed when it opens; exits by stop, target and stop-out
carry magic 0; history orders are chosen by the time they were done; order_check leaves its money fields 0
on failure; an unknown symbol in a trade request is 10013; hidden symbols have no tick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from feature_store.clock import from_epoch
from serving._errors import Final
from serving.terminal import _faults, surface
from serving.terminal._account import Account
from serving.terminal._config import AccountConfig, SimulatedConfig, SymbolConfig
from serving.terminal._faults import (
    Crash,
    Fault,
    Hidden,
    ManualClose,
    ManualTrade,
    NoPrices,
    Offline,
    OtherAccount,
    ReplyLost,
    Retcode,
    SpreadSpike,
    StaleFeed,
)
from serving.terminal._market_functions import MarketFunctions
from serving.terminal._memory import Autosave, last_moment_ms, read_books, write_books
from serving.terminal._server import Server, TerminalState, epoch_ms
from serving.terminal._trade_functions import TradeFunctions

__all__ = [
    "AccountConfig", "Crash", "Fault", "Handle", "Hidden", "ManualClose", "ManualTrade", "NoPrices", "Offline",
    "OtherAccount", "ReplyLost", "Retcode", "SimulatedConfig", "SpreadSpike", "StaleFeed", "SymbolConfig", "install",
]  # fmt: skip

MODULE = "MetaTrader5"
STATE_SCHEMA = 1
FUNCTIONS = (
    "initialize", "shutdown", "login", "version", "terminal_info", "account_info", "last_error", "symbols_total",
    "symbols_get", "symbol_info", "symbol_info_tick", "symbol_select", "copy_rates_from", "copy_rates_from_pos",
    "copy_rates_range", "positions_total", "positions_get", "orders_total", "orders_get", "history_orders_total",
    "history_orders_get", "history_deals_total", "history_deals_get", "order_check", "order_send", "order_calc_margin",
    "order_calc_profit",
)  # fmt: skip
"""The functions of the package that are provided."""


class Package(MarketFunctions, TradeFunctions):
    """All provided functions over one server: what one process sees as the module."""


class SimulatedClock:
    """A `feature_store.clock.Clock` that drives the market: waiting is what makes prices move."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._now, self._now_ms = from_epoch(server.now_ms / 1000), server.now_ms
        self.memory: Autosave | None = None

    def now_utc(self) -> datetime:
        """The simulated moment."""
        if self._now_ms != self._server.now_ms:
            self._now_ms = self._server.now_ms
            self._now = from_epoch(self._now_ms / 1000)
        return self._now

    def wait_until(self, t: datetime) -> bool:
        """Play the market up to `t`; False when interrupted before. A moment in the past changes nothing."""
        server = self._server
        if server.interrupted:
            return False
        target_ms = int(t.timestamp() * 1000)
        if target_ms >= server.due_ms:
            if not server.advance_to(target_ms):
                return False
        elif target_ms > server.market.now_ms:
            server.market.now_ms = target_ms
        if target_ms == server.market.now_ms and t > self._now:
            self._now, self._now_ms = (t if t.tzinfo is UTC else t.astimezone(UTC)), target_ms
        if self.memory is not None:
            self.memory.keep_moment(server.market.now_ms)
        return True

    def interrupt(self) -> None:
        """End the wait under way and every later one, until `proceed`."""
        self._server.interrupted = True

    def proceed(self) -> None:
        """Let waits succeed again, for the next process on the same market."""
        self._server.interrupted = False

    def call_at(self, t: datetime, action: Callable[[], None]) -> None:
        """Run `action` when simulated time comes to `t`, before anybody's wait for `t` returns."""
        self._server.at(epoch_ms(t), action)


class MarketControl:
    """The market under the hand of whoever drives the simulation. Symbols by the broker's names."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def quote(self, symbol: str) -> tuple[float, float]:
        """(bid, ask) now; zeros before the symbol's first bar."""
        return self._server.market.quote(symbol)

    def tick(self, symbol: str, bid: float, ask: float) -> None:
        """Quote `symbol` by hand until its bars move on; stops and targets it reaches fill at once."""
        self._server.tick(symbol, bid, ask)

    def is_open(self) -> bool:
        """Whether orders are taken now."""
        return self._server.market.is_open()

    @property
    def end(self) -> datetime:
        """When the last bar of all symbols closes: nothing moves after it."""
        market = self._server.market
        return from_epoch(max(int(series.time[-1]) for series in market.series.values()) + market.length_s)


class FaultControl:
    """Faults, planned or at once."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def add(self, fault: Fault) -> None:
        """Plan `fault`; calls are counted from here."""
        self._server.add_fault(fault)

    def now(self, effect: _faults.Effect, function: str = "order_send") -> None:
        """Let `effect` happen: at once if it needs no call, else on the next call of `function`."""
        if isinstance(effect, ReplyLost | Retcode | Hidden):
            self._server.add_fault(Fault(effect, function))
        else:
            self._server.apply(effect)


class Handle:
    """What `install` returns: the module, and everything a terminal's user cannot do from inside."""

    def __init__(self, config: SimulatedConfig) -> None:
        self.config = config
        self._server = Server(config)
        self._previous: ModuleType | None = None
        self.package = Package(self._server)
        self.module = _module(self.package)
        self.clock = SimulatedClock(self._server)
        self.market = MarketControl(self._server)
        self.faults = FaultControl(self._server)

    @property
    def terminal(self) -> TerminalState:
        """Switches of the terminal: trade_allowed, tradeapi_disabled, has_account."""
        return self._server.terminal

    @property
    def account(self) -> Account:
        """The account behind the terminal, as the broker's books have it."""
        return self._server.current

    def manual_trade(self, symbol: str, side: int, volume: float, *, sl: float = 0.0, tp: float = 0.0) -> int:
        """Ticket of a position opened by hand: side +1 buys, -1 sells."""
        return self._server.manual_trade(symbol, side, volume, sl, tp)

    def manual_close(self, ticket: int = 0) -> None:
        """Close a position by hand; 0 takes the newest."""
        self._server.manual_close(ticket)

    def deposit(self, amount: float, comment: str = "Deposit") -> None:
        """Put money into the account, or take it out when negative."""
        self._server.current.deposit(amount, comment)
        self._server.changed()

    # --- memory

    def snapshot(self) -> dict[str, Any]:
        """The broker's whole state as JSON can hold it; the market itself is the config's."""
        state = self._state()
        for account in state["accounts"]:
            account |= {kind: [tuple(record) for record in account[kind]] for kind in ("orders", "deals")}
        return state

    def _state(self) -> dict[str, Any]:
        server = self._server
        series = server.market.series.values()
        return {
            "schema": STATE_SCHEMA,
            "now_ms": server.now_ms,
            "login": server.current.config.login,
            "accounts": [account.state() for account in server.accounts.values()],
            "selected": sorted(server.selected),
            "quotes": {s.symbol.name: {"manual": s.manual, "point": s.point, "bid": s.bid} for s in series},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `snapshot` was taken. Raises `Final` for a newer schema, other accounts or another market."""
        if state.get("schema") != STATE_SCHEMA:
            raise Final(f"saved broker state has schema {state.get('schema')}, this version reads {STATE_SCHEMA}; update it")
        server = self._server
        logins = [saved["login"] for saved in state["accounts"]]
        if sorted(logins) != sorted(server.accounts):
            raise Final(f"saved broker state is of accounts {logins}, the config has {sorted(server.accounts)}")
        self._check_market(state["quotes"])
        for saved in state["accounts"]:
            server.accounts[saved["login"]].restore(saved)
        server.current = server.accounts[state["login"]]
        server.selected = set(state["selected"])
        server.reset(state["now_ms"])
        for name, quote in state["quotes"].items():
            if quote["manual"] is not None:
                server.market.tick(name, *quote["manual"])
        server.refresh()

    def _check_market(self, quotes: dict[str, Any]) -> None:
        for name, quote in quotes.items():
            series = self._server.market.series.get(name)
            if series is None:
                raise Final(f"saved broker state trades {name}, which the config lacks; resume with its own config")
            if quote["manual"] is None and series.price_at(quote["point"]) != quote["bid"]:
                raise Final(f"{name}: the market differs from the one the broker's state was saved in; resume with the same bars")

    def save(self, path: Path) -> None:
        """Write `snapshot` to `path`, whole or not at all."""
        write_books(path, self.snapshot())

    def _autosave_to(self, path: Path, reached_ms: int) -> None:
        memory = Autosave(path, self.snapshot(), max(reached_ms, self._server.now_ms))
        memory.write(self._state())
        self._server.on_change = lambda: memory.write(self._state())
        self.clock.memory = memory

    # --- registration

    def install(self) -> None:
        """Put the module where `import MetaTrader5` finds it."""
        self._previous = sys.modules.get(MODULE)
        sys.modules[MODULE] = self.module

    def uninstall(self) -> None:
        """Put back what was registered before, unless something else has been since; let go of the autosave."""
        if self.clock.memory is not None:
            self.clock.memory.close()
            self.clock.memory, self._server.on_change = None, None
        if sys.modules.get(MODULE) is not self.module:
            return
        if self._previous is None:
            del sys.modules[MODULE]
        else:
            sys.modules[MODULE] = self._previous

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.uninstall()


def _module(package: Package) -> ModuleType:
    module = ModuleType(MODULE, "The simulated terminal; see serving.terminal.simulated.")
    module.__spec__ = ModuleSpec(MODULE, None)
    contents = {"__version__": surface.VERSION, "__author__": surface.AUTHOR} | surface.CONSTANTS | surface.STRUCTS
    vars(module).update(contents)
    vars(module).update({name: getattr(package, name) for name in FUNCTIONS})
    return module


def install(config: SimulatedConfig, *, resume_from: Path | None = None) -> Handle:
    """Handle of a simulated terminal, registered as the module `MetaTrader5`.

    resume_from: a file written by `Handle.save` or `autosave`: the same broker goes on from the moment it had
    reached, which for an autosaved one is the end of the last wait. When `config.start` lies later, the market
    plays up to it first, with all that happens to open positions on the way. Raises `Final` for a config, market
    or saved state that does not fit.
    """
    handle = Handle(config)
    saved_ms, reached_ms = -1, 0
    if resume_from is not None:
        handle.restore(read_books(resume_from))
        saved_ms, reached_ms = handle._server.now_ms, last_moment_ms(resume_from)
    for fault in config.faults:
        # What happened before the state was saved is part of it already.
        if fault.at is None or epoch_ms(fault.at) > saved_ms:
            handle.faults.add(fault)
    if config.autosave is not None:
        handle._autosave_to(config.autosave, reached_ms)
    if saved_ms >= 0:
        handle.clock.wait_until(max(config.start, from_epoch(reached_ms / 1000)))
    handle.install()
    return handle
