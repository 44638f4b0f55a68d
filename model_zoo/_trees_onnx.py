"""A forest as one ONNX graph: the window's last row, the trees, a softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from model_zoo._errors import Final
from model_zoo._forest import LEAF, Forest, Tree
from model_zoo._onnx import ML_DOMAIN, PROBABILITIES, ROW, window_graph, write_model


def write_forest(forest: Forest, path: Path, T: int, F: int) -> None:
    """Write `window` float32 [batch, T, F] to `probabilities` float32 [batch, 3]."""
    if forest.n_features > F:
        raise Final(f"trees use {forest.n_features} features, the window was said to hold {F}")
    attributes: dict[str, Any] = {
        "n_targets": forest.n_outputs,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        **_attributes(forest),
    }
    trees = helper.make_node("TreeEnsembleRegressor", [ROW], ["margin"], domain=ML_DOMAIN, **attributes)
    softmax = helper.make_node("Softmax", ["margin"], [PROBABILITIES], axis=-1)
    write_model(window_graph([trees, softmax], [], T, F), path)


def _attributes(forest: Forest) -> dict[str, list[Any]]:
    """The lists of TreeEnsembleRegressor: one entry a node, and one a leaf and output."""
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    targets: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    # The base goes in as a tree of one leaf: onnxruntime drops the base value of an output that no leaf names.
    for number, tree in enumerate((_base_tree(forest), *forest.trees)):
        leaf = tree.is_leaf
        nodes["nodes_treeids"] += [number] * len(leaf)
        nodes["nodes_nodeids"] += range(len(leaf))
        nodes["nodes_featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["nodes_values"] += np.where(leaf, np.float32(0), tree.threshold).tolist()
        nodes["nodes_modes"] += np.where(leaf, "LEAF", forest.test).tolist()
        nodes["nodes_truenodeids"] += np.where(leaf, 0, tree.yes).tolist()
        nodes["nodes_falsenodeids"] += np.where(leaf, 0, tree.no).tolist()
        nodes["nodes_missing_value_tracks_true"] += np.where(leaf, 0, tree.nan_yes).tolist()
        leaves = np.flatnonzero(leaf)
        targets["target_treeids"] += [number] * (len(leaves) * len(tree.outputs))
        targets["target_nodeids"] += np.repeat(leaves, len(tree.outputs)).tolist()
        targets["target_ids"] += list(tree.outputs) * len(leaves)
        targets["target_weights"] += tree.value[leaves].astype(np.float32).ravel().tolist()
    return nodes | targets


def _base_tree(forest: Forest) -> Tree:
    leaf = np.array([LEAF])
    nothing = np.zeros(1)
    return Tree(
        feature=nothing.astype(np.int64),
        threshold=nothing.astype(np.float32),
        yes=leaf,
        no=leaf,
        nan_yes=nothing.astype(bool),
        value=forest.base[None, :],
        outputs=tuple(range(forest.n_outputs)),
    )
