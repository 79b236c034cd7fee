"""The emulation of float16 shows what a GPU would show: roundings and overflows."""

from __future__ import annotations

import numpy as np
import onnx
import small_models

from cutline.calibration.fp16 import to_fp16
from cutline.calibration.graph import normalise
from cutline.calibration.runner import OrtRunner
from cutline.engine.half import emulate_half
from cutline.runtime.contract import Image, ModelContract, Output

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=8, height=8),
    outputs=(Output(tensor="alpha", meaning="alpha", width=8, height=8, channels=3),),
)


def scaled(*factors: float) -> onnx.ModelProto:
    m = small_models.Maker()
    x = "image"
    for factor in factors[:-1]:
        x = m.node("Mul", [x, m.weight(np.array(factor, np.float32))])
    m.node("Mul", [x, m.weight(np.array(factors[-1], np.float32))], to="alpha")
    return normalise(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 3, 8, 8)}))


def run(model: onnx.ModelProto, value: float | np.ndarray) -> np.ndarray:
    feed = {"image": np.broadcast_to(np.float32(value), (1, 3, 8, 8)).copy()}
    return OrtRunner(model, CONTRACT, threads=1).run(feed)["alpha"]


def test_a_value_is_rounded_between_layers_and_not_only_at_the_end() -> None:
    values = np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    first, second = np.float16(0.3), np.float16(7.0)
    found = run(emulate_half(to_fp16(scaled(0.3, 7.0), {}).model), values)
    middle = values.astype(np.float16).astype(np.float32) * np.float32(first)
    stepwise = (middle.astype(np.float16).astype(np.float32) * np.float32(second)).astype(np.float16)
    at_the_end = (middle * np.float32(second)).astype(np.float16)
    np.testing.assert_array_equal(found, stepwise.astype(np.float32))
    assert not np.array_equal(stepwise, at_the_end)


def test_an_overflow_is_seen() -> None:
    typed = to_fp16(scaled(60000.0, 1 / 60000.0), {}).model  # nobody said that the middle is large
    assert np.isinf(run(emulate_half(typed), 2.0)).all()
    assert np.isfinite(run(scaled(60000.0, 1 / 60000.0), 2.0)).all()


def test_an_island_that_calibration_asked_for_does_not_overflow() -> None:
    model = scaled(60000.0, 1 / 60000.0)
    middle = model.graph.node[0].output[0]
    typed = to_fp16(model, {middle: 120000.0}).model
    np.testing.assert_allclose(run(emulate_half(typed), 2.0), 2.0, rtol=2e-3)
