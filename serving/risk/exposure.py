"""Exposure per currency: the net amount held of one currency, worth at most so many times equity.

Long EURUSD holds EUR and owes USD, each of the position's worth. Four longs against the dollar are one bet, so
the account's own currency counts like any other. Foreign positions count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def held(currency: int, positions: Positions, specs: Specs) -> float:
    """Net worth held of `currency`, account currency; negative when owed; NaN when a rate is missing."""
    worth = 0.0
    for p in range(positions.lots.size):
        s = positions.symbol[p]
        # Two tests, not an either-or: a symbol may have both legs in one currency's index only by error.
        if specs.base_currency[s] == currency:
            worth += positions.side[p] * positions.lots[p] * specs.notional_per_lot[s]
        if specs.profit_currency[s] == currency:
            worth -= positions.side[p] * positions.lots[p] * specs.notional_per_lot[s]
    return float(worth)


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """Lots that bring neither currency beyond its limit; an order that lowers exposure has room to spare."""
    notional = specs.notional_per_lot[entry.symbol]
    if not notional > 0.0:
        return 0.0
    most = limits.currency_exposure * account.equity
    base = entry.side * held(specs.base_currency[entry.symbol], positions, specs)
    profit = -entry.side * held(specs.profit_currency[entry.symbol], positions, specs)
    room = most - base
    # A comparison with NaN is false: written so that a missing rate leaves no room.
    if not (most - profit >= room):
        room = most - profit
    return float(room / notional)


RULE = Rule(
    name="exposure",
    code=114,
    says="one currency would weigh too much",
    settings=(Setting("currency_exposure", 10.0, "times equity, per currency", "lower", 0.0, 1000.0),),
    cap=cap,
)
