"""Which layers run in INT8, which tensors carry Q/DQ, which share one scale, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import onnx
from onnx import NodeProto

from cutline.calibration.graph import Graph
from cutline.runtime.errors import UsageError

__all__ = ["POLICIES", "Placement", "Policy", "Precision", "place"]

Precision = Literal["int8", "fp16", "fp32"]

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})  # do the arithmetic, have weights
ACTIVATIONS = frozenset({"Relu", "Clip"})  # fuse into the layer before them, so Q comes after them
CARRIERS = frozenset({"Resize", "Concat", "MaxPool"})  # add no arithmetic: their output lies within their inputs' range

MOVERS = frozenset(  # give back what they read, or averages of it
    {"AveragePool", "DepthToSpace", "Flatten", "GlobalAveragePool", "Identity", "MaxPool", "Reshape", "Resize", "Slice"}
    | {"SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a target's INT8 kernels are good at. `reasons` says why for each rule that differs from `shared`."""

    name: str
    min_channels: int = 16  # layers with fewer channels in or out stay in float: INT8 kernels pad them to 16 or 32
    keep_last: int = 1  # so many layers before each output stay in float: their error reaches the matte unfiltered
    depthwise: bool = False  # quantise depthwise convolutions
    transposed: bool = False  # quantise transposed convolutions
    resize: bool = True  # carry INT8 through Resize when both neighbours are INT8
    unsigned: bool = False  # uint8 for tensors that cannot be negative: 256 levels instead of 128
    signed_concat: bool = True  # quantise layers that read a concatenation which may be negative
    reasons: tuple[str, ...] = ()


