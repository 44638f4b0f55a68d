"""From closed bars to orders: opinions of the lines, one `step` for the account, one journal row for each line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np

from feature_store.clock import Clock
from serving import decision
from serving._trader_bars import Due
from serving._trader_closing import Closing
from serving._trader_lines import Line, Opinion, opinions
from serving._trader_scene import Scene
from serving.decision import REASONS, Account
from serving.journal import Decision, Intent, Journal
from serving.orders import Orders
from serving.risk import Limits

_WORDS = {1: "long", -1: "short"}


class Decider:
    """Decides for all lines of one account. `latencies_us`: bars in hand to order out, of each order sent."""

    def __init__(
        self, journal: Journal, orders: Orders, closing: Closing, clock: Clock, limits: Limits, say: Callable[..., None]
    ) -> None:
        self._journal, self._orders, self._closing, self._clock = journal, orders, closing, clock
        self._limits, self._say = limits, say
        self.latencies_us: list[int] = []
        self.decisions = 0

    def opinions(self, lines: Sequence[Line], due: Mapping[str, Due], held: Mapping[str, int]) -> dict[str, Opinion]:
        """What each due line says; a line that cannot say anything gets its journal row here."""
        found = {}
        for bar_s in dict.fromkeys(due[line.name].bar_s for line in lines):
            now = [line for line in lines if due[line.name].bar_s == bar_s]
            said = opinions(now, bar_s, held)
            for line in now:
                what = said[line.name]
                if isinstance(what, Opinion):
                    found[line.name] = what
                else:
                    # Fails closed: no opinion, no trade, and the journal says why.
                    self.skipped(line, bar_s, str(what))
        return found

    def skipped(self, line: Line, bar_s: int, reason: str) -> None:
        """The journal row of a bar on which the line could not decide."""
        self._row(line, bar_s, None, None, action="none", reason=reason, sequence=None, latency_us=None)

    def act(
        self,
        lines: Sequence[Line],
        due: Mapping[str, Due],
        opinions: Mapping[str, Opinion],
        account: Account,
        scene: Scene,
        arrived: float,
    ) -> int:
        """Code of the account rule that was breached, or 0, after orders went out and rows were journaled.

        arrived: perf_counter of the moment the bars were in hand."""
        specs = [line.spec for line in lines]
        wanted = decision.step(
            account, scene.positions, _signals(lines, opinions, scene), scene.quotes, scene.specs,
            decision.policy(specs), self._limits,
        )  # fmt: skip
        closed = self._close(wanted, scene, lines, due)
        # All orders go out before any row is written: the journal's disk is not what an order waits for.
        opened: dict[str, tuple[Intent, int | None]] = {}
        for i, line in enumerate(lines):
            if wanted.open_side[i] != 0:
                opened[line.name] = self._open(line, due[line.name].bar_s, wanted, i), self._latency(arrived)
        thought_us = round((perf_counter() - arrived) * 1e6)
        for name, (intent, _) in opened.items():
            self._say(
                "order", line=name, symbol=intent.symbol, side=intent.side, lots=intent.filled_lots or intent.lots,
                price=intent.price, stop=intent.stop, target=intent.target, state=intent.state, note=intent.note,
            )  # fmt: skip
        for i, line in enumerate(lines):
            if line.name not in opinions:
                continue
            action, reason = ("close" if line.name in closed else "none"), REASONS[int(wanted.reason[i])]
            sequence, latency_us = closed.get(line.name), thought_us
            if line.name in opened:
                intent, sent_us = opened[line.name]
                action, reason = (
                    f"open {_WORDS[intent.side]}",
                    "" if intent.state == "filled" else f"{intent.state}: {intent.note}",
                )
                sequence, latency_us = intent.sequence, thought_us if sent_us is None else sent_us
            bar_s = due[line.name].bar_s
            self._row(
                line,
                bar_s,
                opinions[line.name],
                account.equity,
                action=action,
                reason=reason,
                sequence=sequence,
                latency_us=latency_us,
            )
        return int(wanted.halt)

    def _close(self, wanted: decision.Orders, scene: Scene, lines: Sequence[Line], due: Mapping[str, Due]) -> dict[str, int]:
        """Closes that `step` asked for; line -> intent sequence."""
        closed = {}
        for p, row in enumerate(scene.held):
            code = int(wanted.close[p])
            if code == 0 or row.position is None or row.exit is None:
                continue
            bar = due.get(row.exit.line)
            intent = self._closing.ask(
                row.position, line=row.exit.line, reason=REASONS[code], bar_s=bar.bar_s if bar else row.exit.bar_s
            )
            if intent is not None:
                closed[row.exit.line] = intent.sequence
        return closed

    def _open(self, line: Line, bar_s: int, wanted: decision.Orders, i: int) -> Intent:
        return self._orders.open(
            line=line.name, symbol=line.symbol, side=int(wanted.open_side[i]), lots=float(wanted.open_lots[i]),
            stop=_level(wanted.open_stop[i]), target=_level(wanted.open_target[i]), bar_s=bar_s,
            horizon_bars=int(decision.policy([line.spec]).horizon_bars[0]), timeframe=line.timeframe,
            bundle=line.bundle.sha256, reason="signal",
        )  # fmt: skip

    def _latency(self, arrived: float) -> int | None:
        if self._orders.sent_at is None:
            return None
        latency_us = round((self._orders.sent_at - arrived) * 1e6)
        self.latencies_us.append(latency_us)
        return latency_us

    def _row(
        self,
        line: Line,
        bar_s: int,
        opinion: Opinion | None,
        equity: float | None,
        *,
        action: str,
        reason: str,
        sequence: int | None,
        latency_us: int | None,
    ) -> None:
        short, flat, long = opinion.probabilities if opinion else (None, None, None)
        row = Decision(
            line=line.name, bar_s=bar_s, at_ms=self._journal.now_ms(), p_short=short, p_flat=flat, p_long=long,
            side=opinion.side if opinion else 0, confidence=_finite(opinion.confidence) if opinion else None,
            atr=_finite(opinion.atr) if opinion else None, equity=equity, action=action, reason=reason, sequence=sequence,
            latency_us=latency_us, bundle=line.bundle.sha256,
        )  # fmt: skip
        self._journal.decision(row)
        self.decisions += 1
        self._say("decision", **vars(row))


def _signals(lines: Sequence[Line], opinions: Mapping[str, Opinion], scene: Scene) -> decision.Signals:
    said = [opinions.get(line.name) for line in lines]
    return decision.Signals(
        symbol=np.array([scene.symbols[line.symbol] for line in lines], dtype=np.int64),
        fresh=np.array([o is not None for o in said], dtype=np.int64),
        side=np.array([o.side if o else 0 for o in said], dtype=np.int64),
        confidence=np.array([o.confidence if o else math.nan for o in said]),
        atr=np.array([o.atr if o else math.nan for o in said]),
    )


def _level(price: float) -> float:
    return float(price) if math.isfinite(price) and price > 0 else 0.0


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
