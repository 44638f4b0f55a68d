"""Spread: no entry while it is wide against the bar's range, or wider than a number of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """All or nothing; a spread that is unknown fits nowhere."""
    spread = quotes.ask[entry.symbol] - quotes.bid[entry.symbol]
    fits_atr = spread <= limits.spread_atr * entry.atr
    fits_points = spread <= limits.spread_points * specs.point[entry.symbol] * (1.0 + 1e-9)
    return entry.lots if fits_atr and fits_points else 0.0


RULE = Rule(
    name="spread",
    code=111,
    says="the spread is too wide",
    settings=(
        Setting("spread_atr", 0.5, "of the decision bar's ATR", "lower", 0.0, 10.0),
        Setting("spread_points", 1e6, "points", "lower", 0.0, 1e6),
    ),
    cap=cap,
)
