"""Scores against numbers worked by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from model_zoo._errors import Final
from model_zoo.judgment import metrics

PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.0, 1.0, 0.0]], dtype=np.float32)


def test_direction_is_long_among_long_and_short_over_rows_that_are_not_flat():
    q, y = metrics.direction(PROBABILITIES, np.array([2, 0, 1, 2]))
    np.testing.assert_allclose(q, [0.6, 0.25, 0.5], rtol=1e-6)
    assert y.tolist() == [1, 0, 1]
    assert metrics.direction_rows([2, 0, 1, 2]).tolist() == [True, True, False, True]


@given(flat=st.floats(0.0, 0.99), q=st.floats(0.001, 0.999))
def test_direction_does_not_depend_on_the_flat_class(flat, q):
    found, _ = metrics.direction([[(1 - flat) * (1 - q), flat, (1 - flat) * q]], [2])
    assert found[0] == pytest.approx(q, rel=1e-9)


def test_the_base_rate_is_the_share_of_long_among_long_and_short():
    assert metrics.base_rate([2, 2, 1, 1, 0, 2]) == 0.75
    assert metrics.base_rate([2, 0, 1], weights=[3.0, 1.0, 9.0]) == 0.75
    assert metrics.base_rate([1, 1]) == 0.5


def test_direction_skill_is_as_worked_by_hand():
    # Losses -ln 0.8 and -ln 0.6 against twice ln 2: 1 - (0.223144 + 0.510826) / 1.386294.
    q, y = np.array([0.8, 0.4]), np.array([1.0, 0.0])
    assert metrics.direction_skill(q, y, 0.5) == pytest.approx(0.470553, abs=1e-6)
    # Weight 3 on the first: 1 - (3 * 0.223144 + 0.510826) / (4 * 0.693147).
    assert metrics.direction_skill(q, y, 0.5, [3.0, 1.0]) == pytest.approx(0.574312, abs=1e-6)


def test_the_base_rate_itself_has_no_skill_and_the_truth_has_all():
    y = np.array([1.0, 0.0, 1.0])
    assert metrics.direction_skill(np.full(3, 0.7), y, 0.7) == pytest.approx(0.0, abs=1e-12)
    assert metrics.direction_skill(y, y, 0.7) == pytest.approx(1.0, abs=1e-6)
    assert math.isfinite(metrics.direction_skill(1 - y, y, 0.7)), "being certain and wrong costs much, not infinity"


def test_a_flat_class_that_knows_volatility_gives_three_class_skill_but_no_direction_skill():
    label = np.array([1, 1, 1, 1, 0, 2, 0, 2])
    p = np.array([[0.1, 0.8, 0.1]] * 4 + [[0.4, 0.2, 0.4]] * 4)
    q, y = metrics.direction(p, label)
    assert metrics.direction_skill(q, y, 0.5) == 0.0 and metrics.direction_auc(q, y) == 0.5
    assert metrics.three_class_skill(p, label, metrics.class_rates(label)) > 0.4
    assert metrics.macro_auc(p, label) > 0.7


def test_losses_and_auc_agree_with_scikit_learn_on_random_rows_with_ties():
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.4).astype(float)
    q = np.round(np.clip(0.4 + 0.2 * (y - 0.4) + rng.normal(0, 0.2, 300), 0.01, 0.99), 2)
    assert metrics.log_losses(q, y).mean() == pytest.approx(log_loss(y, q), rel=1e-12)
    assert metrics.direction_auc(q, y) == roc_auc_score(y, q)
    label = rng.integers(0, 3, 300)
    p = rng.dirichlet([1, 1, 1], 300)
    base = log_loss(label, np.tile(metrics.class_rates(label), (300, 1)))
    assert metrics.three_class_skill(p, label, metrics.class_rates(label)) == pytest.approx(
        1 - log_loss(label, p) / base, rel=1e-9
    )
    assert metrics.macro_auc(p, label) == pytest.approx(roc_auc_score(label, p, multi_class="ovr"), rel=1e-12)


def test_auc_counts_ties_half_and_is_undefined_for_one_side():
    assert metrics.direction_auc(np.array([0.2, 0.5, 0.5, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.875
    assert math.isnan(metrics.direction_auc(np.array([0.2, 0.5]), np.ones(2)))


def test_brier_and_calibration_error_are_as_worked_by_hand():
    q, y = np.array([0.2, 0.4, 0.6, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    assert metrics.brier(q, y) == pytest.approx((0.04 + 0.36 + 0.16 + 0.01) / 4)
    # Two groups of two: said 0.3, came 0.5; said 0.75, came 1.
    assert metrics.calibration_error(q, y, bins=2) == pytest.approx((0.2 + 0.25) / 2)
    assert metrics.reliability(q, y, bins=2) == [(pytest.approx(0.3), 0.5, 2), (pytest.approx(0.75), 1.0, 2)]


def test_scores_of_no_rows_are_not_a_number():
    none = np.array([])
    q, y = metrics.direction(np.zeros((2, 3)), [1, 1])
    assert len(q) == len(y) == 0
    for value in (metrics.direction_skill(none, none, 0.5), metrics.direction_auc(none, none), metrics.brier(none, none)):
        assert math.isnan(value)
    assert math.isnan(metrics.calibration_error(none, none)) and math.isnan(metrics.macro_auc(np.zeros((0, 3)), []))


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ([[0.1, np.nan, 0.2], [0.2, 0.5, 0.3]], "row 0"),
        ([[0.1, 0.2, 0.7], [0.2, -0.5, 0.3]], "row 1"),
        ([[0.5, 0.5]] * 2, "shape"),
    ],
)
def test_probabilities_that_are_none_are_refused(probabilities, words):
    with pytest.raises(Final, match=words):
        metrics.direction(probabilities, [0, 2])


def test_net_sharpe_is_as_worked_by_hand():
    # Mean 0.01, deviation 0.02 over n - 1: 0.5 * sqrt(260).
    assert metrics.net_sharpe([0.03, -0.01, 0.01, 0.03, -0.01]) == pytest.approx(0.01 / 0.02 * math.sqrt(260), rel=1e-9)
    assert metrics.net_sharpe([0.001] * 9) == 0.0 and metrics.net_sharpe([0.0] * 9) == 0.0 and metrics.net_sharpe([0.1]) == 0.0


def test_max_drawdown_is_the_largest_fall_from_a_peak_the_start_included():
    # 1, 1.1, 0.88, 0.968, 1.2584: from 1.1 to 0.88.
    assert metrics.max_drawdown([0.1, -0.2, 0.1, 0.3]) == pytest.approx(0.2)
    assert metrics.max_drawdown([-0.5, 0.5]) == pytest.approx(0.5)
    assert metrics.max_drawdown([0.1, 0.1]) == 0.0 and metrics.max_drawdown([]) == 0.0


def test_turnover_is_the_yearly_multiple_of_equity_bought_and_sold():
    # Half of equity a day on average: 130 times a year of 260 days.
    assert metrics.turnover([1000.0, 0.0], [1000.0, 2000.0]) == 130.0
    assert metrics.turnover([], []) == 0.0
    with pytest.raises(Final, match="turnover"):
        metrics.turnover([1.0], [1.0, 2.0])
