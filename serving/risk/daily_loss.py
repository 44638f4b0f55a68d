"""Daily loss: equity, floating profit included, against the equity (or balance) the risk day began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def breach(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> bool:
    """True once the day has lost its whole allowance."""
    return account.equity <= account.day_start_equity * (1.0 - limits.daily_loss_fraction)


RULE = Rule(
    name="daily_loss",
    code=100,
    says="the risk day has lost as much as it may",
    settings=(Setting("daily_loss_fraction", 0.05, "of the equity the risk day began with", "lower", 0.0, 1.0),),
    breach=breach,
)
