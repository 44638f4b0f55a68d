"""The rows of the journal, in our words: what was wished, decided, done and known about the account."""

from __future__ import annotations

from dataclasses import dataclass

from serving import magic


@dataclass(frozen=True)
class Intent:
    """A wish to open or close one position; its `sequence` is the key in the magic number."""

    sequence: int
    line: str
    line_id: int
    kind: str  # open, close
    symbol: str
    side: int  # of the order: +1 buys, -1 sells
    lots: float
    stop: float  # price, 0 for none
    target: float
    position: int  # ticket to close; of an open: the ticket it opened, once known
    bar_s: int  # open time of the decision bar
    horizon_bars: int
    timeframe: str
    bundle: str
    reason: str
    at_ms: int
    state: str  # unknown, filled, rejected, not_filled
    attempts: int
    sent_ms: int
    filled_lots: float
    price: float
    note: str

    @property
    def magic(self) -> int:
        return magic.encode(self.line_id, self.sequence)


@dataclass(frozen=True)
class Exit:
    """How a position of ours ends, as decided when it was opened."""

    position: int
    sequence: int
    line: str
    symbol: str
    side: int
    stop: float
    target: float
    horizon_bars: int
    timeframe: str
    bar_s: int  # open time of the decision bar; bars are counted from the one after it
    bundle: str
    opened_ms: int
    closed_ms: int | None


@dataclass(frozen=True)
class Decision:
    """One line's decision at one bar, also when nothing was done: `reason` is the first rule that said no."""

    line: str
    bar_s: int
    at_ms: int
    p_short: float | None
    p_flat: float | None
    p_long: float | None
    side: int
    confidence: float | None
    atr: float | None
    equity: float | None  # of the account, as the lots were sized with
    action: str
    reason: str
    sequence: int | None
    latency_us: int | None
    bundle: str


@dataclass(frozen=True)
class DealRow:
    """One deal of the account, ours or not, in our words. `line` names ours."""

    ticket: int
    order_ticket: int
    position: int
    at_ms: int
    symbol: str
    kind: str  # trade, balance
    side: int
    entry: str  # in, out, inout, out_by
    lots: float
    price: float
    commission: float
    swap: float
    fee: float
    profit: float
    magic: int
    reason: str
    comment: str
    line: str | None


@dataclass(frozen=True)
class RiskDay:
    """The account's risk day and peak, as they survive a restart. Money in account currency. day: its number,
    see `serving.settings.RiskDay.ids`. day_start_equity: equity or balance, as the settings say."""

    day: int
    day_start_equity: float
    peak_equity: float


@dataclass(frozen=True)
class State:
    """The latched trading state, who set it and why."""

    state: str  # active, reducing, halted
    by: str
    reason: str
    at_ms: int
