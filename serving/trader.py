"""The trader: a plain process for one account and its lines, on the Clock it is handed.

At each closed bar: features, ONNX Runtime, `signal`, `step`, orders with stop and target at the broker. In
between, every `check_every_s`: commands and HALT files, account rules, orders of unknown fate, positions that
must go. What it knows lies in the account's journal, so that a killed trader goes on where it was. It imports
nothing that trains, schedules or tracks.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from feature_store._errors import FeatureStoreError
from feature_store.clock import Clock, from_epoch
from serving._errors import Retryable, ServingError
from serving._trader_bars import Bars, Schedule
from serving._trader_closing import Closing
from serving._trader_config import Emit, TraderConfig, check_identity, sole_trader
from serving._trader_day import RiskKeeper
from serving._trader_decide import Decider
from serving._trader_guard import Guard
from serving._trader_lines import Library, Line
from serving._trader_scene import Desk
from serving._trader_signals import StopRequest, stop_on_signals
from serving.control import Control, journal_path
from serving.journal import Journal
from serving.orders import Orders
from serving.terminal.broker import AccountMoney, Broker, Disconnected, WrongAccount

__all__ = ["StopRequest", "TraderConfig", "TraderSummary", "run_trader", "stop_on_signals"]

log = logging.getLogger(__name__)

SCHEMA = 1
_POLL_S = 0.05  # how often a bar that has closed by the clock is looked for
_IDLE_S = 60.0  # between checks while the market is closed: nothing could be traded anyway
_LONGEST_BACKOFF_S = 10.0  # a HALT file must be seen soon, also while the terminal is away


@dataclass(frozen=True)
class TraderSummary:
    """How a trader's run ended. latency_us: median from bars in hand to order out, None when no order was sent."""

    account: str
    why: str
    bars: int
    decisions: int
    orders: int
    state: str
    balance: float
    equity: float
    latency_us: int | None
    schema: int = SCHEMA


def run_trader(
    config: TraderConfig, terminal: Any, clock: Clock, *, emit: Emit | None = None, stop: StopRequest | None = None
) -> TraderSummary:
    """Trades until `config.bars` or `config.until` is reached or `stop` is asked for; gives back how it ended.

    terminal: an object with the MetaTrader5 package's functions. emit: takes each event as a dictionary that JSON
    takes. Raises `Retryable` when another trader runs on the account, `Final` for a wrong account, a refused
    bundle or a changed setting; both are journaled, and a wrong account also halts.
    """
    journal = Journal(journal_path(config.home, config.account), account=config.account, clock=clock)
    try:
        trader = Trader(config, terminal, clock, journal, emit or (lambda event: None), stop or StopRequest())
        return trader.run()
    finally:
        journal.close()


