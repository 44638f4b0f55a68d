"""The strength of a planted edge is what our own backtest measures, not a claim."""

import numpy as np
import pytest

from benchmarks.edge_calibration import sharpe_of_truth
from feature_store.sources.generator import DEFAULT_EDGE, amplitude_of


@pytest.mark.slow
def test_trading_the_true_mean_of_the_default_edge_earns_the_sharpe_that_is_stated():
    """Seeds the table was not made from; a year's Sharpe has a standard error of about 1."""
    found = [sharpe_of_truth(amplitude_of(DEFAULT_EDGE), seed) for seed in range(100, 106)]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - DEFAULT_EDGE) < 3 * max(error, 0.4)


@pytest.mark.slow
def test_trading_the_true_mean_of_a_market_without_edge_makes_no_trade():
    assert np.isnan(sharpe_of_truth(0.0, 100))
