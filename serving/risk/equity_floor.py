"""Static drawdown: an amount that equity may never reach, as prop accounts state it (90 000 of 100 000)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def breach(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> bool:
    """True once equity stands at the floor; the default floor is zero, where every account ends anyway."""
    return account.equity <= limits.equity_floor


RULE = Rule(
    name="equity_floor",
    code=102,
    says="equity stands at its floor",
    settings=(Setting("equity_floor", 0.0, "account currency", "higher", 0.0, 1e12),),
    breach=breach,
)
