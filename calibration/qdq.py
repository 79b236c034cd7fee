"""Explicit Q/DQ: INT8 written in the graph itself, one graph for TensorRT, TensorRT for RTX and OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from cutline.calibration.graph import Graph, sort_nodes
from cutline.calibration.placement import Placement, weight_axis
from cutline.calibration.thresholds import SIGNED, UNSIGNED
from cutline.runtime.errors import InternalError

__all__ = ["quantise", "quantise_weight"]


def quantise(model: onnx.ModelProto, placement: Placement, thresholds: Mapping[str, float]) -> onnx.ModelProto:
    """Write the placement into a copy of the model.

    Args:
        model: normalised, float32.
        placement: made for this model.
        thresholds: largest magnitude to represent, per tensor of `placement.groups`; a group takes its largest.
    Returns:
        The model with float32 inputs, outputs and biases, int8 weights behind DequantizeLinear (one scale per output
        channel, zero-point 0) and QuantizeLinear/DequantizeLinear pairs (one scale, zero-point 0; int8, or uint8 where
        the placement says so) on activations.
    Raises:
        InternalError: a tensor has no threshold.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = Graph(out)
    scales = _scales(placement, thresholds)
    added: list[NodeProto] = []
    done: dict[str, str] = {}
    dtypes = {t: np.dtype(np.uint8 if t in placement.unsigned else np.int8) for t in placement.groups}
    for name, index in sorted(placement.edges):
        node = graph.nodes[name]
        tensor = node.input[index]
        if tensor not in done:
            done[tensor] = _quantise_tensor(out.graph, added, tensor, scales[placement.groups[tensor]], dtypes[tensor])
        node.input[index] = done[tensor]
    stored: dict[tuple[str, int], str] = {}
    for name in placement.int8:
        _quantise_layer(graph, added, graph.nodes[name], stored)
    nodes = sort_nodes([*out.graph.node, *added], [*graph.inputs, *(w.name for w in out.graph.initializer)])
    _set_nodes(out.graph, nodes)
    _drop_unused(out.graph)
    return onnx.shape_inference.infer_shapes(out, strict_mode=True)


def quantise_weight(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to int8, symmetric, one scale per slice along `axis`.

    Returns:
        int8 of the weight's shape, float32[channels] scales that float16 holds; weight is about values * scales.
    """
    axis %= weight.ndim
    peak = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    scale = _half_scale(peak / SIGNED)
    spread = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    return np.clip(np.rint(weight / spread), -SIGNED, SIGNED).astype(np.int8), scale


def _half_scale(scale: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The next float16 at or above each scale, never zero: typed graphs hold float16 scales and must mean the same."""
    half = scale.astype(np.float16)
    up = np.where(half < scale, np.nextafter(half, np.float16(np.inf)), half)
    return np.maximum(up, np.finfo(np.float16).smallest_subnormal).astype(np.float32)


def _scales(placement: Placement, thresholds: Mapping[str, float]) -> dict[str, float]:
    peaks: dict[str, float] = {}
    codes = {g: UNSIGNED if t in placement.unsigned else SIGNED for t, g in placement.groups.items()}
    for tensor, group in placement.groups.items():
        if tensor not in thresholds:
            raise InternalError("a tensor was not calibrated", remedy="Report this model.", tensor=tensor)
        peaks[group] = max(peaks.get(group, 0.0), thresholds[tensor])
    return {group: float(_half_scale(np.array(peak / codes[group]))) for group, peak in peaks.items()}


def _quantise_tensor(
    graph: onnx.GraphProto, added: list[NodeProto], tensor: str, scale: float, dtype: np.dtype[Any]
) -> str:
    scale_name, zero_name, q, dq = (f"{tensor}_{part}" for part in ("scale", "zero", "q", "dq"))
    graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), scale_name))
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype), zero_name))
    added.append(onnx.helper.make_node("QuantizeLinear", [tensor, scale_name, zero_name], [q], name=q))
    added.append(onnx.helper.make_node("DequantizeLinear", [q, scale_name, zero_name], [dq], name=dq))
    return dq


def _quantise_layer(graph: Graph, added: list[NodeProto], node: NodeProto, stored: dict[tuple[str, int], str]) -> None:
    """Put int8 weights behind a DequantizeLinear of the node's own; shared weights are stored once."""
    name, axis = node.input[1], weight_axis(node)
    weight = graph.constant(name).astype(np.float32)
    axis %= weight.ndim
    if (name, axis) not in stored:
        values, scale = quantise_weight(weight, axis)
        stored[name, axis] = base = f"{name}_int8" if axis == 0 else f"{name}_int8_{axis}"
        zero = np.zeros(scale.shape, np.int8)
        for array, part in ((values, base), (scale, f"{base}_scale"), (zero, f"{base}_zero")):
            graph.model.graph.initializer.append(numpy_helper.from_array(array, part))
    base = stored[name, axis]
    dq = f"{node.name}_weight_dq"
    inputs = [base, f"{base}_scale", f"{base}_zero"]
    added.append(onnx.helper.make_node("DequantizeLinear", inputs, [dq], name=dq, axis=axis))
    node.input[1] = dq


def _set_nodes(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]
