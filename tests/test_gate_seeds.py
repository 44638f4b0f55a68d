"""The gate over whole retrains: rarely fooled by markets without an edge, rarely blind to the planted one."""

import os

import pytest

from benchmarks.gate import outcomes
from feature_store.sources.generator import DEFAULT_EDGE

SEEDS = range(1, 21)
WORKERS = os.cpu_count() or 1
"""The longest tests there are, so the last to end: by then the other test processes have nothing left to do."""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_at_most_3_of_20_markets_without_an_edge_promote_a_champion():
    promoted = [o.seed for o in outcomes(0.0, SEEDS, WORKERS) if o.promoted is not None]
    assert len(promoted) <= 3, promoted


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_at_least_17_of_20_markets_with_the_default_edge_promote_a_champion():
    missed = [o.seed for o in outcomes(DEFAULT_EDGE, SEEDS, WORKERS) if o.promoted is None]
    assert len(missed) <= 3, missed
