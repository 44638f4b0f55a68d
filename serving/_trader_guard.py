"""Between bars: commands, account rules, orders of unknown fate, positions that lack a stop or must go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving import decision
from serving._trader_bars import Bars
from serving._trader_closing import Closing
from serving._trader_day import RiskKeeper
from serving._trader_lines import Line
from serving._trader_scene import Desk, Scene, held_rows
from serving.control import STATES, Control
from serving.decision import REASONS, Account
from serving.journal import Exit, Journal
from serving.orders import Orders
from serving.risk import Limits
from serving.terminal.broker import AccountMoney, Broker, Disconnected, OpenPosition


class Guard:
    """Watches one account. `lines` is the trader's own list, `money` the account's as of the last look."""

    def __init__(
        self,
        journal: Journal,
        broker: Broker,
        control: Control,
        orders: Orders,
        closing: Closing,
        keeper: RiskKeeper,
        desk: Desk,
        limits: Limits,
        lines: list[Line],
        say: Callable[..., None],
    ) -> None:
        self._journal, self._broker, self._control, self._orders = journal, broker, control, orders
        self._closing, self._keeper, self._desk, self._limits = closing, keeper, desk, limits
        self._lines, self._say, self._bars = lines, say, Bars(broker)
        self.money: AccountMoney | None = None

    def reconcile(self) -> None:
        """Makes journal and broker agree: fills while away, orders of unknown fate, positions."""
        self.take_fills()
        self._orders.resolve()
        for extra in self._orders.reconcile(self._broker.positions()):
            self._close(extra, "second fill of one order")

    def take_fills(self) -> None:
        """Journals deals not seen before; money that came or went moves the risk day."""
        fills = self._orders.collect()
        self._keeper.moved(fills)
        for fill in fills:
            self._say("fill", **vars(fill))

    def last_look(self) -> None:
        """Fills and money of the last orders; a terminal that is away now is asked at the next start."""
        try:
            self.take_fills()
            self.money = self._broker.account()
        except Disconnected as lost:
            self._journal.event("disconnected", error=str(lost))

    def check(self) -> None:
        """One look at everything; raises `Disconnected` when the terminal is gone."""
        taken = self._control.check()
        if taken.changed:
            self._say("state", state=taken.state)
        money = self._broker.account()
        if self.money is None or money.balance != self.money.balance:
            self.take_fills()
        self.money = money
        self._orders.resolve()
        positions = self._broker.positions()
        for extra in self._orders.reconcile(positions):
            self._close(extra, "second fill of one order")
        for naked in self._orders.protect(positions):
            self._close(naked, "its stop could not be set")
        scene = self.scene(positions, count_bars=False)
        code = decision.guard(self.account(money), scene.positions, scene.quotes, scene.specs, self._limits)
        if code != 0:
            self.breached(code, positions)
        if taken.flatten:
            self._close_all(positions, "flatten")
        self._closing.retry(positions)

    def breached(self, code: int, positions: Sequence[OpenPosition]) -> None:
        """An account rule is broken: the state latches to halted, and all that is ours is closed."""
        if self._control.latch("halted", by="risk", reason=REASONS[code]):
            self._say("state", state=self._control.state, reason=REASONS[code])
        self._close_all(positions, REASONS[code])

    def _close_all(self, positions: Sequence[OpenPosition], reason: str) -> None:
        ours = self._journal.open_exits()
        for position in positions:
            if position.ticket in ours:
                self._close(position, reason)

    def _close(self, position: OpenPosition, reason: str) -> None:
        exit_ = self._journal.open_exits().get(position.ticket)
        intent = self._closing.ask(position, line=exit_.line if exit_ else "account", reason=reason)
        if intent is not None:
            self._say("close", position=position.ticket, reason=reason, state=intent.state)

    def account(self, money: AccountMoney) -> Account:
        """The account as decisions see it."""
        day = self._keeper.update(money)
        state = STATES.index(self._control.state)
        return Account(money.balance, money.equity, money.margin, day.day_start_equity, day.peak_equity, state)

    def scene(self, positions: Sequence[OpenPosition], *, count_bars: bool) -> Scene:
        """The moment as decisions see it; `count_bars` also counts how long positions have been held."""
        exits = self._journal.open_exits()
        numbers = {line.name: i for i, line in enumerate(self._lines)}

        def held(exit_: Exit) -> int:
            return self._held_bars(exit_, numbers.get(exit_.line)) if count_bars else 0

        return self._desk.scene(held_rows(positions, exits, self._journal.unresolved(), numbers, held))

    def _held_bars(self, exit_: Exit, number: int | None) -> int:
        if number is not None and self._lines[number].timeframe == exit_.timeframe:
            return self._lines[number].held_since(exit_.bar_s)
        return self._bars.held_elsewhere(exit_.symbol, exit_.timeframe, exit_.bar_s, exit_.horizon_bars)