POLICIES: Mapping[str, Policy] = {
    "shared": Policy(name="shared"),  # TensorRT and TensorRT for RTX
    "openvino": Policy(
        name="openvino",
        depthwise=True,
        unsigned=True,
        signed_concat=False,
        reasons=(
            "between INT8 layers a depthwise convolution in INT8 saves two conversions: 4 % of an EfficientNet-Lite",
            "x86 multiplies uint8 by int8, so that what follows a ReLU keeps all 256 levels; TensorRT has no uint8 and "
            "would read such a graph as int8, at half its range, with a warning only",
            "OpenVINO 2026.4 loses the zero-point of int8 data behind Concat and computes nonsense; uint8 is right",
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Borrows nothing: names only.

    layers: precision of every layer with weights, in graph order
    reasons: why, for the same layers and for carriers and residual additions that were considered
    edges: (node, input index) pairs that read the quantised tensor instead of the float one
    groups: tensor to the name of its scale group; tensors of one group share one scale
    unsigned: those of `groups` that are uint8; the others are int8
    """

    policy: str
    layers: dict[str, Precision]
    reasons: dict[str, str]
    edges: frozenset[tuple[str, int]]
    groups: dict[str, str]
    unsigned: frozenset[str] = frozenset()

    @property
    def int8(self) -> tuple[str, ...]:
        """Layers that run in INT8."""
        return tuple(name for name, precision in self.layers.items() if precision == "int8")


def layer_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Every node that has weights and does arithmetic, in graph order: the unit of precision and of sensitivity."""
    graph = Graph(model)
    return tuple(n.name for n in model.graph.node if _weight_input(graph, n) is not None)


def place(model: onnx.ModelProto, policy: Policy, *, keep: Mapping[str, Precision] | None = None) -> Placement:
    """Decide the precision of every layer and where Q/DQ pairs go.

    Args:
        model: normalised (graph.normalise).
        policy: the target's rules.
        keep: layers whose precision is already decided, by node name; "int8" overrides the policy's rules.
    Raises:
        UsageError: `keep` names a layer that the model does not have.
    """
    graph, keep = Graph(model), dict(keep or {})
    names = [n.name for n in model.graph.node if _weight_input(graph, n) is not None]
    if unknown := sorted(set(keep) - set(names)):
        raise UsageError("no such layer", remedy="Name layers as `cutline inspect` lists them.", layers=unknown[:4])
    positive = _never_negative(graph)
    work = _Work(graph, policy)
    last = _last_layers(graph, names, policy.keep_last)
    for name in names:
        if name in keep:
            work.layers[name], work.reasons[name] = keep[name], f"{keep[name]}: asked for"
            continue
        against = _why_not(graph, graph.nodes[name], policy, last, positive)
        work.layers[name] = "fp16" if against else "int8"
        work.reasons[name] = f"fp16: {against}" if against else "int8: quantised input and per-channel weights"
    work.carry()
    work.residuals()
    groups = work.group_names()
    return Placement(
        policy=policy.name,
        layers=work.layers,
        reasons=work.reasons,
        edges=frozenset(work.edges),
        groups=groups,
        unsigned=_unsigned(groups, positive) if policy.unsigned else frozenset(),
    )


@dataclass(slots=True)
class _Work:
    graph: Graph
    policy: Policy
    layers: dict[str, Precision] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    edges: set[tuple[str, int]] = field(default_factory=set)
    parents: dict[str, str] = field(default_factory=dict)  # union-find over tensors that share a scale

    def carry(self) -> None:
        """Quantise the input of each INT8 layer, then carriers from the outputs backwards."""
        for name, precision in self.layers.items():
            if precision == "int8":
                self.edges.add((name, 0))
        for node in reversed(self.graph.model.graph.node):
            if node.op_type in CARRIERS and self.graph.is_float(node.output[0]):
                self._carrier(node)

    def _carrier(self, node: NodeProto) -> None:
        out = node.output[0]
        if against := self._carrier_against(node):
            self.reasons[node.name] = f"fp16: {against}"
            return
        self.reasons[node.name] = "int8: what reads it and what feeds it are INT8; one scale for its inputs and output"
        for index, tensor in _data_inputs(node):
            self.edges.add((node.name, index))
            self._join(tensor, out)

    def _carrier_against(self, node: NodeProto) -> str:
        readers = self.graph.consumers.get(node.output[0], [])
        if node.output[0] in self.graph.outputs or not readers:
            return "its result leaves the network"
        for reader in readers:
            if any((reader.name, i) not in self.edges for i, t in enumerate(reader.input) if t == node.output[0]):
                return f"{reader.name} reads it in float"
        if any(not _varies(self.graph, t) for _, t in _data_inputs(node)):
            return "one of its inputs is constant"
        if node.op_type == "Resize" and not self.policy.resize:
            return "this target resizes faster in float"
        if node.op_type != "Concat" and not self._source_is_int8(node.input[0]):
            return "what feeds it is not INT8, so Q comes after it"
        return ""

    def _source_is_int8(self, tensor: str) -> bool:
        node = self.graph.producer.get(tensor)
        while node is not None and node.op_type in ACTIVATIONS | (CARRIERS - {"Concat"}):
            node = self.graph.producer.get(node.input[0])
        if node is None:
            return False
        fused = (
            node.op_type == "Add" and all(_varies(self.graph, t) for t in node.input) and self._branch(node) is not None
        )
        return fused or node.op_type == "Concat" or self.layers.get(node.name) == "int8"

    def residuals(self) -> None:
        """Of an addition that ends in INT8, quantise the skip; the convolution's branch goes in unrounded and fuses."""
        for node in self.graph.model.graph.node:
            if node.op_type != "Add" or any(not _varies(self.graph, t) for t in node.input):
                continue
            branch = self._branch(node)
            if branch is None or not self._ends_in_int8(node):
                continue
            skip = 1 - branch
            self.edges.add((node.name, skip))
            self.reasons[node.name] = f"int8: input {skip} is the skip; input {branch} fuses with the addition"

    def _branch(self, add: NodeProto) -> int | None:
        """Which input comes straight from an INT8 layer that feeds nothing else; the later one if both do."""
        found = []
        for index, tensor in enumerate(add.input):
            node = self.graph.producer.get(tensor)
            alone = len(self.graph.consumers[tensor]) == 1 and tensor not in self.graph.outputs
            if node is not None and alone and self.layers.get(node.name) == "int8":
                found.append((self.graph.order[node.name], index))
        return max(found)[1] if found and add.input[0] != add.input[1] else None

    def _ends_in_int8(self, node: NodeProto) -> bool:
        tensor = node.output[0]
        while True:
            readers = self.graph.consumers.get(tensor, [])
            if any((r.name, i) in self.edges for r in readers for i, t in enumerate(r.input) if t == tensor):
                return True
            if len(readers) != 1 or readers[0].op_type not in ACTIVATIONS:
                return False
            tensor = readers[0].output[0]

    def _root(self, tensor: str) -> str:
        while (parent := self.parents.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def _join(self, one: str, other: str) -> None:
        self.parents[self._root(one)] = self._root(other)

    def group_names(self) -> dict[str, str]:
        tensors = dict.fromkeys(self.graph.nodes[name].input[index] for name, index in sorted(self.edges))
        return {tensor: self._root(tensor) for tensor in tensors}


def _why_not(graph: Graph, node: NodeProto, policy: Policy, last: frozenset[str], positive: Collection[str]) -> str:
    """One reason against INT8, empty when there is none."""
    weight = graph.shape(node.input[_weight_input(graph, node) or 1])
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    inputs, outputs = _channels(node, weight, groups)
    if node.name in last:
        return f"one of the last {policy.keep_last} before an output, its error would reach the matte unfiltered"
    if groups > 1 and weight[1] == 1:
        if not policy.depthwise:
            return "depthwise: too little arithmetic per value for INT8 to win"
    elif node.op_type == "ConvTranspose" and not policy.transposed:
        return "transposed convolution: few INT8 kernels"
    elif node.op_type == "ConvTranspose" and groups > 1:
        return "grouped transposed convolution: its weights have no single channel axis"
    if min(inputs, outputs) < policy.min_channels:
        return f"{inputs} channels in, {outputs} out, fewer than {policy.min_channels}"
    if not _varies(graph, node.input[0]):
        return "its input is constant"
    if not policy.signed_concat and node.input[0] not in positive and _joined(graph, node.input[0]):
        return "reads a concatenation that may be negative, which this target computes wrongly in INT8"
    if _positions(graph, node) == 1:
        return "one position only, nothing to win"
    return ""


def _weight_input(graph: Graph, node: NodeProto) -> int | None:
    """Index of the constant weight, None when the node is no layer."""
    if node.op_type not in LAYERS or node.domain not in ("", "ai.onnx") or len(node.input) < 2:
        return None
    return 1 if node.input[1] in graph.weights and graph.is_float(node.input[1]) else None


def weight_axis(node: NodeProto) -> int:
    """Axis of a layer's weight that counts output channels."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return -1 if node.op_type == "MatMul" else 0


def _channels(node: NodeProto, weight: tuple[int, ...], groups: int) -> tuple[int, int]:
    """Channels in and out, per group where grouped but not depthwise."""
    if node.op_type == "Conv":
        if weight[1] == 1 and groups > 1:
            return weight[0], weight[0]
        return weight[1], weight[0] // groups
    if node.op_type == "ConvTranspose":
        return weight[0] // groups, weight[1]
    rows, columns = weight[-2], weight[-1]
    return (columns, rows) if weight_axis(node) == 0 else (rows, columns)


def _positions(graph: Graph, node: NodeProto) -> int:
    shape = graph.shape(node.output[0])
    return prod(shape[2:]) if node.op_type in ("Conv", "ConvTranspose") else prod(shape[:-1])


def _last_layers(graph: Graph, names: list[str], count: int) -> frozenset[str]:
    """The layers that have fewer than `count` layers between them and some output, walking back from each."""
    found: set[str] = set()
    front = [(tensor, count) for tensor in graph.outputs]
    seen: dict[str, int] = {}
    layers = set(names)
    while front:
        tensor, left = front.pop()
        node = graph.producer.get(tensor)
        if left == 0 or node is None or seen.get(tensor, 0) >= left:
            continue
        seen[tensor] = left
        if node.name in layers:
            found.add(node.name)
            left -= 1
        front += [(name, left) for name in node.input if name in graph.producer]
    return frozenset(found)


def _joined(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is a concatenation, or one that was only moved about since."""
    node = graph.producer.get(tensor)
    while node is not None and node.op_type in MOVERS:
        node = graph.producer.get(node.input[0])
    return node is not None and node.op_type == "Concat"


def _never_negative(graph: Graph) -> set[str]:
    """Tensors that no input can make negative, as the operators before them show."""
    positive: set[str] = set()
    for node in graph.model.graph.node:
        if _makes_positive(graph, node, positive):
            positive.update(node.output)
    return positive


def _unsigned(groups: Mapping[str, str], positive: Collection[str]) -> frozenset[str]:
    """Tensors of scale groups in which nothing can be negative."""
    mixed = {group for tensor, group in groups.items() if tensor not in positive}
    return frozenset(tensor for tensor, group in groups.items() if group not in mixed)


def _makes_positive(graph: Graph, node: NodeProto, positive: set[str]) -> bool:
    if node.op_type in ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs"):
        return True
    if node.op_type == "Clip" and len(node.input) > 1 and node.input[1] in graph.weights:
        return bool(graph.constant(node.input[1]).min() >= 0)
    if node.op_type == "Resize" and any(a.name == "mode" and a.s == b"cubic" for a in node.attribute):
        return False
    if node.op_type in MOVERS:
        return node.input[0] in positive
    return node.op_type in ("Add", "Mul", "Concat") and all(name in positive for name in node.input)


def _data_inputs(node: NodeProto) -> list[tuple[int, str]]:
    """Inputs that hold the values which a carrier passes on."""
    wanted = range(len(node.input)) if node.op_type == "Concat" else range(1)
    return [(i, node.input[i]) for i in wanted]


def _varies(graph: Graph, tensor: str) -> bool:
    return tensor in graph.producer or tensor in graph.inputs
