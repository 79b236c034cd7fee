"""Typed FP16 graphs: float16 weights and activations, float32 inputs, outputs, and islands where it must be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from cutline.calibration.graph import Graph

__all__ = ["FP16_LIMIT", "HalfGraph", "to_fp16"]

FP16_LIMIT = 65504.0 / 2  # half of the largest float16: unseen frames may go beyond the calibrated range

# Sums over many values, or functions whose small errors grow: float32 costs little here.
SENSITIVE = frozenset(
    {"CumSum", "Exp", "Log", "LogSoftmax", "Pow", "Range", "Reciprocal", "Softmax", "Softplus"}
    | {"GlobalAveragePool", "GlobalLpPool", "LpNormalization", "MeanVarianceNormalization", "RMSNormalization"}
    | {"InstanceNormalization", "GroupNormalization", "LayerNormalization"}
    | {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum"}
    | {"ReduceSumSquare"}
)
FLOAT, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)


@dataclass(frozen=True, slots=True)
class HalfGraph:
    """A typed model and the nodes that stayed in float32, each with its reason."""

    model: onnx.ModelProto
    islands: dict[str, str]


def to_fp16(
    model: onnx.ModelProto, peaks: Mapping[str, float], *, keep_fp32: Collection[str] = frozenset()
) -> HalfGraph:
    """Give every float tensor of a copy of the model a type: float16, or float32 where it must be.

    Q/DQ pairs get float16 scales, so that what lies between two INT8 layers is float16 too.

    Args:
        model: normalised; float32, with or without Q/DQ.
        peaks: largest magnitude seen per tensor; tensors not named are taken to be small.
        keep_fp32: nodes that stay in float32.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = Graph(out)
    work = _Work(graph, _islands(graph, peaks, frozenset(keep_fp32)))
    for node in list(out.graph.node):
        work.retype(node)
    work.outputs()
    del out.graph.node[:]
    out.graph.node.extend(work.nodes)
    work.weights()
    del out.graph.value_info[:]
    return HalfGraph(onnx.shape_inference.infer_shapes(out, strict_mode=True), work.islands)


def _islands(graph: Graph, peaks: Mapping[str, float], keep: frozenset[str]) -> dict[str, str]:
    found = {}
    for node in graph.model.graph.node:
        over = [t for t in (*node.input, *node.output) if peaks.get(t, 0.0) > FP16_LIMIT]
        if node.name in keep:
            found[node.name] = "fp32: asked for"
        elif over:
            found[node.name] = f"fp32: {over[0]} reaches {peaks[over[0]]:.4g}, beyond what float16 holds safely"
        elif heavy := [t for t in node.input if _weight_peak(graph, t) > FP16_LIMIT]:
            found[node.name] = f"fp32: its constant {heavy[0]} is beyond what float16 holds safely"
        elif node.op_type in SENSITIVE:
            found[node.name] = f"fp32: {node.op_type} sums many values or magnifies small errors"
    return found


def _weight_peak(graph: Graph, tensor: str) -> float:
    if tensor not in graph.weights or not graph.is_float(tensor):
        return 0.0
    value = graph.constant(tensor)
    return float(np.abs(value).max()) if value.size else 0.0


@dataclass(slots=True)
class _Work:
    graph: Graph
    islands: dict[str, str]
    nodes: list[NodeProto] = field(default_factory=list)
    types: dict[str, int] = field(default_factory=dict)  # float tensors made so far
    casts: dict[tuple[str, int], str] = field(default_factory=dict)
    halves: dict[str, str] = field(default_factory=dict)  # initialiser -> its float16 twin

    def retype(self, node: NodeProto) -> None:
        kind = FLOAT if node.name in self.islands else HALF
        free_inputs, free_outputs = _free_slots(node, self.graph.model)
        for index, name in enumerate(node.input):
            if name and self.graph.is_float(name):
                node.input[index] = self._read(name, kind if index in free_inputs else FLOAT)
        made = FLOAT
        if node.op_type == "Cast":
            made = self._retype_cast(node, kind)
        elif 0 in free_outputs:
            made = kind
        copy = NodeProto()
        copy.CopyFrom(node)
        self.nodes.append(copy)
        for name in node.output:
            if name and self.graph.is_float(name):
                self.types[name] = made

    def _retype_cast(self, node: NodeProto, kind: int) -> int:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = kind
        return kind

    def _read(self, name: str, kind: int) -> str:
        """Name under which a tensor can be read as `kind`."""
        if name in self.graph.weights:
            if kind == FLOAT:
                return name
            self.halves.setdefault(name, f"{name}_fp16")
            return self.halves[name]
        if self.types.get(name, FLOAT) == kind:
            return name
        if (name, kind) not in self.casts:
            cast = f"{name}_{'fp16' if kind == HALF else 'fp32'}"
            self.nodes.append(onnx.helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            self.casts[name, kind] = cast
        return self.casts[name, kind]

    def outputs(self) -> None:
        """Outputs keep their names and float32: what made them writes under another name, and a Cast restores them."""
        for output in self.graph.model.graph.output:
            name, inner = output.name, f"{output.name}_half"
            if self.types.get(name) != HALF:
                continue
            self._rename(name, inner)
            if cast := self.casts.get((name, FLOAT)):
                self._rename(cast, name)
            else:
                self.nodes.append(onnx.helper.make_node("Cast", [inner], [name], name=f"{name}_out", to=FLOAT))

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new

    def weights(self) -> None:
        proto = self.graph.model.graph
        for name, half in self.halves.items():
            value = self.graph.constant(name).astype(np.float16)
            proto.initializer.append(numpy_helper.from_array(value, half))
        used = {name for node in self.nodes for name in node.input} | {o.name for o in proto.output}
        for index in reversed(range(len(proto.initializer))):
            if proto.initializer[index].name not in used:
                del proto.initializer[index]


def _free_slots(node: NodeProto, model: onnx.ModelProto) -> tuple[frozenset[int], frozenset[int]]:
    """Which inputs and outputs of an operator may be float16 as well as float32, from its schema."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if not onnx.defs.has(node.op_type, opset, node.domain):
        return frozenset(), frozenset()  # an operator of somebody else's: float32 is the safe guess
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    free = {
        c.type_param_str
        for c in schema.type_constraints
        if {"tensor(float16)", "tensor(float)"} <= set(c.allowed_type_strs)
    }

    def slots(formal: list[onnx.defs.OpSchema.FormalParameter], count: int) -> frozenset[int]:
        return frozenset(i for i in range(count) if formal[min(i, len(formal) - 1)].type_str in free)

    return slots(list(schema.inputs), len(node.input)), slots(list(schema.outputs), len(node.output))
