"""What a decision is made of: NamedTuples of scalars and arrays, their constants and reason codes.

Import them from `serving.decision`; they stand apart so that risk rules and sizing can read them too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BARRIER, TARGET = 0, 1  # DecisionSpec.mode
RISK, LOTS = 0, 1  # DecisionSpec.sizing
ACTIVE, REDUCING, HALTED = 0, 1, 2  # Account.state
FOREIGN = -1  # Positions.line of a position that none of our lines opened

# Reason codes below 100 are ours; from 100 on each risk rule has its own. 0: nothing to say.
TIME_EXIT, OPPOSITE_SIGNAL, FLAT_SIGNAL = 1, 2, 3  # why we close a position
STOP_HIT, TARGET_HIT, END_OF_DATA = 4, 5, 6  # why it closed by itself
NO_SIGNAL, HELD, CLOSING, REDUCING_STATE, HALTED_STATE = 10, 11, 12, 13, 14  # why nothing is opened
MARKET_CLOSED, NO_QUOTE, NO_ATR, NO_RATE, NO_EQUITY = 15, 16, 17, 18, 19
NO_KELLY, BELOW_MINIMUM, STOPS_TOO_CLOSE, NO_STOP = 20, 21, 22, 23
OWN_REASONS: dict[int, str] = {
    0: "",
    TIME_EXIT: "held for its whole horizon",
    OPPOSITE_SIGNAL: "the signal turned to the other side",
    FLAT_SIGNAL: "the signal is flat",
    STOP_HIT: "stop",
    TARGET_HIT: "target",
    END_OF_DATA: "the data ended",
    NO_SIGNAL: "no side reaches its threshold",
    HELD: "the line holds a position already",
    CLOSING: "the line closes in this step and may open only the other side",
    REDUCING_STATE: "trading state is reducing",
    HALTED_STATE: "trading state is halted",
    MARKET_CLOSED: "the market is closed",
    NO_QUOTE: "no valid bid and ask",
    NO_ATR: "ATR is unknown",
    NO_RATE: "the conversion rate to the account currency is missing",
    NO_EQUITY: "equity is unknown or not positive",
    NO_KELLY: "the probability does not pay for the costs",
    BELOW_MINIMUM: "sized below the smallest volume",
    STOPS_TOO_CLOSE: "stop or target is closer than the broker allows",
    NO_STOP: "sizing by risk needs a stop",
}
"""What each of our own reason codes means, for people; `serving.decision.REASONS` adds the rules'."""


class DecisionSpec(NamedTuple):
    """How one model's probabilities become trades; travels in its manifest. Multiples are of the decision
    bar's ATR; thresholds are least probabilities of the side, chosen on validation rows."""

    mode: int
    threshold_long: float
    threshold_short: float
    stop_atr: float
    target_atr: float
    horizon_bars: int
    sizing: int
    risk_fraction: float  # of equity, lost at the stop
    fixed_lots: float


class Account(NamedTuple):
    """The account at this moment, in its currency. Equity holds floating profit of all positions."""

    balance: float
    equity: float
    margin: float
    day_start_equity: float
    peak_equity: float
    state: int


class Positions(NamedTuple):
    """All P open positions, foreign ones included."""

    symbol: I64  # index into Quotes and Specs
    line: I64  # index of the (pipeline, symbol) line that opened it, or FOREIGN
    side: I64  # +1 long, -1 short
    lots: F64
    entry: F64
    stop: F64  # 0 for none
    target: F64
    bars_held: I64  # bars of the line's timeframe closed since the entry
    horizon_bars: I64  # time exit it was opened with


class Signals(NamedTuple):
    """What the L lines say at this time. A line without a new closed bar has fresh 0 and changes nothing."""

    symbol: I64
    fresh: I64
    side: I64  # +1, 0, -1 from `signal`
    confidence: F64  # q = p_side / (p_long + p_short)
    atr: F64  # price units, of the decision bar; NaN when unknown


class Quotes(NamedTuple):
    """S symbols now. age_s: seconds since the quote last changed while the market was open."""

    bid: F64
    ask: F64
    age_s: F64
    open: I64  # 1 while the market is open


class Specs(NamedTuple):
    """S symbols: what a lot is, in account currency at this moment's conversion rates."""

    point: F64
    volume_min: F64
    volume_max: F64
    volume_step: F64
    stops_level: F64  # least distance of stop and target, price units
    value_per_price: F64  # account currency gained per lot when the price rises by 1.0; NaN: rate missing
    commission_per_lot: F64  # account currency, both sides together
    margin_per_lot: F64
    notional_per_lot: F64  # account currency worth of one lot's base currency
    base_currency: I64  # index of currency, for exposure
    profit_currency: I64


class Policy(NamedTuple):
    """The DecisionSpec of each of the L lines, field by field, as arrays."""

    mode: I64
    threshold_long: F64
    threshold_short: F64
    stop_atr: F64
    target_atr: F64
    horizon_bars: I64
    sizing: I64
    risk_fraction: F64
    fixed_lots: F64


class Orders(NamedTuple):
    """What to do now: closes first, then opens. `close[p]` is 0 or the reason code; `open_side[l]` is 0 or
    +1/-1 with lots (rounded down), stop and target prices; `reason[l]` names the first rule that said no."""

    close: I64
    open_side: I64
    open_lots: F64
    open_stop: F64
    open_target: F64
    reason: I64
    halt: int  # 0, or the code of the account rule that latches the state to HALTED
