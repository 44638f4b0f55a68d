"""The event loop: bars in order, what happens within each, then the decision at its close. Numba subset.

Within a bar: nights of swap; orders sent at the last close fill at the open (long at the ask); stops and targets, the
stop first; floating profit; at the close the guard on the bar's worst equity, then `step`. Money of an event within a
bar converts at the rate known at the close before it, or at its own price where the symbol's base is the account's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from serving._decision_types import (
    ACTIVE,
    F64,
    HALTED,
    I64,
    Account,
    Orders,
    Policy,
    Positions,
    Quotes,
    Signals,
    Specs,
)
from serving.backtest._fills import charge_swap, close_rest, fill_at_open, fill_in_bar, worth
from serving.backtest._types import Book, Desk, Lines, Market, Options, Symbols, Track
from serving.decision import guard, step
from serving.sizing import first_positions

if TYPE_CHECKING:
    from serving.risk import Limits


def simulate(
    market: Market,
    symbols: Symbols,
    lines: Lines,
    policy: Policy,
    limits: Limits,
    options: Options,
    book: Book,
    desk: Desk,
    track: Track,
) -> tuple[int, int, int]:
    """(trades closed, orders refused at the open, halts) over all bars; `track` holds what happened."""
    cash, peak, day_start, state = options.start_balance, options.start_balance, options.start_balance, ACTIVE
    count, refused, halts = 0, 0, 0
    for t in range(market.close_s.size):
        if t > 0:
            if market.day[t] != market.day[t - 1]:
                day_start = track.balance[t - 1] if options.day_base_balance != 0 else track.equity[t - 1]
                state = ACTIVE if options.resume_next_day != 0 else state
            charge_swap(t, book, market, symbols, lines)
            cash, count, more = fill_at_open(t, cash, book, track.trades, count, market, symbols, lines, policy)
            cash, count = fill_in_bar(t, cash, book, track.trades, count, market, symbols, lines)
            refused += more
        see_market(t, desk.quotes, desk.spread, desk.seen_s, market)
        see_signals(t, desk.signals, book, lines)
        price_lots(t, desk.specs, market, symbols)
        floating, low, high = marks(t, book, desk.quotes, desk.spread, market, symbols, lines)
        track.balance[t], track.equity[t], track.worst_equity[t] = cash, cash + floating, cash + low
        positions = open_positions(desk.positions, book, desk.quotes, lines)
        margin = margin_of(positions, desk.specs)
        account = Account(cash, cash + low, margin, day_start, peak, state)
        # Live looks every second: what the account was worth at the bar's worst moment is what the guard would see.
        if guard(account, positions, desk.quotes, desk.specs, limits) == 0:
            account = Account(cash, cash + floating, margin, day_start, peak, state)
        orders = step(account, positions, desk.signals, desk.quotes, desk.specs, policy, limits)
        if orders.halt != 0:
            halts += 1 if state != HALTED else 0
            state = HALTED
        send(t, orders, positions, book, track.reason)
        peak = max(peak, cash + high)
        track.state[t] = state
    last = market.close_s.size - 1
    cash, count = close_rest(last, cash, book, track.trades, count, desk.quotes, desk.spread, market, symbols, lines)
    track.balance[last], track.equity[last] = cash, cash
    return count, refused, halts


def send(t: int, orders: Orders, positions: Positions, book: Book, reason: npt.NDArray[np.int16]) -> None:
    """Keep the orders of bar `t`'s close for the next open. Closing an order that still waits takes it back."""
    for p in range(positions.line.size):
        line = positions.line[p]
        if orders.close[p] != 0:
            book.closing[line] = orders.close[p] if book.side[line] != 0 else 0
            book.sent_side[line] = 0
    for line in range(book.side.size):
        reason[t, line] = orders.reason[line]
        if orders.open_side[line] != 0:
            book.sent_side[line], book.sent_lots[line] = orders.open_side[line], orders.open_lots[line]
            book.sent_stop[line], book.sent_target[line] = orders.open_stop[line], orders.open_target[line]


