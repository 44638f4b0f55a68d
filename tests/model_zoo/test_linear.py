"""What is special about the linear family."""

import numpy as np
import pytest

from model_zoo._family import Context, get
from model_zoo.linear import _scaling
from tests.model_zoo.samples import few_rounds, fitted, planted, split


def test_scaling_is_median_bounds_mean_and_spread_by_hand():
    X = np.array([[1.0, 5.0], [2.0, 5.0], [np.nan, 5.0], [9.0, 5.0]], np.float32)
    scaling = _scaling(X, 2.0)
    # Column 0: median of 1, 2, 9 is 2; filled 1, 2, 2, 9 has mean 3.5 and standard deviation sqrt(10.25).
    sd = np.sqrt(10.25)
    np.testing.assert_allclose(scaling.fill, [2.0, 5.0])
    np.testing.assert_allclose(scaling.mean, [3.5, 5.0])
    np.testing.assert_allclose(scaling.inverse_sd, [1 / sd, 0.0], rtol=1e-6)
    np.testing.assert_allclose(
        scaling.apply(np.array([[np.nan, np.nan], [99.0, -1e30]], np.float32)), [[-1.5 / sd, 0], [2, 0]], rtol=1e-5
    )


def test_a_column_without_any_value_is_switched_off():
    scaling = _scaling(np.full((5, 1), np.nan, np.float32), 5.0)
    assert scaling.apply(np.array([[np.nan], [3.0]], np.float32)).tolist() == [[0.0], [0.0]]


def test_a_strong_penalty_leaves_only_the_base_rates():
    train, _ = split(planted(2000))
    model = get("linear").fit(train, None, {"strength": 10.0, "l1_ratio": 1.0}, seed=1, context=Context())
    assert np.count_nonzero(model.coefficients) == 0
    rates = (np.bincount(train.y, weights=train.w) + 1) / (train.w.sum() + 3)
    np.testing.assert_allclose(get("linear").predict(model, train)[0], rates, atol=1e-6)


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1e-1])
def test_the_mean_probability_of_each_class_is_its_share_of_the_training_rows(strength):
    train, _ = split(planted(1500, edge=0.2))
    model = get("linear").fit(train, None, {"strength": strength}, seed=1, context=Context())
    said = np.average(get("linear").predict(model, train), axis=0, weights=train.w)
    np.testing.assert_allclose(said, np.bincount(train.y, weights=train.w) / train.w.sum(), atol=1e-3)


def test_the_signs_of_the_planted_edge_are_found():
    model = fitted("linear")
    assert few_rounds("linear") == {}
    lean = model.coefficients[:, 2] - model.coefficients[:, 0]
    assert lean[0] > 0.3
    assert lean[1] < -0.3
    assert np.abs(np.delete(lean, [0, 1])).max() < 0.15


def test_the_solver_agrees_with_a_second_library_on_a_smooth_penalty():
    scipy_optimize = pytest.importorskip("scipy.optimize")
    train, _ = split(planted(800))
    strength = 0.01
    model = get("linear").fit(train, None, {"strength": strength, "l1_ratio": 0.0}, seed=1, context=Context())
    Z, n = model.scaling.apply(train.X).astype(np.float64), len(train)
    onehot = np.eye(3)[train.y]

    def loss(flat: np.ndarray) -> float:
        W, b = flat[:-3].reshape(-1, 3), flat[-3:]
        margin = Z @ W + b
        peak = margin.max(axis=1)
        log_sum = peak + np.log(np.exp(margin - peak[:, None]).sum(axis=1))
        return float((train.w * (log_sum - (margin * onehot).sum(axis=1))).sum() / n + strength * (W**2).sum() / 2)

    best = scipy_optimize.minimize(loss, np.zeros(Z.shape[1] * 3 + 3), method="L-BFGS-B", options={"maxiter": 300})
    found = np.concatenate([model.coefficients.ravel(), model.intercept]).astype(np.float64)
    assert loss(found) == pytest.approx(best.fun, abs=2e-4)
