"""How many lots, and with which stop and target: from what is lost at the stop and from Kelly, through the risk
rules' caps, down to the broker's grid. The opening half of `serving.decision.step`, in the same numba subset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from serving._decision_types import (
    BELOW_MINIMUM,
    I64,
    LOTS,
    NO_KELLY,
    NO_QUOTE,
    NO_STOP,
    STOPS_TOO_CLOSE,
    Account,
    Orders,
    Policy,
    Positions,
    Quotes,
    Signals,
    Specs,
)
from serving.risk import allowed
from serving.risk._rule import Entry

if TYPE_CHECKING:
    from serving.risk import Limits

# 0.29 / 0.01 is 28.999999999999996: without this much slack a lot already on the grid would lose a step.
GRID_SLACK = 1e-9


def positive(x: float) -> bool:
    """Whether `x` is a usable amount: above zero, not NaN, not infinite."""
    return x > 0.0 and x < math.inf


def on_grid(count: float, step: float) -> float:
    """`count` steps as the double nearest to its decimal value: 3 steps of 0.1 is 0.3, not 0.30000000000000004."""
    per_unit = math.floor(1.0 / step + 0.5)
    if per_unit > 0.0 and abs(per_unit * step - 1.0) < GRID_SLACK:
        return count / per_unit
    return count * step


def round_down(lots: float, step: float) -> float:
    """Most lots on the broker's grid that are not above `lots`. 0 for NaN or a useless step."""
    if not (positive(lots) and positive(step)):
        return 0.0
    return on_grid(math.floor(lots / step + GRID_SLACK), step)


def round_price(price: float, point: float) -> float:
    """The price on the grid of `point` nearest to `price`."""
    return on_grid(math.floor(price / point + 0.5), point)


def kelly_fraction(q: float, gain: float, loss: float) -> float:
    """Fraction of equity that grows it fastest when `gain` is won with probability `q`, else `loss` is lost.

    (q b - (1 - q)) / b with b = gain / loss, both net of costs; Kelly 1956. 0 or below: do not trade. NaN in, NaN out.
    """
    if not (positive(gain) and positive(loss)):
        return 0.0
    b = gain / loss
    return (q * b - (1.0 - q)) / b


def open_lines(
    orders: Orders,
    wanting: int,
    account: Account,
    positions: Positions,
    signals: Signals,
    quotes: Quotes,
    specs: Specs,
    policy: Policy,
    limits: Limits,
) -> None:
    """Fill in `orders` what each of the `wanting` lines that nothing refused so far may open, in index order."""
    book = still_open(positions, orders.close, wanting)
    count = positions.line.size
    for p in range(positions.line.size):
        count -= 1 if orders.close[p] != 0 else 0
    margin = margin_left(account.margin, positions, orders.close, specs)
    for line in range(signals.symbol.size):
        if signals.fresh[line] == 0 or orders.reason[line] != 0:
            continue
        now = with_margin(account, margin)
        held = first_positions(book, count)
        lots, stop, target, reason = size_line(line, now, held, signals, quotes, specs, policy, limits)
        orders.reason[line] = reason
        if reason != 0:
            continue
        s, side = signals.symbol[line], signals.side[line]
        orders.open_side[line], orders.open_lots[line] = side, lots
        orders.open_stop[line], orders.open_target[line] = stop, target
        book.symbol[count], book.line[count], book.side[count], book.lots[count] = s, line, side, lots
        book.entry[count], book.stop[count], book.target[count] = expected_entry(side, s, quotes), stop, target
        book.horizon_bars[count] = policy.horizon_bars[line]
        count += 1
        margin += lots * specs.margin_per_lot[s]


def size_line(
    line: int,
    account: Account,
    held: Positions,
    signals: Signals,
    quotes: Quotes,
    specs: Specs,
    policy: Policy,
    limits: Limits,
) -> tuple[float, float, float, int]:
    """(lots on the broker's grid, stop, target, reason) of one line; lots are 0 unless the reason is 0."""
    s, side, atr = signals.symbol[line], signals.side[line], signals.atr[line]
    stop, target, reason = exits(line, signals, quotes, specs, policy)
    if reason != 0:
        return 0.0, stop, target, reason
    loss, gain = outcomes(expected_entry(side, s, quotes), stop, target, s, specs)
    lots, reason = wanted_lots(line, account.equity, signals.confidence[line], loss, gain, policy)
    if reason != 0:
        return 0.0, stop, target, reason
    lots, reason = allowed(Entry(s, side, lots, loss, atr), account, held, quotes, specs, limits)
    lots = round_down(min(lots, specs.volume_max[s]), specs.volume_step[s])
    if positive(lots) and lots >= specs.volume_min[s]:
        return lots, stop, target, 0
    return 0.0, stop, target, reason if reason != 0 else BELOW_MINIMUM


