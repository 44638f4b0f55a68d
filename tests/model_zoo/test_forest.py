"""The exact reader: hand-worked trees, and every library against its own prediction on rows that sit on thresholds."""

from pathlib import Path

import catboost as cb
import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from model_zoo._errors import Final
from model_zoo._forest import GREATER, LESS, LESS_OR_EQUAL, Forest, Tree, floor32, from_catboost, from_lightgbm, from_xgboost
from model_zoo._trees_onnx import write_forest

F = 6


def run(forest: Forest, X: np.ndarray, folder: Path) -> np.ndarray:
    write_forest(forest, folder / "forest.onnx", 1, X.shape[1])
    session = ort.InferenceSession((folder / "forest.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"window": X[:, None, :]})[0]


def stump(test: str, nan_yes: bool) -> Forest:
    """One split of feature 1 at 0.5: yes adds 1 to class 0, no adds 2 to class 2."""
    tree = Tree(
        feature=np.array([1, 0, 0]),
        threshold=np.array([0.5, 0, 0], np.float32),
        yes=np.array([1, -1, -1]),
        no=np.array([2, -1, -1]),
        nan_yes=np.array([nan_yes, False, False]),
        value=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]),
        outputs=(0, 2),
    )
    return Forest(test, 2, np.array([0.0, 0.1, 0.0]), (tree,))


@pytest.mark.parametrize(
    ("test", "goes_yes"),
    [(LESS, [True, False, False]), (LESS_OR_EQUAL, [True, True, False]), (GREATER, [False, False, True])],
)
@pytest.mark.parametrize("nan_yes", [True, False])
def test_a_hand_worked_stump_sends_each_value_to_its_leaf(test, goes_yes, nan_yes, tmp_path):
    X = np.array([[9, 0.4], [9, 0.5], [9, 0.6], [9, np.nan]], np.float32)
    margins = [[1.0, 0.1, 0.0] if yes else [0.0, 0.1, 2.0] for yes in [*goes_yes, nan_yes]]
    expected = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(stump(test, nan_yes), X, tmp_path), expected, atol=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, width=32))
def test_a_threshold_rounded_down_splits_every_float32_as_the_float64_did(threshold, x):
    kept = floor32(threshold)
    with np.errstate(all="ignore"):
        near = [np.nextafter(kept, np.float32(np.inf)), kept, np.nextafter(kept, np.float32(-np.inf)), np.float32(x)]
    for value in near:
        assert (float(value) <= threshold) == bool(value <= kept)


def test_the_nearest_float32_would_have_been_wrong():
    threshold = 0.15  # float32(0.15) lies above it
    assert float(np.float32(threshold)) > threshold
    assert float(floor32(threshold)) < threshold


