"""How a graph reaches a file."""

import numpy as np
import onnx
import pytest
from onnx import helper

from model_zoo._errors import Final
from model_zoo._onnx import IR_VERSION, OPSET, PROBABILITIES, ROW, constant, strip, window_graph, write_model


def small_model() -> onnx.ModelProto:
    nodes = [helper.make_node("Softmax", [ROW], [PROBABILITIES], axis=-1)]
    return window_graph(nodes, [], 2, 3)


def test_exporter_metadata_is_stripped_everywhere_even_in_branches_and_functions(tmp_path):
    secret = "/home/someone/secret.py"
    branch = helper.make_graph(
        [helper.make_node("Identity", [ROW], ["chosen"], doc_string=secret)],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", 1, None, doc_string=secret)],
        doc_string=secret,
    )
    condition = constant("yes", True, np.bool_)
    condition.doc_string = secret
    nodes = [
        helper.make_node("If", ["yes"], ["either"], then_branch=branch, else_branch=branch, doc_string=secret),
        helper.make_node("Softmax", ["either"], [PROBABILITIES], axis=-1),
    ]
    model = window_graph(nodes, [condition], 2, 3)
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"], doc_string=secret)], []
    )
    function.doc_string = secret
    model.functions.append(function)
    for holder in (model, model.graph, model.graph.node[1], model.graph.input[0], model.functions[0].node[0]):
        holder.metadata_props.add(key="stack", value=secret)
    model.producer_name = model.producer_version = model.doc_string = model.graph.doc_string = secret
    assert model.SerializeToString().count(secret.encode()) > 12
    strip(model)
    assert secret.encode() not in model.SerializeToString()


def test_versions_are_those_that_the_runtime_accepts(tmp_path):
    write_model(small_model(), tmp_path / "m.onnx")
    model = onnx.load(str(tmp_path / "m.onnx"))
    assert model.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]


def test_an_invalid_graph_is_refused_and_nothing_is_left_behind(tmp_path):
    model = window_graph([helper.make_node("Softmax", ["nowhere"], [PROBABILITIES])], [], 2, 3)
    with pytest.raises(Final, match=r"graph for m\.onnx is not valid ONNX"):
        write_model(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"old")
    write_model(small_model(), tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert onnx.load(str(tmp_path / "m.onnx")).graph.name == "tradewind"