def see_signals(t: int, signals: Signals, book: Book, lines: Lines) -> None:
    """Bring the signals to the close of bar `t`, and make what each line holds one bar older."""
    for line in range(book.side.size):
        if book.side[line] != 0 and lines.closes[t, line]:
            book.bars_held[line] += 1
        signals.fresh[line] = 1 if lines.closes[t, line] else 0
        signals.side[line] = lines.side[t, line]
        signals.confidence[line] = lines.confidence[t, line]
        signals.atr[line] = lines.atr[t, line]


def margin_of(positions: Positions, specs: Specs) -> float:
    """Margin in use by all positions, NaN when a rate is missing."""
    margin = 0.0
    for p in range(positions.line.size):
        margin += positions.lots[p] * specs.margin_per_lot[positions.symbol[p]]
    return margin


def price_lots(t: int, specs: Specs, market: Market, symbols: Symbols) -> None:
    """What a lot of each symbol is worth at the close of bar `t`."""
    for s in range(symbols.point.size):
        specs.value_per_price[s] = symbols.contract_size[s] * market.rate_loss[t, s]
        specs.notional_per_lot[s] = symbols.contract_size[s] * market.base_rate[t, s]
        specs.margin_per_lot[s] = specs.notional_per_lot[s] / symbols.leverage[s]


def see_market(t: int, quotes: Quotes, spread: F64, seen_s: I64, market: Market) -> None:
    """Bring the quotes to the close of bar `t`; a symbol without a bar keeps its last ones and grows old."""
    for s in range(spread.size):
        if not math.isnan(market.close[t, s]):
            spread[s], seen_s[s] = market.spread[t, s], market.close_s[t]
            quotes.bid[s], quotes.ask[s] = market.close[t, s], market.close[t, s] + market.spread[t, s]
        if not math.isnan(quotes.bid[s]):
            quotes.age_s[s] = market.close_s[t] - seen_s[s]
        quotes.open[s] = 1 if market.market_open[t, s] else 0


def marks(
    t: int,
    book: Book,
    quotes: Quotes,
    spread: F64,
    market: Market,
    symbols: Symbols,
    lines: Lines,
) -> tuple[float, float, float]:
    """Floating profit with swap at the close of bar `t`, with every position at its worst and at its best price."""
    now, low, high = 0.0, 0.0, 0.0
    for line in range(book.side.size):
        side = book.side[line]
        if side == 0:
            continue
        s = lines.symbol[line]
        shift = 0.0 if side > 0 else spread[s]
        close = quotes.bid[s] + shift
        at_close = gain_at(line, close, t, book, market, symbols, lines)
        now += at_close
        if math.isnan(market.close[t, s]):
            low += at_close
            high += at_close
            continue
        at_low = gain_at(line, market.low[t, s] + shift, t, book, market, symbols, lines)
        at_high = gain_at(line, market.high[t, s] + shift, t, book, market, symbols, lines)
        low += min(at_low, at_high, at_close)
        high += max(at_low, at_high, at_close)
    return now, low, high


def gain_at(line: int, price: float, t: int, book: Book, market: Market, symbols: Symbols, lines: Lines) -> float:
    """Floating profit of one line, swap included, if it could close at `price`."""
    s = lines.symbol[line]
    amount = book.side[line] * (price - book.entry[line]) * symbols.contract_size[s] * book.lots[line]
    return float(worth(amount, price, s, t, market, symbols) + book.swap[line])


def open_positions(room: Positions, book: Book, quotes: Quotes, lines: Lines) -> Positions:
    """What every line holds, and orders that still wait for their symbol's next bar, as one list."""
    count = 0
    for line in range(book.side.size):
        holds, waits = book.side[line] != 0, book.sent_side[line] != 0
        if not (holds or waits):
            continue
        room.symbol[count], room.line[count] = lines.symbol[line], line
        room.side[count] = book.side[line] if holds else book.sent_side[line]
        room.lots[count] = book.lots[line] if holds else book.sent_lots[line]
        room.entry[count] = book.entry[line] if holds else quotes.bid[lines.symbol[line]]
        room.stop[count] = book.stop[line] if holds else book.sent_stop[line]
        room.target[count] = book.target[line] if holds else book.sent_target[line]
        room.bars_held[count] = book.bars_held[line] if holds else 0
        room.horizon_bars[count] = book.horizon_bars[line] if holds else 0
        count += 1
    return first_positions(room, count)
