"""Trailing drawdown: equity against its highest value so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def breach(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> bool:
    """True once equity has fallen from its peak as far as it may."""
    return account.equity <= account.peak_equity * (1.0 - limits.drawdown_fraction)


RULE = Rule(
    name="drawdown",
    code=101,
    says="equity has fallen from its peak as far as it may",
    settings=(Setting("drawdown_fraction", 0.20, "of peak equity", "lower", 0.0, 1.0),),
    breach=breach,
)
