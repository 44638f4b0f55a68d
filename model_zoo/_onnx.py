"""The graph contract: names, versions, shapes, and the one way a graph reaches a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_zoo._errors import Final

WINDOW, POSITION, PROBABILITIES, ROW = "window", "position", "probabilities", "row"
# The newest that every supported runtime accepts; onnx's own defaults are refused by onnxruntime 1.31.
OPSET, ML_OPSET, IR_VERSION = 21, 3, 10
ML_DOMAIN = "ai.onnx.ml"
N_CLASSES = 3


def constant(name: str, value: Any, dtype: type[np.generic] = np.float32) -> onnx.TensorProto:
    """An initializer called `name`."""
    return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)


def window_graph(
    nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto], T: int, F: int, *, uses_position: bool = False
) -> onnx.ModelProto:
    """The model whose `nodes` turn ROW, the window's last row float32 [batch, F] (and POSITION), into PROBABILITIES."""
    last = helper.make_node("Gather", [WINDOW, "last"], [ROW], axis=1)
    inputs = [helper.make_tensor_value_info(WINDOW, TensorProto.FLOAT, ["batch", T, F])]
    if uses_position:
        inputs.append(helper.make_tensor_value_info(POSITION, TensorProto.FLOAT, ["batch", 1]))
    outputs = [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", N_CLASSES])]
    weights = [constant("last", -1, np.int64), *initializers]
    graph = helper.make_graph([last, *nodes], "tradewind", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == ML_DOMAIN for node in nodes):
        opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Check `model`, strip what its exporter left inside, and write it atomically: the same graph gives the same bytes."""
    strip(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Final(f"graph for {path.name} is not valid ONNX: {str(error).splitlines()[0]}") from error
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString(deterministic=True))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def strip(model: onnx.ModelProto) -> None:
    """Empty every field that describes instead of computing, in place: exporters put machine paths and stack traces there."""
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        model.ClearField(name)
    _strip_graph(model.graph)
    for function in model.functions:
        function.ClearField("doc_string")
        function.ClearField("metadata_props")
        _strip_nodes(function.node)


def _strip_graph(graph: onnx.GraphProto) -> None:
    for part in (graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    for node in nodes:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for graph in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                _strip_graph(graph)
