"""Margin: what all positions tie up, this order included, against equity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """Lots the free part of the allowance still carries."""
    per_lot = specs.margin_per_lot[entry.symbol]
    if not per_lot > 0.0:
        return 0.0
    return float((limits.margin_fraction * account.equity - account.margin) / per_lot)


RULE = Rule(
    name="margin",
    code=115,
    says="margin would tie up too much of the equity",
    settings=(Setting("margin_fraction", 0.5, "of equity", "lower", 0.0, 1.0),),
    cap=cap,
)
