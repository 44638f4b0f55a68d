"""What the broker adapter speaks: our words for accounts, quotes, positions, deals, requests and replies.

Symbols carry our names, moments are UTC, prices are floats. Nothing here is a MetaTrader type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving._errors import Final, Retryable


class Disconnected(Retryable):
    """The pipe to the terminal is gone; reconnect, then reconcile. Says nothing about what the server did."""


class WrongAccount(Final):
    """The terminal is logged in to another account than the pinned one. Trading on it must halt."""


@dataclass(frozen=True)
class Identity:
    """Whose account this is. `trade_mode` proves nothing: prop accounts are demo accounts."""

    login: int
    server: str
    company: str
    currency: str
    margin_mode: int
    trade_mode: int

    def __str__(self) -> str:
        return f"{self.login}@{self.server}"


@dataclass(frozen=True)
class AccountMoney:
    """The account's money now, in its currency; equity holds the floating profit of all positions."""

    balance: float
    equity: float
    margin: float


@dataclass(frozen=True)
class Quote:
    """Newest quote of one symbol. time_s: UTC epoch seconds at which it last changed."""

    symbol: str
    bid: float
    ask: float
    time_s: float


@dataclass(frozen=True)
class OpenPosition:
    """One open position of the account, ours or foreign."""

    ticket: int
    symbol: str
    side: int  # +1 long, -1 short
    lots: float
    entry: float
    stop: float  # 0 for none
    target: float
    profit: float  # floating, without swap
    swap: float
    magic: int
    opened_s: float
    comment: str


@dataclass(frozen=True)
class OrderSeen:
    """One order at the broker, working or in history. state: working, filled, partial, dead."""

    ticket: int
    position: int
    symbol: str
    magic: int
    state: str


@dataclass(frozen=True)
class Deal:
    """One deal in the account's history. kind: trade or balance; entry: in, out, inout, out_by."""

    ticket: int
    order_ticket: int
    position: int
    at_ms: int
    symbol: str
    kind: str
    side: int
    entry: str
    lots: float
    price: float
    commission: float
    swap: float
    fee: float
    profit: float
    magic: int
    reason: str
    comment: str


@dataclass(frozen=True)
class Request:
    """What to ask of the broker. kind: open, close, protect (set stop and target of a position)."""

    kind: str
    symbol: str
    side: int  # of the order; a close has the side opposite to its position
    lots: float
    magic: int
    stop: float = 0.0  # 0 for none
    target: float = 0.0
    position: int = 0
    comment: str = ""
    deviation_points: int = 20


@dataclass(frozen=True)
class Done:
    """The broker did it: `lots` at `price`. Tickets are 0 where the action has none."""

    order_ticket: int
    deal: int
    lots: float
    price: float
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """The broker surely did not do it. `again`: only the price moved, asking anew is right while the bar is
    fresh. `stops`: it was the stop or target it did not take."""

    code: int
    text: str
    again: bool
    stops: bool
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Unknown:
    """Nobody knows whether the broker did it: look before anything else."""

    code: int
    text: str
    raw: Mapping[str, Any]


Reply = Done | Rejected | Unknown
