"""Models brought into the form that calibration works on."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cutline.calibration.graph import Graph, drop_notes, model_digest, normalise, sort_nodes
from cutline.runtime.errors import BadInputError, InternalError


def _with_constant_node() -> onnx.ModelProto:
    value = numpy_helper.from_array(np.array([2.0], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["two"], value=value),
        helper.make_node("Mul", ["x", "two"], ["y"], name="same"),
        helper.make_node("Relu", ["y"], ["z"], name="same"),
        helper.make_node("Neg", ["z"], ["out"]),
    ]
    infos = [helper.make_tensor_value_info(n, 1, [1, 4]) for n in ("x", "out")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


def test_normalising_names_nodes_raises_the_opset_and_removes_constant_nodes() -> None:
    model = normalise(_with_constant_node())
    names = [n.name for n in model.graph.node]
    assert len(set(names)) == len(names) == 3
    assert all(names)
    assert model.opset_import[0].version >= 19
    graph = Graph(model)
    assert graph.constant("two").tolist() == [2.0]
    assert graph.shape("z") == (1, 4)
    onnx.checker.check_model(model, full_check=True)


def test_normalising_leaves_the_given_model_alone() -> None:
    model = _with_constant_node()
    before = model.SerializeToString(deterministic=True)
    normalise(model)
    assert model.SerializeToString(deterministic=True) == before


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, [1])]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    with pytest.raises(BadInputError, match="control flow"):
        normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))


def test_shapes_that_contradict_each_other_are_refused() -> None:
    infos = [helper.make_tensor_value_info(n, 1, [1, k]) for n, k in (("x", 4), ("y", 3), ("out", 4))]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["out"])], "g", infos[:2], infos[2:])
    with pytest.raises(BadInputError, match="contradict"):
        normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))


def test_a_tensor_without_a_fixed_shape_is_refused(unet: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(unet)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(BadInputError, match="fixed shape"):
        Graph(model).shape("image")


def test_the_digest_changes_with_a_weight_and_not_with_a_doc_string(unet: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(unet)
    model.doc_string, model.producer_name = "other", "other"
    assert model_digest(model) == model_digest(unet)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] += 1e-3
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, model.graph.initializer[0].name))
    assert model_digest(model) != model_digest(unet)


def test_sorting_puts_nodes_after_what_they_read() -> None:
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in [("b", "c"), ("x", "a"), ("a", "b")]]
    assert [n.output[0] for n in sort_nodes(nodes, ["x"])] == ["a", "b", "c"]
    with pytest.raises(InternalError):
        sort_nodes(nodes, [])


def test_docs_and_metadata_are_dropped_at_every_depth() -> None:
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "inner", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    node.attribute[0].g.node[0].metadata_props.add(key="stack_trace", value="secret")
    node.attribute[1].doc_string = "secret"
    value = helper.make_tensor_value_info("x", 1, [1], doc_string="secret")
    weight = helper.make_tensor("w", 1, [1], [1.0])
    weight.doc_string = "secret"
    model = helper.make_model(helper.make_graph([node], "g", [value], [value], [weight], doc_string="secret"))
    model.metadata_props.add(key="path", value="secret")
    drop_notes(model)
    assert b"secret" not in model.SerializeToString()
    assert [n.op_type for n in model.graph.node[0].attribute[0].g.node] == ["Neg"]
