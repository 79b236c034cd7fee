"""A trained third-party network with layouts, pooling and transposed convolutions that ours do not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration.collect import CollectOptions, collect
from cutline.calibration.graph import normalise
from cutline.calibration.runner import ort_runner
from cutline.calibration.table import make_table
from cutline.calibration.trials import matte_error
from cutline.calibration.typed import typed_model
from cutline.runtime.contract import Image, ModelContract, Output

MODEL = Path(__file__).parents[3] / "shared" / "data" / "models" / "mediapipe_selfie.onnx"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason=f"{MODEL.name} is not beside the checkout")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return normalise(onnx.load(MODEL))


@pytest.fixture(scope="module")
def contract() -> ModelContract:
    matte = Output(
        tensor="segment:0",
        meaning="classes",
        channels=2,
        layout="NHWC",
        width=256,
        height=144,
        softmax=True,
        foreground_channels=(1,),
    )
    image = Image(tensor="input_1:0", width=256, height=144, layout="NHWC")
    return ModelContract(task="matte", frame=image, outputs=(matte,))


def _frames() -> list[list[dict[str, NDArray[np.float32]]]]:
    """Smooth pictures: sums of a few waves."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:144, 0:256] / 144
    frames = []
    for _ in range(2):
        waves = sum(np.sin(rng.uniform(1, 9) * x + rng.uniform(1, 9) * y + p) for p in rng.uniform(0, 6, 4))
        tints = rng.uniform(0.3, 1.0, 3)
        picture = (0.5 + waves / 9)[None, :, :, None] * tints
        frames.append([{"input_1:0": picture.astype(np.float32)}])
    return frames


def test_it_keeps_its_results_in_fp16_and_most_of_them_in_int8(model: onnx.ModelProto, contract: ModelContract) -> None:
    frames = _frames()
    run = ort_runner(contract, frames)
    reference = run(model)
    original = onnx.load(MODEL)
    np.testing.assert_allclose(np.stack(run(original)), np.stack(reference), atol=1e-5)
    options = CollectOptions()
    table = make_table(model, contract, (), options, collect(model, contract, frames, options=options))
    half = typed_model(model, "fp16", table=table)
    onnx.checker.check_model(half.model, full_check=True)
    assert matte_error(run(half.model), reference).mad < 5e-3
    int8 = typed_model(model, "int8", table=table, method="max")
    onnx.checker.check_model(int8.model, full_check=True)
    assert sum(p == "int8" for p in int8.layers.values()) > 15
    assert matte_error(run(int8.model), reference).mad < 0.1
