"""Number of positions on the account, foreign ones included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """All or nothing."""
    return entry.lots if positions.lots.size + 1 <= limits.positions else 0.0


RULE = Rule(
    name="positions",
    code=112,
    says="the account holds as many positions as it may",
    settings=(Setting("positions", 10.0, "open positions", "lower", 0.0, 1000.0),),
    cap=cap,
)