def grid(rows: int, seed: int, missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features on a grid of hundredths, so that rows lie exactly on thresholds, some of which float32 cannot hold."""
    rng = np.random.default_rng(seed)
    X = (np.round(rng.standard_normal((rows, F)) * 100) / 100).astype(np.float32)
    y = np.digitize(X[:, 0] - 0.5 * X[:, 1] + rng.standard_normal(rows), [-0.4, 0.4])
    if missing:
        X[rng.random(X.shape) < 0.1] = np.nan
    return X, y


XGBOOST = {
    "plain": {},
    "lossguide": {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0},
    "exact": {"tree_method": "exact"},
    "stumps that stay roots": {"min_child_weight": 1e6},
}
LIGHTGBM = {
    "plain": {},
    "use_missing off": {"use_missing": False},
    "stumps that stay roots": {"min_data_in_leaf": 100_000},
    "a chain of leaves": {"num_leaves": 150, "min_data_in_leaf": 1},
}
CATBOOST = {
    "nan is least": {"nan_mode": "Min"},
    "nan is most": {"nan_mode": "Max"},
    "many borders": {"border_count": 254, "depth": 6},
    "no trees but roots": {"depth": 1, "l2_leaf_reg": 1e9},
}


@pytest.mark.parametrize("missing", [True, False], ids=["trained with NaN", "trained without NaN"])
@pytest.mark.parametrize("params", XGBOOST.values(), ids=XGBOOST.keys())
def test_xgboost_is_read_exactly(params, missing, tmp_path):
    X, y = grid(2000, 0, missing)
    fixed = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    booster = xgb.train({**fixed, **params}, xgb.DMatrix(X, y), 20)
    probe, _ = grid(4000, 1, True)
    assert_same(run(from_xgboost(booster), probe, tmp_path), booster.predict(xgb.DMatrix(probe)))


@pytest.mark.parametrize("missing", [True, False], ids=["trained with NaN", "trained without NaN"])
@pytest.mark.parametrize("params", LIGHTGBM.values(), ids=LIGHTGBM.keys())
def test_lightgbm_is_read_exactly(params, missing, tmp_path):
    X, y = grid(2000, 0, missing)
    fixed = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1, "force_row_wise": True}
    booster = lgb.train({**fixed, **params}, lgb.Dataset(X, y), 20)
    probe, _ = grid(4000, 1, True)
    assert_same(run(from_lightgbm(booster), probe, tmp_path), booster.predict(probe, num_threads=1))


@pytest.mark.parametrize("missing", [True, False], ids=["trained with NaN", "trained without NaN"])
@pytest.mark.parametrize("params", CATBOOST.values(), ids=CATBOOST.keys())
def test_catboost_is_read_exactly(params, missing, tmp_path):
    X, y = grid(2000, 0, missing)
    fixed = {"loss_function": "MultiClass", "iterations": 20, "thread_count": 1, "allow_writing_files": False}
    model = cb.CatBoost({**fixed, **params, "logging_level": "Silent"}).fit(X, y)
    probe, _ = grid(4000, 1, True)
    assert_same(run(from_catboost(model), probe, tmp_path), model.predict(probe, prediction_type="Probability", thread_count=1))


def test_what_the_reader_does_not_know_is_refused_by_name():
    X, y = grid(300, 0, False)
    dart = xgb.train({"objective": "multi:softprob", "num_class": 3, "booster": "dart", "nthread": 1}, xgb.DMatrix(X, y), 2)
    with pytest.raises(Final, match="booster 'dart' cannot be exported"):
        from_xgboost(dart)
    one_against_all = {"objective": "multiclassova", "num_class": 3, "verbosity": -1, "num_threads": 1}
    with pytest.raises(Final, match="multiclassova"):
        from_lightgbm(lgb.train(one_against_all, lgb.Dataset(X, y), 2))
    zero = {"objective": "multiclass", "num_class": 3, "zero_as_missing": True, "verbosity": -1, "num_threads": 1}
    with pytest.raises(Final, match="zero_as_missing"):
        from_lightgbm(lgb.train(zero, lgb.Dataset(X, y), 2))
    deep = {"loss_function": "MultiClass", "iterations": 2, "grow_policy": "Depthwise", "allow_writing_files": False}
    with pytest.raises(Final, match="symmetric"):
        from_catboost(cb.CatBoost({**deep, "thread_count": 1, "logging_level": "Silent"}).fit(X, y))


def test_a_tree_that_is_one_long_chain_is_read_without_recursion(tmp_path):
    node = {"leaf_value": 1.0}
    for depth in range(3000):
        split = {
            "split_feature": 0,
            "threshold": float(depth),
            "decision_type": "<=",
            "missing_type": "NaN",
            "default_left": True,
        }
        node = {**split, "left_child": {"leaf_value": 0.0}, "right_child": node}

    class Chain:
        def dump_model(self):
            shape = {"num_class": 3, "objective": "multiclass num_class:3", "average_output": False, "max_feature_idx": 0}
            return {**shape, "tree_info": [{"tree_index": 2, "tree_structure": node}]}

    out = run(from_lightgbm(Chain()), np.array([[-1.0], [-2.0], [np.nan]], np.float32), tmp_path)
    # Every row leaves at the first threshold it is not above: the highest asks first, the chain's end is never reached.
    np.testing.assert_allclose(out, np.full((3, 3), 1 / 3), atol=1e-6)
    above = run(from_lightgbm(Chain()), np.array([[2999.5]], np.float32), tmp_path)
    np.testing.assert_allclose(above, [[1 / (2 + np.e), 1 / (2 + np.e), np.e / (2 + np.e)]], atol=1e-6)


def test_trees_that_need_more_features_than_the_window_has_are_refused(tmp_path):
    with pytest.raises(Final, match="trees use 2 features, the window was said to hold 1"):
        write_forest(stump(LESS, True), tmp_path / "m.onnx", 1, 1)


def assert_same(exported: np.ndarray, native: np.ndarray) -> None:
    np.testing.assert_allclose(exported, native, rtol=0, atol=1e-6)
