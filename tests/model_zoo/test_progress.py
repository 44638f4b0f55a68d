"""Round by round: best, stop, report."""

import numpy as np
import pytest

from model_zoo._family import Context
from model_zoo._progress import PATIENCE_ROUNDS, Progress, finite, shares, validation_skill
from tests.model_zoo.samples import planted, split


def coin(n: int) -> np.ndarray:
    return np.full((n, 3), 1 / 3, np.float32)


def test_a_fit_stops_when_patience_has_passed_since_the_best_round():
    train, valid = split(planted(300))
    progress = Progress(train, valid, Context())
    losses = [1.0, 0.9, 0.8] + [0.85] * 200
    stopped = next(i for i, loss in enumerate(losses, 1) if progress.stop(i, loss, lambda: coin(len(valid))))
    assert (progress.best_rounds, stopped) == (3, 3 + PATIENCE_ROUNDS)


def test_without_validation_rows_every_round_is_kept():
    progress = Progress(split(planted(300))[0], None, Context())
    assert not any(progress.stop(i) for i in range(1, 200))
    assert progress.best_rounds == 199


def test_the_first_round_is_kept_even_when_its_loss_is_no_number():
    train, valid = split(planted(300))
    progress = Progress(train, valid, Context())
    progress.stop(1, float("nan"), lambda: coin(len(valid)))
    assert progress.best_rounds == 1


def test_validation_skill_is_direction_skill_against_the_base_rate_of_training_rows():
    samples = planted(300)
    samples.label[:] = 1
    samples.weights[:] = 1.0
    samples.label[samples.rows[[0, 1, 2]]] = 2  # training: three long, one short
    samples.label[samples.rows[3]] = 0
    train, valid = samples.take(samples.rows[:50]), samples.take(samples.rows[50:])
    samples.label[valid.rows[[0, 1]]] = 2, 0
    said = coin(len(valid))
    # Hand-worked: q = 0.5 on both rows costs ln 2 each; the base rate 0.75 costs -(ln 0.75 + ln 0.25) / 2.
    expected = 1 - np.log(2) / (-(np.log(0.75) + np.log(0.25)) / 2)
    assert validation_skill(said, train, valid) == pytest.approx(expected, abs=1e-9)


def test_infinities_go_to_the_ends_of_float32_and_missing_values_stay():
    X = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    limit = np.finfo(np.float32).max
    np.testing.assert_array_equal(finite(X), np.array([[limit, -limit, np.nan, 1.0]], np.float32))
    nothing_to_do = X[:, 2:]
    assert finite(nothing_to_do) is nothing_to_do
    assert np.isinf(X[0, 0])


def test_shares_sum_to_one_and_are_equal_when_nothing_was_used():
    np.testing.assert_allclose(shares(np.array([1.0, 3.0])), [0.25, 0.75])
    np.testing.assert_allclose(shares(np.zeros(4)), [0.25] * 4)
