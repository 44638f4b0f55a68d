"""Stale data: no entry on a quote that has stopped moving while the market is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """All or nothing: an unknown age (NaN) is too old."""
    return entry.lots if quotes.age_s[entry.symbol] <= limits.quote_age_s else 0.0


RULE = Rule(
    name="stale_data",
    code=110,
    says="the quote is too old",
    settings=(Setting("quote_age_s", 60.0, "seconds since the quote last changed", "lower", 0.0, 86400.0),),
    cap=cap,
)
