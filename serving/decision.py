"""From probabilities to orders: pure functions that backtest, replay and live all call.

`signal` is path-free. `step` holds position policy, sizing, caps and risk rules; `guard` is its account part, which
live also calls between bars. They take only scalars, arrays and NamedTuples, so that numba compiles the same source
for the backtest; live runs it as it is.

Barrier mode: one position per line; only stop, target (both at the broker), the time exit or an opposite signal ends
it. Target mode: the position follows the signal. A line that closes in a step may open only the other side in it.
Halted: nothing is done, unless an account rule is breached, which closes all that is ours. Reducing: closes, no opens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving._decision_types import (
    ACTIVE,
    BARRIER,
    BELOW_MINIMUM,
    CLOSING,
    END_OF_DATA,
    F64,
    FLAT_SIGNAL,
    FOREIGN,
    HALTED,
    HALTED_STATE,
    HELD,
    I64,
    LOTS,
    MARKET_CLOSED,
    NO_ATR,
    NO_EQUITY,
    NO_KELLY,
    NO_QUOTE,
    NO_RATE,
    NO_SIGNAL,
    NO_STOP,
    OPPOSITE_SIGNAL,
    OWN_REASONS,
    REDUCING,
    REDUCING_STATE,
    RISK,
    STOP_HIT,
    STOPS_TOO_CLOSE,
    TARGET,
    TARGET_HIT,
    TIME_EXIT,
    Account,
    DecisionSpec,
    Orders,
    Policy,
    Positions,
    Quotes,
    Signals,
    Specs,
)
from serving.risk import RULES, breached
from serving.sizing import open_lines, positive

if TYPE_CHECKING:
    from serving.risk import Limits

__all__ = [
    "ACTIVE",
    "BARRIER",
    "BELOW_MINIMUM",
    "CLOSING",
    "END_OF_DATA",
    "F64",
    "FLAT_SIGNAL",
    "FOREIGN",
    "HALTED",
    "HALTED_STATE",
    "HELD",
    "I64",
    "LOTS",
    "MARKET_CLOSED",
    "NO_ATR",
    "NO_EQUITY",
    "NO_KELLY",
    "NO_QUOTE",
    "NO_RATE",
    "NO_SIGNAL",
    "NO_STOP",
    "OPPOSITE_SIGNAL",
    "REASONS",
    "REDUCING",
    "REDUCING_STATE",
    "RISK",
    "STOPS_TOO_CLOSE",
    "STOP_HIT",
    "TARGET",
    "TARGET_HIT",
    "TIME_EXIT",
    "Account",
    "DecisionSpec",
    "Orders",
    "Policy",
    "Positions",
    "Quotes",
    "Signals",
    "Specs",
    "confidence",
    "guard",
    "policy",
    "signal",
    "step",
]

REASONS: dict[int, str] = {**OWN_REASONS, **{rule.code: rule.says for rule in RULES}}
"""What each reason code means, for people."""


def signal(p_short: float, p_flat: float, p_long: float, spec: DecisionSpec) -> int:
    """+1, 0 or -1: the likelier of the two sides when it reaches its threshold. Path-free. NaN or a tie: 0."""
    # float(): a float32 scalar would be compared in float32 here and in float64 once compiled.
    short, flat, long = float(p_short), float(p_flat), float(p_long)
    if not (short >= 0.0 and flat >= 0.0 and long >= 0.0):
        return 0
    if long > short:
        return 1 if long >= spec.threshold_long else 0
    if short > long:
        return -1 if short >= spec.threshold_short else 0
    return 0


def confidence(p_short: float, p_long: float, side: int) -> float:
    """q = p_side / (p_long + p_short), the direction's probability given that there is one; NaN without a side."""
    short, long = float(p_short), float(p_long)
    total = long + short
    if side == 0 or not total > 0.0:
        return math.nan
    return (long if side > 0 else short) / total


def policy(specs: Sequence[DecisionSpec]) -> Policy:
    """The specs of all lines, field by field, as arrays. Target mode has no time exit: its horizon becomes 0."""
    exits = [spec if spec.mode == BARRIER else spec._replace(horizon_bars=0) for spec in specs]
    whole = {"mode", "horizon_bars", "sizing"}
    columns: Any = (
        np.array([getattr(spec, name) for spec in exits], dtype=np.int64 if name in whole else np.float64)
        for name in DecisionSpec._fields
    )
    return Policy(*columns)


