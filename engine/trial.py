"""Runs a freshly imported model once, in a child: does clean-up keep its results, and does OpenVINO agree?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from cutline.engine.cache import Cache
from cutline.engine.cpu import compile_for_cpu
from cutline.engine.graph_view import GraphView
from cutline.engine.model_import import ImportedModel
from cutline.engine.sandbox import Limits, run_in_child
from cutline.runtime.errors import BadInputError, InternalError

__all__ = ["CLEAN_TOLERANCE", "OPENVINO_TOLERANCE", "Trial", "task", "try_out"]

CLEAN_TOLERANCE = 1e-4  # of the largest value: folding changes the order of sums, nothing more
OPENVINO_TOLERANCE = 1e-3  # the same unit, in FP32
TRIAL_LIMITS = Limits(seconds=300.0, memory=12_000_000_000)


Array = NDArray[Any]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Largest differences, relative to the largest value of the output concerned (or to 1, if that is larger)."""

    cleaned: float  # clean against frozen, both in ONNX Runtime
    openvino: float  # OpenVINO FP32 against ONNX Runtime, both clean


def try_out(model: ImportedModel, cache: Cache) -> Trial:
    """Run the model once and compare.

    Raises:
        BadInputError: it cannot be run, gives NaN, or OpenVINO computes something else.
        InternalError: our clean-up changed its results.
    """
    key = cache.key("trial", model.frozen, model.clean)
    if (kept := cache.get(key)) is not None:
        return msgspec.json.decode(kept, type=Trial)
    with tempfile.TemporaryDirectory(prefix="cutline-trial-") as folder:
        (Path(folder) / "frozen.onnx").write_bytes(model.frozen)
        (Path(folder) / "clean.onnx").write_bytes(model.clean)
        trial = msgspec.convert(run_in_child("trial", {"folder": folder}, limits=TRIAL_LIMITS), Trial)
    cache.put(key, msgspec.json.encode(trial))
    return trial


def task(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Worker entry: request has folder, with frozen.onnx and clean.onnx."""
    folder = Path(request["folder"])
    clean = (folder / "clean.onnx").read_bytes()
    feeds = random_feeds(onnx.ModelProto.FromString(clean))
    wanted = _run_exactly(clean, feeds)
    tell({"done": "clean"})
    _demand_finite(wanted)
    before = _run_exactly((folder / "frozen.onnx").read_bytes(), feeds)
    cleaned = largest_difference(before, wanted)
    if not cleaned <= CLEAN_TOLERANCE:
        raise InternalError(
            "cleaning the model changed its results", remedy="Report this together with the model.", difference=cleaned
        )
    found = _run_openvino(clean, feeds)
    openvino = largest_difference(wanted, found)
    if not openvino <= OPENVINO_TOLERANCE:
        raise BadInputError(
            "OpenVINO computes something else than ONNX Runtime for this model",
            remedy="Export it with other operators or another opset.",
            difference=openvino,
            tolerance=OPENVINO_TOLERANCE,
        )
    return {"cleaned": cleaned, "openvino": openvino}


def _run_exactly(model: bytes, feeds: dict[str, Array]) -> dict[str, Array]:
    """ONNX Runtime with every optimisation off: what the graph says is what is computed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # ONNX Runtime raises a class of its own for each failure, without a common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInputError(
            f"ONNX Runtime cannot run the model: {lines[-1][:240] if lines else type(error).__name__}",
            remedy="Export it with other operators or another opset.",
        ) from error


def _run_openvino(model: bytes, feeds: dict[str, Array]) -> dict[str, Array]:
    compiled = compile_for_cpu(model, "fp32")
    results = compiled(feeds)
    return {name: np.array(results[port]) for port in compiled.outputs for name in port.names}


def random_feeds(model: onnx.ModelProto) -> dict[str, Array]:
    """Plausible inputs: pictures of noise, states that are small."""
    random = np.random.default_rng(1)
    feeds: dict[str, Array] = {}
    for value in GraphView(model).inputs:
        if value.elem_type == TensorProto.UINT8:
            feeds[value.name] = random.integers(0, 256, value.shape, np.uint8)
        elif value.elem_type == TensorProto.INT8:
            feeds[value.name] = random.integers(-128, 128, value.shape, np.int8)
        elif value.elem_type == TensorProto.FLOAT:
            feeds[value.name] = random.random(value.shape, np.float32)
        else:
            raise BadInputError(
                "an input has a type that nothing here feeds",
                remedy="Export the model with float32 or uint8 inputs.",
                input=value.name[:80],
                type=TensorProto.DataType.Name(value.elem_type),
            )
    return feeds


def largest_difference(wanted: dict[str, Array], found: dict[str, Array]) -> float:
    """Over all outputs; NaN when either side has one."""
    worst = 0.0
    for name, value in wanted.items():
        if name not in found:  # clean-up merged two outputs that are one tensor
            continue
        one, other = np.asarray(value, np.float64), np.asarray(found[name], np.float64).reshape(np.shape(value))
        scale = max(1.0, float(np.abs(one).max(initial=0.0)))
        worst = max(worst, float(np.abs(one - other).max(initial=0.0)) / scale, key=lambda x: (x != x, x))
    return worst


def _demand_finite(outputs: dict[str, Array]) -> None:
    for name, value in outputs.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise BadInputError(
                "the model gives NaN or infinity for an ordinary picture",
                remedy="Use a checkpoint from before the training diverged.",
                output=name[:80],
            )
