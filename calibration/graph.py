"""ONNX graphs as calibration needs them: one opset, named nodes, no Constant nodes, look-up by tensor name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import onnx
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper, version_converter

from cutline.runtime.errors import BadInputError, InternalError

__all__ = ["OPSET", "Graph", "drop_notes", "model_digest", "normalise", "sort_nodes"]

OPSET = 19  # the first whose QuantizeLinear takes float16 scales; TensorRT 10.3 and OpenVINO 2025.1 read it
IR_VERSION = 9  # the IR version that belongs to opset 19

FLOAT = TensorProto.FLOAT


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model into the form that every function of this package expects; its results do not change.

    Opset at least 19, every node named once, Constant nodes turned into initialisers, no initialiser listed among the
    inputs, shapes inferred, no docs and no metadata.

    Raises:
        BadInputError: the model has control flow, its opset cannot be raised, or its shapes contradict each other.
    """
    model = _raise_opset(model)
    graph = model.graph
    for node in graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise BadInputError(
                "control flow cannot be given types",
                remedy="Fold the branch or loop before exporting the model.",
                node=node.name,
                operator=node.op_type,
            )
    _constants_to_initialisers(graph)
    weights = {w.name for w in graph.initializer}
    _keep(graph.input, [i for i in graph.input if i.name not in weights])
    _name_nodes(graph.node)
    drop_notes(model)
    del graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise BadInputError(
            f"the shapes of the model contradict each other: {reason}", remedy="Export the model again."
        ) from error


def drop_notes(message: Message) -> None:
    """Remove docs and metadata in place, at every depth.

    Models travel in bundles, and exporters write the source lines and paths of their machine there.
    """
    for field in message.DESCRIPTOR.fields:
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:  # other fields are not touched: reading raw_data would copy the weights
            value = getattr(message, field.name)
            if not isinstance(value, Message):
                for inner in value:
                    drop_notes(inner)
            elif message.HasField(field.name):
                drop_notes(value)


def model_digest(model: onnx.ModelProto) -> str:
    """Hex SHA-256 of everything that decides what the model computes; docs and producer names are left out."""
    digest = hashlib.sha256()
    for opset in sorted(model.opset_import, key=lambda o: o.domain):
        digest.update(f"{opset.domain}:{opset.version};".encode())
    graph = model.graph
    for part in (graph.input, graph.output, graph.node, graph.initializer):
        for item in part:
            digest.update(item.SerializeToString(deterministic=True))
        digest.update(b"|")
    return digest.hexdigest()


class Graph:
    """Borrows a normalised model and finds things in it by tensor name. Stale once the model changes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes: dict[str, NodeProto] = {n.name: n for n in graph.node}
        self.order: dict[str, int] = {n.name: i for i, n in enumerate(graph.node)}
        self.producer: dict[str, NodeProto] = {o: n for n in graph.node for o in n.output if o}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        self.weights: dict[str, TensorProto] = {w.name: w for w in graph.initializer}
        self.inputs = frozenset(i.name for i in graph.input)
        self.outputs = frozenset(o.name for o in graph.output)
        self._types = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Static shape of a tensor.

        Raises:
            BadInputError: the shape is unknown or not fixed.
        """
        if tensor in self.weights:
            return tuple(self.weights[tensor].dims)
        kind = self._types.get(tensor)
        dims = tuple(d.dim_value for d in kind.shape.dim) if kind is not None and kind.HasField("shape") else (0,)
        if any(d <= 0 for d in dims):
            raise BadInputError(
                "a tensor has no fixed shape", remedy="Freeze the model's shapes before calibrating it.", tensor=tensor
            )
        return dims

    def is_float(self, tensor: str) -> bool:
        """Whether a tensor holds float32."""
        if tensor in self.weights:
            return bool(self.weights[tensor].data_type == FLOAT)
        return tensor in self._types and bool(self._types[tensor].elem_type == FLOAT)

    def constant(self, tensor: str) -> NDArray[np.generic]:
        """The value of an initialiser."""
        return numpy_helper.to_array(self.weights[tensor])

    def activations(self) -> tuple[str, ...]:
        """Every float32 tensor that depends on the inputs, inputs first, then in node order."""
        inputs = [i.name for i in self.model.graph.input if self.is_float(i.name)]
        return (*inputs, *(o for n in self.model.graph.node for o in n.output if o and self.is_float(o)))


def sort_nodes(nodes: Iterable[NodeProto], known: Iterable[str]) -> list[NodeProto]:
    """Order nodes so that each comes after what it reads; nodes that could come next keep their given order.

    Raises:
        InternalError: a node reads something that nothing makes.
    """
    have, waiting, ordered = {"", *known}, list(nodes), []
    while waiting:
        later = []
        for node in waiting:
            if all(name in have for name in node.input):
                ordered.append(node)
                have.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            missing = [name for name in later[0].input if name not in have]
            raise InternalError("graph cannot be ordered", remedy="Report this model.", missing=missing)
        waiting = later
    return ordered


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset >= OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
    else:
        try:
            copy = version_converter.convert_version(model, OPSET)
        except (RuntimeError, onnx.checker.ValidationError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise BadInputError(
                f"the model's opset cannot be raised: {reason}",
                remedy=f"Export the model again with opset {OPSET} or newer.",
                opset=opset,
            ) from error
    copy.ir_version = max(copy.ir_version, IR_VERSION)
    return copy


def _constants_to_initialisers(graph: onnx.GraphProto) -> None:
    nodes = []
    for node in graph.node:
        if node.op_type != "Constant" or node.domain:
            nodes.append(node)
            continue
        attribute = node.attribute[0]
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        elif attribute.name in ("value_float", "value_floats"):
            tensor = numpy_helper.from_array(np.asarray(value, np.float32), node.output[0])
        elif attribute.name in ("value_int", "value_ints"):
            tensor = numpy_helper.from_array(np.asarray(value, np.int64), node.output[0])
        else:
            raise BadInputError(
                "a constant is neither dense nor numeric", remedy="Export it as a tensor.", node=node.name
            )
        graph.initializer.append(tensor)
    _keep(graph.node, nodes)


def _name_nodes(nodes: Iterable[NodeProto]) -> None:
    taken: set[str] = set()
    for index, node in enumerate(nodes):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name = f"{name}_{index}"
        node.name = name
        taken.add(name)


def _keep(field: object, wanted: list[object] | list[NodeProto] | list[onnx.ValueInfoProto]) -> None:
    """Replace the contents of a repeated protobuf field."""
    copies = [type(item)() for item in wanted]
    for copy, item in zip(copies, wanted, strict=True):
        copy.CopyFrom(item)  # type: ignore[attr-defined]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
