"""Small graphs and a whole manifest, for tests of code that serves models."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.decision import BARRIER, RISK, DecisionSpec
from serving.manifest import Manifest, ThresholdOrigin

T, F = 2, 3


def manifest(**changes: Any) -> Manifest:
    """A manifest that fits `graph()`."""
    whole = Manifest(
        pipeline="majors",
        family="linear",
        feeds=("demo",),
        feature_hash="ab12",
        features=("return_1", "range_atr", "is_eurusd"),
        context=("USDJPY",),
        timeframe="H1",
        base_timeframe="M1",
        window_bars=T,
        symbols=("EURUSD", "GBPUSD"),
        label={"stop_atr": 1.5, "target_atr": 1.5, "horizon_bars": 12, "atr_bars": 14},
        decision=DecisionSpec(BARRIER, 0.41, 0.42, 1.5, 1.5, 12, RISK, 0.01, 0.0),
        thresholds=ThresholdOrigin("validation", 900, (1_700_000_000, 1_710_000_000)),
        training_span=(1_600_000_000, 1_710_000_000),
        snapshot="c0ffee",
        params={"strength": 0.001},
        seed=7,
        versions={"onnx": "1.23.2"},
        account_currency="USD",
        cost_source="assumed",
        mode="simulated",
        rounds=None,
        created="2026-11-20T08:00:00Z",
    )
    return replace(whole, **changes)


def graph(
    *,
    position: bool = False,
    last: str = "Softmax",
    batch: str | int = "batch",
    classes: int = 3,
    dtype: int = TensorProto.FLOAT,
    names: tuple[str, str] = ("window", "probabilities"),
) -> bytes:
    """A graph of two bars and three features whose margins are the last row (plus the position on long). `last`: the operator
    that turns margins into the output. The other arguments break one point of the contract each."""
    window, out = names
    nodes = [helper.make_node("Gather", [window, "last"], ["row"], axis=1)]
    initializers = [numpy_helper.from_array(np.int64(-1), "last")]
    inputs = [helper.make_tensor_value_info(window, dtype, [batch, T, F])]
    margin = "row"
    if position:
        inputs.append(helper.make_tensor_value_info("position", dtype, [batch, 1]))
        initializers.append(numpy_helper.from_array(np.array([[0, 0, 1]], np.float32), "lean"))
        nodes += [
            helper.make_node("MatMul", ["position", "lean"], ["held"]),
            helper.make_node("Add", ["row", "held"], ["margin"]),
        ]
        margin = "margin"
    if classes != F:
        initializers.append(numpy_helper.from_array(np.arange(classes, dtype=np.int64), "kept"))
        nodes.append(helper.make_node("Gather", [margin, "kept"], ["fewer"], axis=1))
        margin = "fewer"
    nodes.append(helper.make_node(last, [margin], [out], **({"axis": -1} if last == "Softmax" else {})))
    made = helper.make_graph(nodes, "test", inputs, [helper.make_tensor_value_info(out, dtype, [batch, classes])], initializers)
    return onnx.helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
