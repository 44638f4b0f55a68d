"""Positions that must be closed: each is asked for again, ever more slowly, until it is gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from feature_store.clock import Clock
from serving.journal import Intent
from serving.orders import Orders
from serving.terminal.broker import OpenPosition

_LONGEST_WAIT_S = 60.0


@dataclass
class _Wish:
    line: str
    reason: str
    bar_s: int
    next_s: float
    wait_s: float = 1.0


class Closing:
    """What is to be closed and why. A refused close is not forgotten: the reason for it has not gone away."""

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders, self._clock = orders, clock
        self._wishes: dict[int, _Wish] = {}

    def ask(self, position: OpenPosition, *, line: str, reason: str, bar_s: int = 0) -> Intent | None:
        """The intent to close the position, sent now; None when the same is wished for already."""
        if position.ticket in self._wishes:
            return None
        self._wishes[position.ticket] = _Wish(line, reason, bar_s, next_s=0.0)
        return self._try(position)

    def retry(self, positions: Iterable[OpenPosition]) -> list[Intent]:
        """Intents sent now for wishes whose time has come; wishes whose position is gone are dropped."""
        there = {position.ticket: position for position in positions}
        self._wishes = {ticket: wish for ticket, wish in self._wishes.items() if ticket in there}
        now_s = self._clock.now_utc().timestamp()
        due = [there[ticket] for ticket, wish in self._wishes.items() if wish.next_s <= now_s]
        return [self._try(position) for position in due]

    def _try(self, position: OpenPosition) -> Intent:
        wish = self._wishes[position.ticket]
        wish.next_s = self._clock.now_utc().timestamp() + wish.wait_s
        wish.wait_s = min(2 * wish.wait_s, _LONGEST_WAIT_S)
        return self._orders.close(position, line=wish.line, reason=wish.reason, bar_s=wish.bar_s)
