"""When an exported graph may be registered."""

import numpy as np
import pytest

from model_zoo._family import get
from model_zoo._parity import compare, parity
from tests.model_zoo.samples import fitted, planted

NATIVE = np.array([[0.2, 0.3, 0.5], [0.333, 0.333, 0.334]], np.float32)


def test_equal_answers_are_at_parity():
    found = compare(NATIVE, NATIVE.copy(), 1e-5)
    assert (found.rows, found.max_abs, found.flips, found.ok) == (2, 0.0, 0, True)


def test_a_difference_over_the_tolerance_is_not():
    found = compare(NATIVE, NATIVE + np.array([[2e-5, 0, 0], [0, 0, 0]], np.float32), 1e-5)
    assert found.max_abs == pytest.approx(2e-5, rel=0.01)
    assert not found.ok


def test_a_changed_decision_counts_only_where_the_model_was_sure():
    swapped = NATIVE[:, ::-1]
    assert compare(NATIVE, swapped, 1.0).flips == 0
    assert compare(NATIVE, swapped, 0.05).flips == 1
    assert compare(NATIVE, swapped, 1e-5).flips == 2


def test_a_missing_number_is_never_at_parity():
    broken = NATIVE.copy()
    broken[1, 1] = np.nan
    assert not compare(NATIVE, broken, 1e-5).ok
    assert not compare(broken, NATIVE, 1e-5).ok


def test_no_rows_prove_nothing():
    assert not compare(NATIVE[:0], NATIVE[:0], 1e-5).ok


def test_parity_runs_all_samples_in_order_through_the_graph():
    family, model, samples = get("linear"), fitted("linear"), planted(5000)
    seen: list[int] = []

    def run(windows):
        seen.append(len(windows))
        return family.predict(model, samples)[sum(seen) - len(windows) : sum(seen)]

    assert parity(family, model, run, samples).ok
    assert sum(seen) == len(samples)
    assert len(seen) == 2
