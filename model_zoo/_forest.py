"""One small picture of any boosted forest, read exactly from XGBoost, LightGBM and CatBoost.

The stock converters are wrong in silence: rounding LightGBM's float64 thresholds to the nearest float32 flips 0.2 % of the
rows. Here a threshold is rounded DOWN: for float32 x, x <= t is the same as x <= floor32(t).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_zoo._errors import Final

LESS_OR_EQUAL, LESS, GREATER = "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT"
LEAF = -1


@dataclass(frozen=True)
class Tree:
    """n nodes, the root first. A row goes to `yes` where its feature passes the forest's test against the threshold, else to
    `no`; both are -1 in a leaf. A missing value goes to `yes` where nan_yes. value: (n, len(outputs)), added in a leaf to
    those outputs."""

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    yes: npt.NDArray[np.int64]
    no: npt.NDArray[np.int64]
    nan_yes: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]
    outputs: tuple[int, ...]

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """(n,) whether each node is a leaf."""
        return np.equal(self.yes, LEAF)


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves add up, from `base` (one number a class), to margins before the softmax."""

    test: str
    n_features: int
    base: npt.NDArray[np.float64]
    trees: tuple[Tree, ...]

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.base)


def floor32(values: Any) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        nearest = exact.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf), dtype=np.float32)
    return np.where(nearest.astype(np.float64) > exact, below, nearest).astype(np.float32)


def from_xgboost(booster: Any) -> Forest:
    """The forest of an `xgboost.Booster` of numeric features and one tree a class a round."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    booster_name = learner["gradient_booster"]["name"]
    if booster_name != "gbtree":
        raise Final(f"XGBoost booster {booster_name!r} cannot be exported; train with booster='gbtree'")
    shape, model = learner["learner_model_param"], learner["gradient_booster"]["model"]
    n_classes = int(shape["num_class"])
    base = np.broadcast_to(np.atleast_1d(np.asarray(json.loads(shape["base_score"]), dtype=np.float64)), (n_classes,)).copy()
    trees = tuple(_xgboost_tree(tree, output) for tree, output in zip(model["trees"], model["tree_info"], strict=True))
    return Forest(LESS, int(shape["num_feature"]), base, trees)


def _xgboost_tree(tree: dict[str, Any], output: int) -> Tree:
    if tree["categories"] or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise Final("XGBoost trees with categorical splits or several outputs a leaf cannot be exported")
    yes = np.asarray(tree["left_children"], dtype=np.int64)
    numbers = np.asarray(tree["split_conditions"], dtype=np.float32)  # a leaf keeps its value here
    return Tree(
        feature=np.asarray(tree["split_indices"], dtype=np.int64),
        threshold=numbers,
        yes=yes,
        no=np.asarray(tree["right_children"], dtype=np.int64),
        nan_yes=np.asarray(tree["default_left"], dtype=bool),
        value=numbers[:, None].astype(np.float64),
        outputs=(int(output),),
    )


def from_lightgbm(booster: Any) -> Forest:
    """The forest of a `lightgbm.Booster` with objective multiclass on numeric features."""
    dump = booster.dump_model()
    n_classes = int(dump["num_class"])
    if not dump["objective"].startswith("multiclass ") or dump["average_output"]:
        raise Final(f"LightGBM objective {dump['objective']!r} cannot be exported; train boosted trees with objective multiclass")
    trees = tuple(_lightgbm_tree(t["tree_structure"], t["tree_index"] % n_classes) for t in dump["tree_info"])
    return Forest(LESS_OR_EQUAL, int(dump["max_feature_idx"]) + 1, np.zeros(n_classes), trees)


def _lightgbm_tree(root: dict[str, Any], output: int) -> Tree:
    rows: list[tuple[int, float, int, int, bool, float]] = []
    for node, yes, no in _numbered(root, "left_child", "right_child"):
        if yes == LEAF:
            rows.append((0, 0.0, LEAF, LEAF, False, node["leaf_value"]))
            continue
        if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
            raise Final("LightGBM trees with categorical splits or zero_as_missing cannot be exported")
        # Trained without a missing value, LightGBM reads one as 0.0; else the node says where it goes.
        nan_yes = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0.0
        rows.append((node["split_feature"], node["threshold"], yes, no, nan_yes, 0.0))
    feature, threshold, yes_, no_, nan_yes_, value = zip(*rows, strict=True)
    return Tree(
        feature=np.array(feature, dtype=np.int64),
        threshold=floor32(threshold),
        yes=np.array(yes_, dtype=np.int64),
        no=np.array(no_, dtype=np.int64),
        nan_yes=np.array(nan_yes_, dtype=bool),
        value=np.array(value, dtype=np.float64)[:, None],
        outputs=(output,),
    )


def _numbered(root: dict[str, Any], yes_key: str, no_key: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Nodes of a nested tree, level by level, with the numbers of their children (-1, -1 for a leaf). No recursion: a leaf-wise
    tree may be as deep as it has leaves."""
    queue, seen = [root], 1
    for node in queue:  # grows while it is walked
        if yes_key not in node:
            yield node, LEAF, LEAF
            continue
        yield node, seen, seen + 1
        queue += [node[yes_key], node[no_key]]
        seen += 2


def from_catboost(model: Any) -> Forest:
    """The forest of a `catboost.CatBoost` of numeric features with symmetric trees."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        dump = json.loads(path.read_text(encoding="utf-8"))
    info = dump["features_info"]
    if info.get("categorical_features") or "oblivious_trees" not in dump:
        raise Final("CatBoost models with categorical features or other than symmetric trees cannot be exported")
    scale, bias = dump["scale_and_bias"]
    base = np.atleast_1d(np.asarray(bias, dtype=np.float64))
    columns = {
        f["feature_index"]: (f["flat_feature_index"], f["nan_value_treatment"] == "AsTrue") for f in info["float_features"]
    }
    trees = tuple(_catboost_tree(tree, columns, scale, len(base)) for tree in dump["oblivious_trees"])
    return Forest(GREATER, 1 + max(column for column, _ in columns.values()), base, trees)


def _catboost_tree(tree: dict[str, Any], columns: dict[int, tuple[int, bool]], scale: float, n_classes: int) -> Tree:
    """All nodes of a level share one split; bit i of a leaf's number is split i, so the root asks the last one."""
    splits = [(*columns[s["float_feature_index"]], s["border"]) for s in reversed(tree["splits"] or [])]
    depth = len(splits)
    inner, total = 2**depth - 1, 2 ** (depth + 1) - 1
    level = np.log2(np.arange(1, inner + 1)).astype(np.int64)
    node = np.arange(total)
    yes, no = np.where(node < inner, 2 * node + 2, LEAF), np.where(node < inner, 2 * node + 1, LEAF)
    feature, threshold, nan_yes = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=np.float32), np.zeros(total, dtype=bool)
    if depth:
        feature[:inner] = np.array([s[0] for s in splits])[level]
        nan_yes[:inner] = np.array([s[1] for s in splits])[level]
        threshold[:inner] = np.array([s[2] for s in splits], dtype=np.float32)[level]
    value = np.zeros((total, n_classes))
    value[inner:] = np.asarray(tree["leaf_values"], dtype=np.float64).reshape(-1, n_classes) * scale
    return Tree(feature, threshold, yes, no, nan_yes, value, tuple(range(n_classes)))
