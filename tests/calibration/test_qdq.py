"""Where Q/DQ pairs go, and that the graphs compute what they should."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from cutline.calibration.collect import collect
from cutline.calibration.graph import Graph, normalise
from cutline.calibration.placement import POLICIES, Policy, place
from cutline.calibration.qdq import quantise, quantise_weight
from cutline.calibration.runner import ort_runner
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import InternalError, UsageError

POLICY = Policy(name="test", min_channels=16, keep_last=1)
Frames = list[list[dict[str, NDArray[np.float32]]]]


@pytest.fixture(scope="module")
def peaks(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> dict[str, float]:
    return {name: h.peak for name, h in collect(unet, contract, frames).items()}


@pytest.fixture(scope="module")
def int8(unet: onnx.ModelProto, peaks: dict[str, float]) -> onnx.ModelProto:
    return quantise(unet, place(unet, POLICY), peaks)


def test_thin_and_last_layers_stay_in_float_and_say_why(unet: onnx.ModelProto) -> None:
    placement = place(unet, POLICY)
    assert placement.layers["stem"] == placement.layers["head"] == "fp16"
    assert "3 channels" in placement.reasons["stem"]
    assert "last" in placement.reasons["head"]
    assert placement.int8 == ("down", "block.first", "block.second", "merge", "smooth")


def test_the_graph_is_valid_and_keeps_its_float_inputs_and_outputs(int8: onnx.ModelProto) -> None:
    onnx.checker.check_model(int8, full_check=True)
    for value in (*int8.graph.input, *int8.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_scales_are_symmetric_and_biases_stay_in_float(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    for node in int8.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert graph.weights[node.input[2]].data_type == onnx.TensorProto.INT8
            assert not graph.constant(node.input[2]).any()
    assert not any(w.data_type == onnx.TensorProto.INT32 for w in int8.graph.initializer)
    assert graph.weights["down.bias"].data_type == onnx.TensorProto.FLOAT


def test_weights_are_int8_with_one_scale_per_output_channel(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    dequantise = graph.producer[graph.nodes["merge"].input[1]]
    assert dequantise.op_type == "DequantizeLinear"
    assert graph.weights[dequantise.input[0]].data_type == onnx.TensorProto.INT8
    assert graph.constant(dequantise.input[1]).shape == (16,)
    assert "merge.weight" not in graph.weights


def test_every_int8_layer_reads_quantised_values_and_weights_and_no_other_does(
    unet: onnx.ModelProto, int8: onnx.ModelProto
) -> None:
    graph = Graph(int8)
    for name, precision in place(unet, POLICY).layers.items():
        makers = [graph.producer.get(tensor) for tensor in graph.nodes[name].input[:2]]
        quantised = [maker is not None and maker.op_type == "DequantizeLinear" for maker in makers]
        assert quantised == [precision == "int8"] * 2


def test_a_weight_used_twice_is_stored_once(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    sources = {graph.producer[graph.nodes[n].input[1]].input[0] for n in ("block.first", "block.second")}
    assert sources == {"shared_int8"}
    assert "shared" not in graph.weights


def test_a_shared_weight_stays_in_float_where_one_user_does(unet: onnx.ModelProto, peaks: dict[str, float]) -> None:
    placement = place(unet, POLICY, keep={"block.first": "fp16"})
    graph = Graph(quantise(unet, placement, peaks))
    assert graph.nodes["block.first"].input[1] == "shared"
    assert graph.producer[graph.nodes["block.second"].input[1]].input[0] == "shared_int8"


def test_quantisation_comes_after_relu_so_that_layers_fuse(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    for node in int8.graph.node:
        if node.op_type == "QuantizeLinear":
            assert graph.producer[node.input[0]].op_type != "Conv"
    assert [n.op_type for n in graph.consumers["down"]] == ["Relu"]


def test_of_a_residual_addition_only_the_skip_is_quantised(int8: onnx.ModelProto) -> None:
    add = Graph(int8).nodes["block.sum"]
    assert add.input[0] == "down.relu_dq"
    assert add.input[1] == "block.second"


def test_what_a_concatenation_joins_shares_one_scale(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    pairs = [graph.producer[name] for name in graph.nodes["concat"].input]
    pairs.append(graph.producer[graph.nodes["merge"].input[0]])
    scales = {float(graph.constant(pair.input[1])) for pair in pairs}
    assert len(scales) == 1
    assert graph.producer[graph.nodes["double"].input[0]].op_type == "DequantizeLinear"


def test_a_resize_stays_in_float_where_its_neighbour_does(unet: onnx.ModelProto) -> None:
    placement = place(unet, POLICY, keep={"merge": "fp16"})
    assert ("double", 0) not in placement.edges
    assert "concat reads it in float" in placement.reasons["double"]
    assert "merge reads it in float" in placement.reasons["concat"]


def test_the_integer_network_is_computed_as_written(
    int8: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    reference = ReferenceEvaluator(int8)
    expected = np.stack([reference.run(None, feed)[0][0, 0] for sequence in frames for feed in sequence])
    # a value between two codes may fall to either side; ONNX Runtime's own integer operators are off by 7e-4 and more
    assert np.abs(np.stack(ort_runner(contract, frames)(int8)) - expected).mean() < 5e-5


def test_int8_is_close_to_float_and_not_the_same(
    unet: onnx.ModelProto, int8: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    run = ort_runner(contract, frames)
    difference = np.abs(np.stack(run(int8)) - np.stack(run(unet)))
    assert 1e-5 < difference.mean() < 0.01


def test_rounding_a_weight_is_off_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).normal(0, [[1.0], [50.0], [1e-4]], (3, 400)).astype(np.float32)
    values, scale = quantise_weight(weight, 0)
    assert np.abs(values.astype(np.float64) * scale[:, None] - weight).max(axis=1) == pytest.approx(scale / 2, rel=0.05)
    assert np.abs(values).max() == 127


def test_scales_are_float16_values_so_that_both_forms_of_the_graph_mean_the_same(int8: onnx.ModelProto) -> None:
    graph = Graph(int8)
    for node in int8.graph.node:
        if node.op_type == "DequantizeLinear":
            scale = graph.constant(node.input[1]).astype(np.float32)
            np.testing.assert_array_equal(scale, scale.astype(np.float16).astype(np.float32))


def test_a_pruned_channel_of_zeros_stays_zero() -> None:
    weight = np.ones((2, 3), np.float32)
    weight[1] = 0
    values, scale = quantise_weight(weight, 0)
    assert not values[1].any()
    assert np.isfinite(scale).all()
    assert (scale > 0).all()


def test_an_unknown_layer_is_refused(unet: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="no such layer"):
        place(unet, POLICY, keep={"nonsense": "fp16"})


def test_a_tensor_without_a_threshold_is_a_bug(unet: onnx.ModelProto) -> None:
    with pytest.raises(InternalError, match="not calibrated"):
        quantise(unet, place(unet, POLICY), {})


def test_depthwise_and_transposed_layers_follow_the_policy(net: type) -> None:
    build = net(image=(1, 16, 32, 32))
    x = build.relu(build.conv("image", "depthwise", 16, group=16))
    build.weights["turned"] = np.ones((16, 16, 2, 2), np.float32)
    x = build.op("ConvTranspose", "transposed", [x, "turned"], kernel_shape=[2, 2], strides=[2, 2])
    x = build.relu(x)
    build.conv(x, "head", 16)
    build.op("Sigmoid", "alpha", ["head"])
    model = normalise(build.model(alpha=(1, 16, 64, 64)))
    plain = place(model, POLICY)
    assert plain.int8 == ()
    assert "depthwise" in plain.reasons["depthwise"]
    eager = place(model, Policy(name="eager", depthwise=True, transposed=True, keep_last=1))
    assert eager.int8 == ("depthwise", "transposed")
    graph = Graph(quantise(model, eager, dict.fromkeys(eager.groups, 1.0)))
    assert graph.producer[graph.nodes["transposed"].input[1]].attribute[0].i == 1


def test_every_policy_names_reasons_for_what_it_changes() -> None:
    shared = POLICIES["shared"]
    for policy in POLICIES.values():
        rules = ("min_channels", "keep_last", "depthwise", "transposed", "resize", "unsigned", "signed_concat")
        if any(getattr(policy, rule) != getattr(shared, rule) for rule in rules):
            assert policy.reasons


def test_values_of_the_stored_weight_come_back(int8: onnx.ModelProto, unet: onnx.ModelProto) -> None:
    graph = Graph(int8)
    node = graph.producer[graph.nodes["smooth"].input[1]]
    back = graph.constant(node.input[0]).astype(np.float32) * graph.constant(node.input[1])[:, None, None, None]
    original = numpy_helper.to_array(Graph(unet).weights["smooth.weight"])
    assert np.abs(back - original).max() <= np.abs(original).max() / 127


def test_only_what_cannot_be_negative_becomes_uint8_and_only_where_the_policy_says(unet: onnx.ModelProto) -> None:
    assert place(unet, POLICIES["shared"]).unsigned == frozenset()
    eager = Policy(name="unsigned", min_channels=1, keep_last=0, unsigned=True)
    placement = place(unet, eager)
    assert {"stem.relu", "concat", "double", "block.sum.relu"} <= placement.unsigned
    assert "image" in placement.groups
    assert "image" not in placement.unsigned  # an input may be anything, whatever the calibration frames held


def test_one_signed_member_makes_a_whole_scale_group_signed(net: type) -> None:
    build = net(image=(1, 16, 32, 32))
    plain = build.conv("image", "plain", 16)
    other = build.relu(build.conv("image", "other", 16))
    both = build.concat(plain, other, "both")
    build.conv(build.relu(build.conv(both, "merge", 16)), "head", 16)
    build.op("Sigmoid", "alpha", ["head"])
    placement = place(
        normalise(build.model(alpha=(1, 16, 32, 32))), Policy(name="unsigned", unsigned=True), keep={"merge": "int8"}
    )
    assert placement.groups["other.relu"] == placement.groups["plain"]
    assert placement.unsigned == frozenset()


@pytest.mark.parametrize("moved", [False, True])
def test_a_layer_that_reads_a_signed_concatenation_stays_in_float_where_the_policy_says(net: type, moved: bool) -> None:
    build = net(image=(1, 16, 32, 32))
    both = build.concat(build.conv("image", "one", 16), build.conv("image", "other", 16), "both")
    side = 64 if moved else 32
    both = build.double(both, "moved") if moved else both
    build.conv(build.relu(build.conv(both, "merge", 16)), "head", 16)
    build.op("Sigmoid", "alpha", ["head"])
    model = normalise(build.model(alpha=(1, 16, side, side)))
    assert "merge" in place(model, POLICIES["shared"]).int8
    placement = place(model, POLICIES["openvino"])
    assert placement.layers["merge"] == "fp16"
    assert "concatenation that may be negative" in placement.reasons["merge"]


def test_uint8_halves_the_error(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> None:
    peaks = {name: h.peak for name, h in collect(unet, contract, frames).items()}
    run = ort_runner(contract, frames)
    original = np.stack(run(unet))
    errors = []
    for unsigned in (False, True):
        model = quantise(unet, place(unet, Policy(name="test", unsigned=unsigned)), peaks)
        onnx.checker.check_model(model, full_check=True)
        errors.append(np.abs(np.stack(run(model)) - original).mean())
    assert errors[1] < 0.75 * errors[0]
