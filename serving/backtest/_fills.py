"""Fills: what a bar does to orders, stops and targets, and what it costs. Numba subset.

Bars are bid; the ask is spread above. A long opens at the ask and closes at the bid, a short the other way round.
"""

from __future__ import annotations

import math

from serving._decision_types import END_OF_DATA, F64, STOP_HIT, TARGET_HIT, Policy, Quotes
from serving.backtest._types import Book, Lines, Market, Symbols


def worth(amount: float, price: float, s: int, t: int, market: Market, symbols: Symbols) -> float:
    """`amount` of the symbol's profit currency in account currency: at `price` where the symbol's base is the account
    currency, otherwise at the rate known at the close of bar `t`, on the side that is worse for the client."""
    if symbols.own_rate[s] != 0:
        return float(amount / price)
    return float(amount * (market.rate_gain[t, s] if amount > 0.0 else market.rate_loss[t, s]))


def charge_swap(t: int, book: Book, market: Market, symbols: Symbols, lines: Lines) -> None:
    """Charge the nights between the last bar and this one to what was held over them."""
    if market.nights[t] == 0:
        return
    for line in range(book.side.size):
        if book.side[line] != 0:
            s = lines.symbol[line]
            points = symbols.swap_long[s] if book.side[line] > 0 else symbols.swap_short[s]
            amount = points * symbols.point[s] * symbols.contract_size[s] * book.lots[line] * market.nights[t]
            bid = market.close[t - 1, s]
            price = book.entry[line] if math.isnan(bid) else bid
            book.swap[line] += worth(amount, price, s, t - 1, market, symbols)


def fill_at_open(
    t: int, cash: float, book: Book, trades: F64, count: int, market: Market, symbols: Symbols, lines: Lines, policy: Policy
) -> tuple[float, int, int]:
    """(cash, trades so far, orders refused) after what was sent at the last close met this bar's open."""
    refused = 0
    for line in range(book.side.size):
        s = lines.symbol[line]
        bid, spread = market.open[t, s], market.spread[t, s]
        if math.isnan(bid):
            continue
        if book.closing[line] != 0:
            price = bid if book.side[line] > 0 else bid + spread
            cash = settle(line, t, price, spread, book.closing[line], cash, book, trades[count], market, symbols, lines)
            count += 1
        side = book.sent_side[line]
        if side == 0:
            continue
        book.sent_side[line] = 0
        if outside(side, bid if side > 0 else bid + spread, book.sent_stop[line], book.sent_target[line]):
            refused += 1
            continue
        open_line(line, side, t, bid + spread if side > 0 else bid, book, market, symbols, lines)
        book.horizon_bars[line] = policy.horizon_bars[line]
        cash -= symbols.commission_per_side[s] * book.lots[line]
    return cash, count, refused


def outside(side: int, closing_price: float, stop: float, target: float) -> bool:
    """Whether an order's closing price lies beyond its stop or target already: the broker refuses it then."""
    if stop > 0.0 and side * (closing_price - stop) <= 0.0:
        return True
    return bool(target > 0.0 and side * (target - closing_price) <= 0.0)


def open_line(line: int, side: int, t: int, price: float, book: Book, market: Market, symbols: Symbols, lines: Lines) -> None:
    """Turn the line's sent order into a position filled at `price`."""
    s, lots = lines.symbol[line], book.sent_lots[line]
    book.side[line], book.lots[line], book.entry[line] = side, lots, price
    book.stop[line], book.target[line] = book.sent_stop[line], book.sent_target[line]
    book.bars_held[line], book.opened[line], book.swap[line] = 0, t, 0.0
    book.entry_spread[line] = market.spread[t, s]
    book.risked[line] = math.nan
    if book.stop[line] > 0.0:
        amount = side * (book.stop[line] - price) * symbols.contract_size[s] * lots
        commission = 2.0 * symbols.commission_per_side[s] * lots
        book.risked[line] = commission - worth(amount, book.stop[line], s, t - 1, market, symbols)


def fill_in_bar(
    t: int, cash: float, book: Book, trades: F64, count: int, market: Market, symbols: Symbols, lines: Lines
) -> tuple[float, int]:
    """(cash, trades so far) after the bar's range met stops and targets. A bar that holds both hits the stop. A stop
    that the open jumped over fills at the open; a target never fills better than its price."""
    for line in range(book.side.size):
        side, s = book.side[line], lines.symbol[line]
        if side == 0 or math.isnan(market.open[t, s]):
            continue
        spread, stop, target = market.spread[t, s], book.stop[line], book.target[line]
        shift = 0.0 if side > 0 else spread
        against = (market.low[t, s] if side > 0 else market.high[t, s]) + shift
        towards = (market.high[t, s] if side > 0 else market.low[t, s]) + shift
        price, reason = 0.0, 0
        if stop > 0.0 and side * (against - stop) <= 0.0:
            first = market.open[t, s] + shift
            price, reason = min(stop, first) if side > 0 else max(stop, first), STOP_HIT
        elif target > 0.0 and side * (towards - target) >= 0.0:
            price, reason = target, TARGET_HIT
        if reason != 0:
            cash = settle(line, t, price, spread, reason, cash, book, trades[count], market, symbols, lines)
            count += 1
    return cash, count


def settle(
    line: int,
    t: int,
    price: float,
    spread: float,
    reason: int,
    cash: float,
    book: Book,
    trade: F64,
    market: Market,
    symbols: Symbols,
    lines: Lines,
) -> float:
    """Cash after the line's position closed at `price`; writes its row, `TRADE_COLUMNS`, and empties the line.

    Gross is what the trade would have made from mid to mid; the spread is half of it at each end.
    """
    s, side, lots, opened = lines.symbol[line], book.side[line], book.lots[line], book.opened[line]
    units = symbols.contract_size[s] * lots
    known = max(t - 1, 0)
    profit = worth(side * (price - book.entry[line]) * units, price, s, known, market, symbols)
    spread_cost = -worth(-0.5 * (spread + book.entry_spread[line]) * units, price, s, known, market, symbols)
    half = symbols.commission_per_side[s] * lots
    net = profit - 2.0 * half + book.swap[line]
    trade[0], trade[1], trade[2], trade[3] = line, s, side, lots
    trade[4], trade[5], trade[6], trade[7], trade[8] = opened, book.entry[line], t, price, reason
    trade[9], trade[10], trade[11], trade[12] = profit + spread_cost, spread_cost, 2.0 * half, book.swap[line]
    trade[13], trade[15] = net, book.bars_held[line]
    trade[14] = net / book.risked[line] if book.risked[line] > 0.0 else math.nan
    cash += profit - half + book.swap[line]
    book.side[line], book.closing[line], book.swap[line] = 0, 0, 0.0
    return float(cash)


def close_rest(
    t: int,
    cash: float,
    book: Book,
    trades: F64,
    count: int,
    quotes: Quotes,
    spread: F64,
    market: Market,
    symbols: Symbols,
    lines: Lines,
) -> tuple[float, int]:
    """(cash, trades) after all that is still held at the last bar closed at its last known price."""
    for line in range(book.side.size):
        if book.side[line] != 0:
            s = lines.symbol[line]
            price = quotes.bid[s] if book.side[line] > 0 else quotes.ask[s]
            cash = settle(line, t, price, spread[s], END_OF_DATA, cash, book, trades[count], market, symbols, lines)
            count += 1
    return cash, count
