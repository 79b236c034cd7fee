"""The emulation of float16 shows what a GPU would show: roundings and overflows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cutline.calibration.fp16 import to_fp16
from cutline.calibration.graph import normalise
from cutline.calibration.half import emulate_half
from cutline.calibration.runner import OrtRunner
from cutline.runtime.contract import Image, ModelContract, Output

SHAPE = (1, 3, 8, 8)
CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=8, height=8),
    outputs=(Output(tensor="alpha", meaning="alpha", width=8, height=8, channels=3),),
)


def model_of(nodes: list[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """A graph from `image` to `alpha`."""
    image, alpha = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, SHAPE) for name in ("image", "alpha"))
    made = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [alpha], made)
    return normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))


def scaled(first: float, second: float) -> onnx.ModelProto:
    nodes = [helper.make_node("Mul", ["image", "a"], ["middle"]), helper.make_node("Mul", ["middle", "b"], ["alpha"])]
    return model_of(nodes, a=np.array(first, np.float32), b=np.array(second, np.float32))


def run(model: onnx.ModelProto, value: float | np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of it, which emulates by itself."""
    feed = {"image": np.broadcast_to(np.float32(value), SHAPE).copy()}
    return OrtRunner(model, CONTRACT, threads=1).run(feed)["alpha"]


def test_a_value_is_rounded_between_layers_and_not_only_at_the_end() -> None:
    values = np.random.default_rng(1).random(SHAPE, np.float32)
    first, second = np.float16(0.3), np.float16(7.0)
    found = run(to_fp16(scaled(0.3, 7.0), {}).model, values)
    middle = values.astype(np.float16).astype(np.float32) * np.float32(first)
    stepwise = (middle.astype(np.float16).astype(np.float32) * np.float32(second)).astype(np.float16)
    at_the_end = (middle * np.float32(second)).astype(np.float16)
    np.testing.assert_array_equal(found, stepwise.astype(np.float32))
    assert not np.array_equal(stepwise, at_the_end)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_float16_is_quantised_to_the_nearest_code(dtype: type[np.generic]) -> None:
    scale = np.float32(np.float16(0.0197))
    pair = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["alpha"]),
    ]
    values = np.linspace(-3, 3, 192, dtype=np.float32).reshape(SHAPE)
    typed = to_fp16(model_of(pair, scale=np.array(scale), zero=np.array(0, dtype)), {}).model
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    codes = np.clip(np.rint(values.astype(np.float16).astype(np.float64) / scale), limits.min, limits.max)
    np.testing.assert_array_equal(run(typed, values), (codes * scale).astype(np.float16).astype(np.float32))


def test_an_overflow_is_seen() -> None:
    typed = to_fp16(scaled(60000.0, 1 / 60000.0), {}).model  # nobody said that the middle is large
    assert np.isinf(run(typed, 2.0)).all()
    assert np.isfinite(run(scaled(60000.0, 1 / 60000.0), 2.0)).all()


def test_an_island_that_calibration_asked_for_does_not_overflow() -> None:
    model = scaled(60000.0, 1 / 60000.0)
    typed = to_fp16(model, {"middle": 120000.0}).model
    np.testing.assert_allclose(run(typed, 2.0), 2.0, rtol=2e-3)


def test_a_model_without_float16_is_not_copied() -> None:
    model = scaled(0.3, 7.0)
    assert emulate_half(model) is model
