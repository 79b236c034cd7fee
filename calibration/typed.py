"""From a trained float32 graph to one whose every tensor has the type that it will run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from cutline.calibration.fp16 import HalfGraph, to_fp16
from cutline.calibration.placement import POLICIES, Policy, Precision, layer_names, place
from cutline.calibration.qdq import quantise
from cutline.calibration.table import CalibrationTable, demand_same_model
from cutline.calibration.thresholds import Method
from cutline.runtime.errors import UsageError

__all__ = ["METHOD", "TypedModel", "typed_model"]

METHOD: Method = "mse"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedModel:
    """A typed graph with float32 inputs and outputs, the precision of each layer, and why."""

    model: onnx.ModelProto
    precision: Precision
    layers: dict[str, Precision]
    reasons: dict[str, str]  # also for carriers, residual additions and float32 islands


def typed_model(
    model: onnx.ModelProto,
    precision: Precision,
    *,
    table: CalibrationTable | None = None,
    policy: Policy = POLICIES["shared"],
    method: Method = METHOD,
    keep: Mapping[str, Precision] | None = None,
) -> TypedModel:
    """Type a model.

    Args:
        model: normalised, float32.
        precision: "fp32" gives the model as it is; "fp16" and "int8" give float16 between float32 inputs and outputs,
            "int8" with Q/DQ around the layers that the policy allows.
        table: of this model; needed for "int8". Without it "fp16" has float32 islands only where an operator or a
            constant demands one.
        policy, method: for "int8".
        keep: layers whose precision is decided, by name.
    Raises:
        UsageError: "int8" without a table, or `keep` names no layer.
        BadInputError: the table belongs to another model.
    """
    keep = dict(keep or {})
    if table is not None:
        demand_same_model(table, model)
    if precision == "fp32":
        layers: dict[str, Precision] = dict.fromkeys(layer_names(model), "fp32")
        reasons = dict.fromkeys(layers, "fp32: asked for")
        return TypedModel(model=model, precision="fp32", layers=layers, reasons=reasons)
    peaks = table.peaks() if table is not None else {}
    keep_fp32 = frozenset(name for name, kept in keep.items() if kept == "fp32")
    if precision == "fp16":
        half = to_fp16(model, peaks, keep_fp32=keep_fp32)
        layers = dict.fromkeys(layer_names(model), "fp16")
        return _finish(half, "fp16", layers, dict.fromkeys(layers, "fp16: the whole network is"))
    if table is None:
        raise UsageError("INT8 needs calibration", remedy="Give footage of the site with --calib.")
    placement = place(model, policy, keep=keep)
    half = to_fp16(quantise(model, placement, table.thresholds(placement, method)), peaks, keep_fp32=keep_fp32)
    return _finish(half, "int8", dict(placement.layers), dict(placement.reasons))


def _finish(half: HalfGraph, precision: Precision, layers: dict[str, Precision], reasons: dict[str, str]) -> TypedModel:
    for name, reason in half.islands.items():
        if layers.get(name) == "int8":  # its arithmetic is integer all the same; only what it returns is wider
            reasons[name] = f"{reasons[name]}; returns {reason}"
            continue
        reasons[name] = reason
        if name in layers:
            layers[name] = "fp32"
    return TypedModel(model=half.model, precision=precision, layers=layers, reasons=reasons)
