"""The gate over whole retrains: rarely fooled by markets without an edge, rarely blind to the planted one."""

import pytest

from feature_store.sources.generator import DEFAULT_EDGE
from tasks.gate_rate import outcomes

SEEDS = range(1, 21)
FEATURES = (
    "tick_volume_zscore", "new_york_hour_sin", "new_york_hour_cos", "h4_return", "h4_distance_to_mean", "d1_return",
    "day_before_position", "lead_return", "lead_correlation", "spread_zscore", "spread_atr", "range_position", "bar_body", "gap",
    "scaled_return_1", "scaled_return_3", "scaled_return_6", "scaled_return_12", "scaled_return_24", "momentum",
    "distance_to_mean", "rsi", "volatility_ratio", "normalised_atr",
)  # fmt: skip
"""A third of all features: 40 whole retrains then take minutes. `tradewind verify gate` runs them with every one.

These are the longest tests there are, so the last to end: by then the other test processes have nothing left to do.
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_at_most_3_of_20_markets_without_an_edge_promote_a_champion():
    promoted = [o.seed for o in outcomes(0.0, SEEDS, features=FEATURES) if o.promoted is not None]
    assert len(promoted) <= 3, promoted


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_at_least_17_of_20_markets_with_the_default_edge_promote_a_champion():
    missed = [o.seed for o in outcomes(DEFAULT_EDGE, SEEDS, features=FEATURES) if o.promoted is None]
    assert len(missed) <= 3, missed
