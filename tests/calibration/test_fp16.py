"""Typed FP16 graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from cutline.calibration.collect import collect
from cutline.calibration.fp16 import to_fp16
from cutline.calibration.graph import Graph, normalise
from cutline.calibration.placement import Policy, place
from cutline.calibration.qdq import quantise
from cutline.calibration.runner import ort_runner
from cutline.runtime.contract import ModelContract

Frames = list[list[dict[str, NDArray[np.float32]]]]


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    return {**found, **{w.name: w.data_type for w in inferred.initializer}}


def test_weights_and_activations_are_float16_between_float32_inputs_and_outputs(unet: onnx.ModelProto) -> None:
    half = to_fp16(unet, {})
    onnx.checker.check_model(half.model, full_check=True)
    types = _types(half.model)
    assert types["image"] == types["alpha"] == TensorProto.FLOAT
    assert half.islands == {}
    for node in half.model.graph.node:
        if node.op_type == "Conv":
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
    assert types["twice"] == TensorProto.FLOAT  # Resize takes its factors as float32 only
    assert len(half.model.SerializeToString()) < 0.65 * len(unet.SerializeToString())


def test_results_stay_within_float16_rounding(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> None:
    run = ort_runner(contract, frames)
    difference = np.abs(np.stack(run(to_fp16(unet, {}).model)) - np.stack(run(unet)))
    assert 0 < difference.max() < 5e-3


def test_a_layer_whose_range_is_too_large_becomes_an_island(unet: onnx.ModelProto) -> None:
    half = to_fp16(unet, {"merge": 40_000.0})
    assert set(half.islands) == {"merge", "merge.relu"}
    assert "4e+04" in half.islands["merge"]
    types = _types(half.model)
    assert types["merge"] == types["merge.weight"] == TensorProto.FLOAT
    assert types["smooth"] == TensorProto.FLOAT16
    onnx.checker.check_model(half.model, full_check=True)


def test_a_constant_beyond_float16_makes_an_island() -> None:
    nodes = [helper.make_node("Mul", ["x", "big"], ["y"]), helper.make_node("Relu", ["y"], ["out"])]
    infos = [helper.make_tensor_value_info(n, 1, [1, 4]) for n in ("x", "out")]
    big = helper.make_tensor("big", 1, [1], [1e6])
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [big])
    model = normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    half = to_fp16(model, {})
    assert list(half.islands) == ["Mul_0"]
    assert _types(half.model)["big"] == TensorProto.FLOAT


def test_layers_can_be_kept_in_float32(unet: onnx.ModelProto) -> None:
    half = to_fp16(unet, {}, keep_fp32={"head"})
    assert half.islands == {"head": "fp32: asked for"}
    assert _types(half.model)["head"] == TensorProto.FLOAT


@pytest.mark.parametrize("kept", [{"alpha"}, {"head", "alpha"}, {"stem"}, {"double", "concat"}])
def test_islands_anywhere_give_a_valid_graph_with_the_same_result(
    unet: onnx.ModelProto, contract: ModelContract, frames: Frames, kept: set[str]
) -> None:
    half = to_fp16(unet, {}, keep_fp32=kept).model
    onnx.checker.check_model(half, full_check=True)
    run = ort_runner(contract, frames[:2])
    assert np.abs(np.stack(run(half)) - np.stack(run(unet))).max() < 5e-3


def test_an_output_that_the_network_reads_itself_stays_float32(
    recurrent: onnx.ModelProto, recurrent_contract: ModelContract, frames: Frames
) -> None:
    half = to_fp16(recurrent, {}, keep_fp32={"head"}).model  # head reads state_out, which is an output too
    onnx.checker.check_model(half, full_check=True)
    types = _types(half)
    assert types["state_in"] == types["state_out"] == TensorProto.FLOAT
    run = ort_runner(recurrent_contract, [[f for s in frames for f in s]])
    assert np.abs(np.stack(run(half)) - np.stack(run(recurrent))).max() < 5e-3


def test_a_quantised_graph_gets_float16_scales_and_computes_the_same(
    unet: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    placement = place(unet, Policy(name="test"))
    peaks = {name: h.peak for name, h in collect(unet, contract, frames).items()}
    int8 = quantise(unet, placement, peaks)
    half = to_fp16(int8, {}).model
    onnx.checker.check_model(half, full_check=True)
    graph = Graph(half)
    for node in half.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert graph.weights[node.input[1]].data_type == TensorProto.FLOAT16
    run = ort_runner(contract, frames)
    original = np.stack(run(unet))
    error, typed_error = (np.abs(np.stack(run(m)) - original).mean() for m in (int8, half))
    assert 0 < typed_error < 1.3 * error


def test_biases_many_steps_large_come_through_onnxruntime_whole(
    net: type, contract: ModelContract, frames: Frames
) -> None:
    build = net(image=(1, 3, 32, 32))
    x = build.relu(build.conv("image", "stem", 16))
    x = build.relu(build.conv(x, "merge", 16))
    build.conv(build.relu(build.conv(x, "smooth", 16)), "head", 1)
    build.op("Sigmoid", "alpha", ["head"])
    factors = {"stem.weight": 0.01, "stem.bias": 0.01, "merge.weight": 0.01, "merge.bias": 1e-2, "smooth.weight": 1e3}
    for name, factor in factors.items():
        build.weights[name] *= np.float32(factor)
    model = normalise(build.model(alpha=(1, 1, 32, 32)))
    peaks = {name: h.peak for name, h in collect(model, contract, frames).items()}
    int8 = quantise(model, place(model, Policy(name="test")), peaks)
    run = ort_runner(contract, frames)
    original = np.stack(run(model))
    error, typed_error = (np.abs(np.stack(run(m)) - original).mean() for m in (int8, to_fp16(int8, {}).model))
    assert typed_error < 2 * error


def test_an_operator_that_onnx_does_not_know_reads_and_writes_float32() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
        helper.make_node("Special", ["y"], ["z"], name="special", domain="somebody.else"),
        helper.make_node("Neg", ["z"], ["out"], name="neg"),
    ]
    infos = [helper.make_tensor_value_info(n, 1, [1, 4]) for n in ("x", "y", "z", "out")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[3:], value_info=infos[1:3])
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("somebody.else", 1)]
    half = to_fp16(helper.make_model(graph, opset_imports=opsets, ir_version=9), {}).model
    made = {n.name: n for n in half.graph.node}
    casts = {n.output[0]: n.attribute[0].i for n in half.graph.node if n.op_type == "Cast"}
    assert casts[made["special"].input[0]] == TensorProto.FLOAT
    assert casts[made["neg"].input[0]] == TensorProto.FLOAT16


def test_casts_in_the_model_follow_the_type_around_them() -> None:
    nodes = [
        helper.make_node("Cast", ["codes"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "image"], ["out"]),
    ]
    inputs = [
        helper.make_tensor_value_info("codes", TensorProto.INT32, [4]),
        helper.make_tensor_value_info("image", 1, [4]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("out", 1, [4])])
    model = normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    half = to_fp16(model, {}).model
    onnx.checker.check_model(half, full_check=True)
    assert _types(half)["x"] == TensorProto.FLOAT16