def expected_entry(side: int, symbol: int, quotes: Quotes) -> float:
    """The ask for a long, the bid for a short."""
    return float(quotes.ask[symbol] if side > 0 else quotes.bid[symbol])


def margin_left(margin: float, positions: Positions, close: I64, specs: Specs) -> float:
    """Margin in use once the positions being closed are gone; NaN stays NaN."""
    for p in range(positions.line.size):
        if close[p] != 0:
            margin -= positions.lots[p] * specs.margin_per_lot[positions.symbol[p]]
    return 0.0 if margin < 0.0 else margin


def with_margin(account: Account, margin: float) -> Account:
    """The account with another margin in use."""
    return Account(account.balance, account.equity, margin, account.day_start_equity, account.peak_equity, account.state)


def exits(line: int, signals: Signals, quotes: Quotes, specs: Specs, policy: Policy) -> tuple[float, float, int]:
    """(stop, target, reason): prices on the symbol's grid, 0 for none, from the expected entry (ask for a long,
    bid for a short). The broker measures its least distance from the closing side."""
    s, side, atr = signals.symbol[line], signals.side[line], signals.atr[line]
    entry_price = quotes.ask[s] if side > 0 else quotes.bid[s]
    closing = quotes.bid[s] if side > 0 else quotes.ask[s]
    point, level = specs.point[s], specs.stops_level[s]
    if not (positive(point) and level >= 0.0):
        return 0.0, 0.0, NO_QUOTE
    stop, target = 0.0, 0.0
    slack = 0.01 * point
    if policy.stop_atr[line] > 0.0:
        stop = round_price(entry_price - side * policy.stop_atr[line] * atr, point)
        room = side * (closing - stop)
        if not (stop > 0.0 and room > slack and room >= level - slack):
            return 0.0, 0.0, STOPS_TOO_CLOSE
    if policy.target_atr[line] > 0.0:
        target = round_price(entry_price + side * policy.target_atr[line] * atr, point)
        room = side * (target - closing)
        if not (target > 0.0 and room > slack and room >= level - slack):
            return 0.0, 0.0, STOPS_TOO_CLOSE
    return stop, target, 0


def outcomes(entry_price: float, stop: float, target: float, symbol: int, specs: Specs) -> tuple[float, float]:
    """(lost at the stop, won at the target) by one lot, account currency, all costs in. Loss is NaN without a
    stop; without a target a win is taken to be as large as the stop. The distances run from the side of the entry
    to the side of the exit, so the spread is in them."""
    value, commission = specs.value_per_price[symbol], specs.commission_per_lot[symbol]
    loss = abs(entry_price - stop) * value + commission if stop > 0.0 else math.nan
    gain = abs((target if target > 0.0 else stop) - entry_price) * value - commission
    return loss, gain


def wanted_lots(line: int, equity: float, q: float, loss: float, gain: float, policy: Policy) -> tuple[float, int]:
    """(lots before caps and rounding, reason). By risk: loss at the stop = risk_fraction x equity x
    min(1, Kelly fraction)."""
    if policy.sizing[line] == LOTS:
        return (policy.fixed_lots[line], 0) if positive(policy.fixed_lots[line]) else (0.0, BELOW_MINIMUM)
    if not positive(loss):
        return 0.0, NO_STOP
    kelly = kelly_fraction(q, gain, loss)
    if not positive(kelly):
        return 0.0, NO_KELLY
    risked = policy.risk_fraction[line] * equity * min(1.0, kelly)
    return (risked / loss, 0) if positive(risked) else (0.0, BELOW_MINIMUM)


def still_open(positions: Positions, close: I64, extra: int) -> Positions:
    """A copy of the positions that are not being closed, with room for `extra` more behind them."""
    size = positions.line.size + extra
    book = Positions(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.float64),
        np.zeros(size, np.float64),
        np.zeros(size, np.float64),
        np.zeros(size, np.float64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
    )
    count = 0
    for p in range(positions.line.size):
        if close[p] != 0:
            continue
        book.symbol[count], book.line[count], book.side[count] = positions.symbol[p], positions.line[p], positions.side[p]
        book.lots[count], book.entry[count] = positions.lots[p], positions.entry[p]
        book.stop[count], book.target[count] = positions.stop[p], positions.target[p]
        book.bars_held[count], book.horizon_bars[count] = positions.bars_held[p], positions.horizon_bars[p]
        count += 1
    return book


def first_positions(book: Positions, count: int) -> Positions:
    """The first `count` positions, as views."""
    return Positions(
        book.symbol[:count],
        book.line[:count],
        book.side[:count],
        book.lots[:count],
        book.entry[:count],
        book.stop[:count],
        book.target[:count],
        book.bars_held[:count],
        book.horizon_bars[:count],
    )