def guard(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> int:
    """0, or the code of the first account rule that is breached. Unknown equity (NaN) is no breach: it opens
    nothing, but one missing number must not close the book."""
    return breached(account, positions, quotes, specs, limits)


def step(
    account: Account,
    positions: Positions,
    signals: Signals,
    quotes: Quotes,
    specs: Specs,
    policy: Policy,
    limits: Limits,
) -> Orders:
    """What to do now. Lines are taken in index order, and each sees what those before it were granted."""
    lines = signals.symbol.size
    orders = Orders(
        np.zeros(positions.line.size, np.int64),
        np.zeros(lines, np.int64),
        np.zeros(lines, np.float64),
        np.zeros(lines, np.float64),
        np.zeros(lines, np.float64),
        np.zeros(lines, np.int64),
        guard(account, positions, quotes, specs, limits),
    )
    closed_side, held = np.zeros(lines, np.int64), np.zeros(lines, np.int64)
    close_lines(orders, closed_side, held, account.state, positions, signals, quotes, policy)
    wanting = 0
    for line in range(lines):
        if signals.fresh[line] != 0:
            orders.reason[line] = refusal(line, orders.halt, account, closed_side, held, signals, quotes, specs)
            wanting += 1 if orders.reason[line] == 0 else 0
    if wanting > 0:
        open_lines(orders, wanting, account, positions, signals, quotes, specs, policy, limits)
    return orders


def close_lines(
    orders: Orders,
    closed_side: I64,
    held: I64,
    state: int,
    positions: Positions,
    signals: Signals,
    quotes: Quotes,
    policy: Policy,
) -> None:
    """Fill `orders.close`, and per line the side it closes and the side it goes on holding. Our positions whose
    line is gone from the settings still end on time and at a breach; foreign ones are never touched."""
    for p in range(positions.line.size):
        line = positions.line[p]
        if line < 0:
            continue
        known = line < signals.symbol.size
        reason = orders.halt
        if reason == 0 and state != HALTED:
            reason = exit_reason(positions.side[p], positions.bars_held[p], positions.horizon_bars[p])
            if reason == 0 and known and signals.fresh[line] != 0:
                reason = turn_reason(positions.side[p], signals.side[line], policy.mode[line])
        # A closed market would refuse it; every reason that still holds then says so again at the next step.
        if quotes.open[positions.symbol[p]] == 0:
            reason = 0
        orders.close[p] = reason
        if known and reason != 0:
            closed_side[line] = positions.side[p]
        elif known:
            held[line] = positions.side[p]


def exit_reason(side: int, bars_held: int, horizon_bars: int) -> int:
    """TIME_EXIT once the position has lived its horizon; horizon 0 is none."""
    return TIME_EXIT if side != 0 and horizon_bars > 0 and bars_held >= horizon_bars else 0


def turn_reason(side: int, wanted: int, mode: int) -> int:
    """Why a new signal ends a position of `side`, or 0."""
    if wanted == -side:
        return OPPOSITE_SIGNAL
    return FLAT_SIGNAL if wanted == 0 and mode == TARGET else 0


def refusal(
    line: int,
    halt: int,
    account: Account,
    closed_side: I64,
    held: I64,
    signals: Signals,
    quotes: Quotes,
    specs: Specs,
) -> int:
    """Why this line may not even be sized, or 0. NaN fails every test."""
    side, s = signals.side[line], signals.symbol[line]
    if halt != 0:
        return halt
    if side == 0:
        return NO_SIGNAL
    if held[line] != 0:
        return HELD
    if closed_side[line] == side:
        return CLOSING
    if account.state != ACTIVE:
        return REDUCING_STATE if account.state == REDUCING else HALTED_STATE
    if quotes.open[s] == 0:
        return MARKET_CLOSED
    if not (positive(quotes.bid[s]) and positive(quotes.ask[s]) and quotes.ask[s] >= quotes.bid[s]):
        return NO_QUOTE
    if not positive(signals.atr[line]):
        return NO_ATR
    if not (positive(specs.value_per_price[s]) and specs.commission_per_lot[s] >= 0.0):
        return NO_RATE
    return 0 if positive(account.equity) else NO_EQUITY
