"""What OpenVINO makes of the typed graphs: the integers must really be there, and the numbers must fit."""

from __future__ import annotations

import platform
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration.collect import CollectOptions, collect
from cutline.calibration.placement import POLICIES
from cutline.calibration.runner import ort_runner
from cutline.calibration.table import CalibrationTable, make_table
from cutline.calibration.typed import typed_model
from cutline.runtime.contract import ModelContract
from cutline.runtime.sessions.openvino import shared_core

Frames = list[list[dict[str, NDArray[np.float32]]]]
X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.fixture(scope="module")
def table(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> CalibrationTable:
    options = CollectOptions()
    return make_table(unet, contract, (), options, collect(unet, contract, frames, options=options))


def _compile(model: onnx.ModelProto) -> Any:
    core = shared_core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)


def _convolutions(compiled: Any) -> Counter[str]:
    """How many convolutions run in which type, by the compiled model itself."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if str(facts["layerType"].astype(str)) == "Convolution":
            found[str(facts["runtimePrecision"].astype(str))] += 1
    return found


@pytest.mark.skipif(not X86, reason="INT8 convolutions of OpenVINO on this processor are not known to us")
def test_every_layer_placed_in_int8_runs_in_int8(unet: onnx.ModelProto, table: CalibrationTable) -> None:
    typed = typed_model(unet, "int8", table=table, policy=POLICIES["openvino"])
    wanted = sum(p == "int8" for p in typed.layers.values())
    running = _convolutions(_compile(typed.model))
    assert wanted >= 5
    assert running["u8"] + running["i8"] == wanted
    assert _convolutions(_compile(unet)).keys() == {"f32"}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_openvino_and_onnxruntime_agree_on_the_typed_graph(
    unet: onnx.ModelProto,
    contract: ModelContract,
    frames: Frames,
    table: CalibrationTable,
    precision: Any,
) -> None:
    typed = typed_model(unet, precision, table=table, policy=POLICIES["openvino"]).model
    request = _compile(typed).create_infer_request()
    ours = np.stack([request.infer(f)["alpha"][0, 0].copy() for s in frames for f in s])
    original = np.stack(ort_runner(contract, frames)(unet))
    error = np.abs(ours - original).mean()
    assert np.abs(ours - np.stack(ort_runner(contract, frames)(typed))).mean() < max(error, 1e-3)
    assert error < {"fp16": 1e-3, "int8": 0.01}[precision]
