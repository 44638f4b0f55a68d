"""Loss per trade: what the order loses at its stop, commission included, against equity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.risk._rule import Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs
    from serving.risk import Limits


def cap(entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> float:
    """Lots whose loss at the stop is just allowed. An order without a stop has no known loss: none."""
    if not entry.loss_per_lot > 0.0:
        return 0.0
    return limits.loss_per_trade_fraction * account.equity / entry.loss_per_lot


RULE = Rule(
    name="loss_per_trade",
    code=113,
    says="the stop would lose more than one trade may",
    settings=(Setting("loss_per_trade_fraction", 0.02, "of equity", "lower", 0.0, 1.0),),
    cap=cap,
)