class Trader:
    """The running state of one account's trader; `run_trader` makes and runs it."""

    def __init__(
        self, config: TraderConfig, terminal: Any, clock: Clock, journal: Journal, emit: Emit, stop: StopRequest
    ) -> None:
        self._config, self._clock, self._journal, self._emit, self._stop = config, clock, journal, emit, stop
        settings = config.settings
        self._feed, limits = settings.feed, settings.risk.limits()
        self._control = Control(config.home, config.account, journal)
        self._broker = Broker(
            terminal, feed=self._feed, clock=clock, clock_rule=config.clock_rule, commission_per_lot=config.commission_per_lot,
            symbols={line.symbol: config.symbols.get(line.symbol, line.symbol) for line in settings.lines} | dict(config.symbols),
            connection=config.connection,
        )  # fmt: skip
        self._orders = Orders(journal, self._broker, clock, config.orders)
        self._closing = Closing(self._orders, clock)
        self._desk = Desk(self._broker, clock, self._feed, settings.currency, [line.symbol for line in settings.lines])
        self._library = Library(
            config.home,
            settings.risk,
            lambda symbol: self._desk.spec(symbol).point,
            alias=config.alias,
            live=settings.mode == "live",
        )
        self._decider = Decider(journal, self._orders, self._closing, clock, limits, self._say)
        self._bars = Bars(self._broker)
        self._lines: list[Line] = []
        self._refused: set[str] = set()
        self._handled: set[int] = set()
        self._next_check = clock.now_utc()
        self._guard = Guard(
            journal, self._broker, self._control, self._orders, self._closing, RiskKeeper(journal, settings.risk_day, clock),
            self._desk, limits, self._lines, self._say,
        )  # fmt: skip

    def run(self) -> TraderSummary:
        try:
            if not self._reach_terminal("start"):
                return self._summary("stopped before the terminal answered")
            assert self._broker.identity is not None
            with sole_trader(self._config, self._broker.identity):
                why = self._trade()
            self._guard.last_look()
            summary = self._summary(why)
            self._journal.event("stopped", **asdict(summary))
            self._say("stopped", **asdict(summary))
            return summary
        except (ServingError, FeatureStoreError) as error:
            if isinstance(error, WrongAccount):
                self._control.latch("halted", by="trader", reason=str(error))
            self._journal.event("failed", error=str(error))
            self._say("failed", error=str(error))
            raise
        finally:
            self._broker.disconnect()

    def _trade(self) -> str:
        """Why it ended."""
        self._start()
        schedule = Schedule(self._feed, self._clock.now_utc().timestamp())
        while True:
            now = self._clock.now_utc()
            if why := self._ended(now):
                return why
            wake = min(self._next_wake(schedule, now), self._config.until or datetime.max.replace(tzinfo=now.tzinfo))
            if not self._clock.wait_until(wake) and not self._stop.asked:
                return "the clock ended"
            try:
                self._tick(schedule)
            except Disconnected as lost:
                self._journal.event("disconnected", error=str(lost))
                self._say("disconnected", error=str(lost))
                if not self._reach_terminal(str(lost)):
                    return "stopped"

    def _ended(self, now: datetime) -> str:
        if self._stop.asked:
            return "stopped"
        if self._config.until is not None and now >= self._config.until:
            return f"until {self._config.until.isoformat()}"
        if self._config.bars is not None and len(self._handled) >= self._config.bars:
            return f"{self._config.bars} bars"
        return ""

    def _next_wake(self, schedule: Schedule, now: datetime) -> datetime:
        if schedule.due:
            return min(self._next_check, now + timedelta(seconds=_POLL_S))
        return min(self._next_check, from_epoch(schedule.next_close_s(line.timeframe for line in self._lines)))

    def _tick(self, schedule: Schedule) -> None:
        if self._stop.asked:
            return
        now = self._clock.now_utc()
        if now >= self._next_check:
            self._guard.check()
            # A closed market leaves nothing to trade; commands and HALT files are still looked for.
            idle = not self._desk.is_open()
            self._next_check = now + timedelta(seconds=max(self._config.settings.check_every_s, _IDLE_S if idle else 0.0))
        for name, due in schedule.advance(now.timestamp(), self._lines):
            self._decider.skipped(self._line(name), due.bar_s, "missed: the next bar closed before this one was there")
        if schedule.due:
            self._on_bars(schedule, now)

    # --- start and reconnection

    def _reach_terminal(self, why: str) -> bool:
        """True once connected to the pinned account and reconciled with it; False when asked to stop before."""
        delay_s = 1.0
        while not self._stop.asked:
            try:
                identity = self._broker.connect()
                check_identity(self._config, identity)
                self._desk.refresh()
                self._guard.reconcile()
                self._journal.event("connected", account=str(identity), why=why)
                return True
            except Disconnected as error:
                log.warning("%s; trying again in %.0f s", error, delay_s)
            if not self._clock.wait_until(self._clock.now_utc() + timedelta(seconds=delay_s)):
                return False
            delay_s = min(2 * delay_s, _LONGEST_BACKOFF_S)
            self._control.check()
        return False

    def _start(self) -> None:
        for wanted in self._config.settings.lines:
            self._lines.append(self._warm(self._library.line(wanted.pipeline, wanted.symbol)))
        for line in self._lines:
            if self._feed not in line.manifest.feeds:
                self._journal.event("other feed", line.name, trained_on=line.manifest.feeds, trades_on=self._feed)
        lines = {line.name: line.bundle.sha256 for line in self._lines}
        self._journal.event("started", mode=self._config.settings.mode, account=str(self._broker.identity), lines=lines)
        self._say("started", account=str(self._broker.identity), mode=self._config.settings.mode, lines=lines)

    def _warm(self, line: Line) -> Line:
        for symbol in line.symbols:
            self._broker.select(symbol)
        entries = [e.bar_s for e in self._journal.open_exits().values() if e.line == line.name]
        try:
            self._bars.warm_up(line, self._clock.now_utc().timestamp(), min(entries, default=None))
        except Disconnected:
            raise
        except Retryable as error:
            # The terminal may still be loading history: the line is warmed up again at its next bar.
            self._journal.event("cold", line.name, error=str(error))
        return line

    # --- at closed bars

    def _on_bars(self, schedule: Schedule, now: datetime) -> None:
        waiting = [line for line in self._lines if line.name in schedule.due]
        fresh = self._bars.newest(waiting, now.timestamp())
        arrived = perf_counter()
        for line in waiting:
            line.take({s: fresh[s, line.base_timeframe] for s in line.symbols}, int(now.timestamp()))
        ready = [line for line in waiting if self._is_ready(line, schedule, now)]
        late = [line for line in waiting if line not in ready and self._age_s(line, schedule, now) > self._config.grace_s]
        for line in late:
            self._decider.skipped(line, schedule.due[line.name].bar_s, f"late: no bar {self._config.grace_s:g} s after its close")
        everyone = len(ready) + len(late) == len(waiting)
        if ready and (everyone or all(self._age_s(line, schedule, now) >= self._config.settle_s for line in ready)):
            self._decide(ready, schedule, arrived)
        elif late:
            self._decide([], schedule, arrived)  # time exits do not wait for a bar that never came
            ready = []
        else:
            return
        for line in (*ready, *late):
            self._handled.add(schedule.due.pop(line.name).close_s)
        self._look_for_champions()

    def _age_s(self, line: Line, schedule: Schedule, now: datetime) -> float:
        return now.timestamp() - schedule.due[line.name].close_s

    def _is_ready(self, line: Line, schedule: Schedule, now: datetime) -> bool:
        """Whether the line's bar is there and whole: a newer quote has come, or there was time for one."""
        age_s = self._age_s(line, schedule, now)
        if age_s > self._config.grace_s or not line.has_bar(schedule.due[line.name].bar_s):
            return False
        quote = self._broker.quote(line.symbol)
        newer = quote is not None and quote.time_s >= schedule.due[line.name].close_s
        return newer or age_s >= self._config.settle_s

    def _decide(self, ready: Sequence[Line], schedule: Schedule, arrived: float) -> None:
        positions = self._broker.positions()
        money = self._broker.account()
        scene = self._guard.scene(positions, count_bars=True)
        held = {self._lines[h.line].name: h.side for h in scene.held if 0 <= h.line < len(self._lines)}
        opinions = self._decider.opinions(ready, schedule.due, held)
        code = self._decider.act(self._lines, schedule.due, opinions, self._guard.account(money), scene, arrived)
        if code != 0:
            self._guard.breached(code, positions)
        self._warm_again([line for line in ready if line.name not in opinions])

    def _warm_again(self, cold: Sequence[Line]) -> None:
        """Lines without an opinion get all their bars anew: a terminal's first answer may have been short."""
        for line in cold:
            try:
                self._lines[self._lines.index(line)] = self._warm(self._library.line(line.pipeline, line.symbol))
            except Disconnected:
                raise
            except (ServingError, FeatureStoreError) as error:
                self._refuse(line, self._library.promoted(line.pipeline), str(error))

    def _look_for_champions(self) -> None:
        """A new champion takes over between bars; positions keep the exits they were opened with."""
        for i, line in enumerate(self._lines):
            promoted: str | None = None
            try:
                promoted = self._library.promoted(line.pipeline)
                if promoted is None or promoted == line.bundle.sha256 or promoted in self._refused:
                    continue
                self._lines[i] = self._warm(self._library.line(line.pipeline, line.symbol))
            except Disconnected:
                raise
            except (ServingError, FeatureStoreError) as error:
                self._refuse(line, promoted, str(error))
            else:
                self._journal.event("new champion", line.name, bundle=promoted, before=line.bundle.sha256)
                self._say("champion", line=line.name, bundle=promoted)

    def _refuse(self, line: Line, promoted: str | None, error: str) -> None:
        """The line trades on with the champion it has; said once for each that is refused."""
        if (promoted or error) not in self._refused:
            self._refused.add(promoted or error)
            self._journal.event("champion refused", line.name, bundle=promoted, error=error)
            self._say("champion refused", line=line.name, bundle=promoted, error=error)

    def _line(self, name: str) -> Line:
        return next(line for line in self._lines if line.name == name)

    def _say(self, event: str, **values: object) -> None:
        self._emit({"schema": SCHEMA, "event": event, "time": self._clock.now_utc().isoformat(), **values})

    def _summary(self, why: str) -> TraderSummary:
        money = self._guard.money or AccountMoney(0.0, 0.0, 0.0)
        latencies = self._decider.latencies_us
        return TraderSummary(
            account=self._config.account, why=why, bars=len(self._handled), decisions=self._decider.decisions,
            orders=len(latencies), state=self._control.state, balance=money.balance, equity=money.equity,
            latency_us=round(statistics.median(latencies)) if latencies else None,
        )  # fmt: skip
