"""Orders: intents become effects exactly once, deals become fills exactly once.

An intent is journaled before anything is sent, and its key travels in the magic number. After an answer that
proves nothing, the broker is asked first: only an intent proven not done may be sent again, only while its bar
is fresh, and only a few times. Nothing above this file sees a MetaTrader type.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any

from feature_store.clock import Clock, from_epoch
from serving import magic
from serving._evidence import Finding, look
from serving.journal import DealRow, Exit, Intent, Journal
from serving.terminal._replies import MARKET_CLOSED, POSITION_GONE
from serving.terminal.broker import Broker, Disconnected, Done, OpenPosition, Rejected, Reply, Request

log = logging.getLogger(__name__)

_PROTECT_TRIES = 3
_GONE_S = 60  # a position that vanished without a deal is believed closed after this long: terminals sync slowly


@dataclass(frozen=True)
class OrderPolicy:
    """How patient orders are. fresh_s: how long after its intent an open may still be sent. settle_s: how long
    after sending nothing visible proves that nothing was done. look_s: how long one call waits to see a fill;
    after that the intent stays unresolved and is looked at again at each check."""

    max_attempts: int = 3
    fresh_s: float = 30.0
    settle_s: float = 5.0
    look_s: float = 1.0
    poll_s: float = 0.25
    deviation_points: int = 20


class Orders:
    """The one way to the broker's order desk."""

    def __init__(self, journal: Journal, broker: Broker, clock: Clock, policy: OrderPolicy | None = None) -> None:
        self._journal, self._broker, self._clock = journal, broker, clock
        self._policy = policy or OrderPolicy()
        self._protect_failures: defaultdict[int, int] = defaultdict(int)
        self._missing_since_ms: dict[int, int] = {}
        self._orphans: set[int] = set()
        self.sent_at: float | None = None
        """perf_counter at which the newest `open` first went out; None when it never did."""

    def open(
        self,
        *,
        line: str,
        symbol: str,
        side: int,
        lots: float,
        stop: float,
        target: float,
        bar_s: int,
        horizon_bars: int,
        timeframe: str,
        bundle: str,
        reason: str,
    ) -> Intent:
        """The intent after one effort: filled, rejected, not_filled, or unknown until `resolve` finds out."""
        self.sent_at = None
        return self._first(
            line=line, kind="open", symbol=symbol, side=side, lots=lots, stop=stop, target=target, bar_s=bar_s,
            horizon_bars=horizon_bars, timeframe=timeframe, bundle=bundle, reason=reason,
        )  # fmt: skip

    def close(self, position: OpenPosition, *, line: str, reason: str, bar_s: int = 0) -> Intent:
        """The intent to close the whole position; an unresolved earlier one is looked at instead of a second."""
        for earlier in self._journal.unresolved():
            if earlier.kind == "close" and earlier.position == position.ticket:
                return self._find(earlier, self._policy.look_s)
        return self._first(
            line=line, kind="close", symbol=position.symbol, side=-position.side, lots=position.lots, bar_s=bar_s,
            reason=reason, position=position.ticket,
        )  # fmt: skip

    def resolve(self) -> list[Intent]:
        """Intents still unresolved after looking for each once more; one proven not done may be sent again."""
        tried = [self._find(intent, look_s=0.0) for intent in self._journal.unresolved()]
        return [intent for intent in tried if intent.state == "unknown"]

    def _first(self, **wish: Any) -> Intent:
        """A new intent after its first effort. Intent and request become durable in one write, before sending; when
        the terminal is away there is neither."""
        with self._journal.transaction():
            intent = self._journal.add_intent(**wish)
            raw = self._broker.prepare(self._request(intent, naked=False))
            number = self._journal.request(intent.sequence, raw)
        return self._sent(intent, raw, number, naked=False)

    def _again(self, intent: Intent, *, naked: bool = False) -> Intent:
        raw = self._broker.prepare(self._request(intent, naked=naked))
        if intent.kind == "open" and self._ran_away(intent, raw["price"]):
            return self._resolved(intent, "not_filled", note="the price ran away before it could be sent again")
        return self._sent(intent, raw, self._journal.request(intent.sequence, raw), naked=naked)

    def _request(self, intent: Intent, *, naked: bool) -> Request:
        return Request(
            kind=intent.kind, symbol=intent.symbol, side=intent.side, lots=intent.lots, magic=intent.magic,
            stop=0.0 if naked else intent.stop, target=0.0 if naked else intent.target, position=intent.position,
            comment=f"{intent.line} {intent.sequence}", deviation_points=self._policy.deviation_points,
        )  # fmt: skip

    def _sent(self, intent: Intent, raw: dict[str, Any], number: int, *, naked: bool) -> Intent:
        reply = self._ask(number, raw, intent.kind)
        intent = self._fresh_row(intent)
        if isinstance(reply, Done):
            # On a hedging account, and for the first order on a symbol of a netting one, the order names the position.
            position = intent.position if intent.kind == "close" else reply.order_ticket
            return self._filled(intent, Finding("filled", position, reply.lots, reply.price))
        if isinstance(reply, Rejected):
            return self._rejected(intent, reply, naked)
        self._journal.event("ambiguous", intent.line, sequence=intent.sequence, code=reply.code, text=reply.text)
        return self._find(intent, self._policy.look_s)

    def _ask(self, number: int, raw: dict[str, Any], kind: str) -> Reply:
        started = perf_counter()
        self.sent_at = started if self.sent_at is None else self.sent_at
        reply = self._broker.send(raw, kind)
        answered_us = round((perf_counter() - started) * 1e6)
        self._journal.reply(number, {"sorted": type(reply).__name__.lower(), **reply.raw}, answered_us)
        return reply

    def _rejected(self, intent: Intent, reply: Rejected, naked: bool) -> Intent:
        if intent.kind == "close" and reply.code == POSITION_GONE:
            return self._filled(intent, Finding("filled", intent.position, note="the position was already gone"))
        late_stops = reply.stops and intent.kind == "open" and not naked and self._broker.may_refuse_stops(intent.symbol)
        if (reply.again or late_stops) and self._may_send(intent):
            # Opened without stops, it gets them at once by `protect`, or is closed.
            return self._again(intent, naked=naked or late_stops)
        return self._resolved(intent, "rejected", note=f"{reply.text} ({reply.code})")

    def _find(self, intent: Intent, look_s: float) -> Intent:
        """Looks for the intent at the broker until it is known, or `look_s` are over."""
        deadline = self._clock.now_utc() + timedelta(seconds=look_s)
        while True:
            now = self._clock.now_utc()
            settled = now.timestamp() - intent.sent_ms / 1000 >= self._policy.settle_s
            try:
                found = look(self._broker, intent, settled=settled)
            except Disconnected as lost:
                found = Finding("unknown", note=str(lost))
            if found.state == "filled":
                return self._filled(intent, found)
            if found.state == "not_filled":
                if intent.kind == "open" and self._may_send(intent):
                    return self._again(intent)
                return self._resolved(intent, "not_filled", note=found.note)
            if now >= deadline or not self._clock.wait_until(min(now + timedelta(seconds=self._policy.poll_s), deadline)):
                return intent

    def _may_send(self, intent: Intent) -> bool:
        age_s = self._clock.now_utc().timestamp() - intent.at_ms / 1000
        return intent.attempts < self._policy.max_attempts and age_s <= self._policy.fresh_s

    def _ran_away(self, intent: Intent, price: float) -> bool:
        """Whether the price got worse than the first request's by more than the deviation orders allow."""
        first = self._journal.rows("SELECT request FROM requests WHERE sequence = ? ORDER BY id LIMIT 1", [intent.sequence])
        allowed = self._policy.deviation_points * self._broker.spec(intent.symbol).point
        return intent.side * (price - float(json.loads(first[0]["request"])["price"])) > allowed * (1 + 1e-9)

    def _filled(self, intent: Intent, found: Finding) -> Intent:
        with self._journal.transaction():
            done = self._resolved(intent, "filled", found)
            if intent.kind == "open":
                self._journal.open_exit(
                    Exit(
                        position=found.position, sequence=intent.sequence, line=intent.line, symbol=intent.symbol,
                        side=intent.side, stop=intent.stop, target=intent.target, horizon_bars=intent.horizon_bars,
                        timeframe=intent.timeframe,
                        bar_s=intent.bar_s, bundle=intent.bundle, opened_ms=self._journal.now_ms(), closed_ms=None,
                    )
                )  # fmt: skip
        return done

    def _resolved(self, intent: Intent, state: str, found: Finding | None = None, *, note: str = "") -> Intent:
        found = found or Finding(state, intent.position, note=note)
        with self._journal.transaction():
            self._journal.resolve(
                intent.sequence, state, position=found.position, filled_lots=found.lots, price=found.price, note=found.note
            )
            self._journal.event(
                "order", intent.line, sequence=intent.sequence, kind=intent.kind, symbol=intent.symbol, side=intent.side,
                state=state, position=found.position, lots=found.lots or intent.lots, price=found.price, note=found.note,
                reason=intent.reason,
            )  # fmt: skip
        return self._fresh_row(intent)

    def _fresh_row(self, intent: Intent) -> Intent:
        row = self._journal.intent(intent.sequence)
        assert row is not None
        return row

    def protect(self, positions: Iterable[OpenPosition]) -> list[OpenPosition]:
        """Gives positions of ours the stop and target they lack at the broker; gives back those that cannot be
        protected after several tries and must be closed."""
        exits, hopeless = self._journal.open_exits(), []
        for position in positions:
            exit_ = exits.get(position.ticket)
            if exit_ is None or not ((exit_.stop and not position.stop) or (exit_.target and not position.target)):
                self._protect_failures.pop(position.ticket, None)
                continue
            request = Request(
                kind="protect", symbol=position.symbol, side=position.side, lots=position.lots, magic=position.magic,
                stop=exit_.stop, target=exit_.target, position=position.ticket,
            )  # fmt: skip
            raw = self._broker.prepare(request)
            reply = self._ask(self._journal.request(exit_.sequence, raw, attempt=False), raw, "protect")
            if isinstance(reply, Rejected) and reply.code != MARKET_CLOSED:
                self._protect_failures[position.ticket] += 1
                self._journal.event("protect refused", exit_.line, position=position.ticket, code=reply.code, text=reply.text)
                if self._protect_failures[position.ticket] >= _PROTECT_TRIES:
                    hopeless.append(position)
        return hopeless

    def collect(self) -> list[DealRow]:
        """Fills not seen before, oldest first. Every deal of the account becomes one row, ours or not."""
        last_ms = self._journal.last_deal_ms()
        since = from_epoch(0 if last_ms is None else last_ms / 1000) - (timedelta(days=1) if last_ms else timedelta(0))
        deals = self._broker.deals(since)
        names = {number: name for name, number in self._journal.lines().items()}
        fresh = []
        with self._journal.transaction():
            for deal in deals:
                row = DealRow(**vars(deal), line=self._line_of(deal.position, deal.magic, names))
                if self._journal.deal(row):
                    fresh.append(row)
            keys = [key.sequence for row in fresh if (key := magic.decode(row.magic))]
            # A sequence that only the broker remembers means a lost journal: never use it again.
            self._journal.raise_sequence(max(keys, default=0))
        return fresh

    def _line_of(self, position: int, number: int, names: dict[int, str]) -> str | None:
        # Stop and target exits carry no magic of ours: the position tells whose they are.
        owner = self._journal.rows("SELECT line FROM exits WHERE position = ?", [position]) if position else []
        if owner:
            return str(owner[0]["line"])
        key = magic.decode(number)
        return names.get(key.line) if key else None

    def reconcile(self, positions: list[OpenPosition]) -> list[OpenPosition]:
        """Makes the journal agree with the broker's positions; gives back those that must be closed, being a
        second fill of one intent. Positions that vanished are marked closed once their deal is known."""
        exits = self._journal.open_exits()
        extra = self._adopt(positions, exits)
        there = {position.ticket for position in positions}
        gone = [exit_ for ticket, exit_ in exits.items() if ticket not in there]
        if gone:
            self.collect()
        for exit_ in gone:
            self._mark_gone(exit_)
        self._missing_since_ms = {t: ms for t, ms in self._missing_since_ms.items() if t not in there}
        return extra

    def _adopt(self, positions: list[OpenPosition], exits: dict[int, Exit]) -> list[OpenPosition]:
        extra = []
        for position in positions:
            key = magic.decode(position.magic)
            intent = self._journal.intent(key.sequence) if key and position.ticket not in exits else None
            if intent is None or intent.magic != position.magic or intent.symbol != position.symbol:
                self._note_orphan(position, key is not None and position.ticket not in exits)
                continue
            if intent.state == "filled" and intent.position != position.ticket:
                extra.append(position)
            else:
                self._filled(intent, Finding("filled", position.ticket, position.lots, position.entry, "seen later"))
        return extra

    def _note_orphan(self, position: OpenPosition, ours: bool) -> None:
        # Our tag, but no intent of this journal: it counts as foreign, so that nobody closes what nobody knows.
        if ours and position.ticket not in self._orphans:
            self._orphans.add(position.ticket)
            self._journal.event("orphan", position=position.ticket, symbol=position.symbol, magic=position.magic)

    def _mark_gone(self, exit_: Exit) -> None:
        now_ms = self._journal.now_ms()
        missing_ms = now_ms - self._missing_since_ms.setdefault(exit_.position, now_ms)
        out = self._journal.rows("SELECT * FROM deals WHERE position = ? AND entry <> 'in' ORDER BY at_ms DESC", [exit_.position])
        if not out and missing_ms < _GONE_S * 1000:
            return
        with self._journal.transaction():
            self._journal.close_exit(exit_.position, out[0]["at_ms"] if out else now_ms)
            self._journal.event(
                "position closed", exit_.line, position=exit_.position, symbol=exit_.symbol,
                how=out[0]["reason"] if out else "vanished", profit=sum(d["profit"] + d["commission"] + d["swap"] for d in out),
            )  # fmt: skip
        self._missing_since_ms.pop(exit_.position, None)
