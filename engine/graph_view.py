"""A read-only view of a clean graph: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["CARRIERS", "GraphView", "TensorInfo"]

CARRIERS = frozenset(
    {"Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Slice", "Pad"}
)


class TensorInfo:
    """Name, static shape and ONNX element type of a graph input or output."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self.name = value.name
        self.shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        self.elem_type = value.type.tensor_type.elem_type


class GraphView:
    """Borrows a model and indexes its top-level graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        fed = [value for value in model.graph.input if value.name not in self._constants]
        self.inputs = [TensorInfo(value) for value in fed]
        self.outputs = [TensorInfo(value) for value in model.graph.output]
        self.kinds = {node.op_type for node in model.graph.node}

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Value of an initializer or of a Constant node, None for anything computed."""
        if name in self._constants:
            return np.asarray(numpy_helper.to_array(self._constants[name]))
        node = self.makers.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        return None

    def behind(self, name: str) -> onnx.NodeProto | None:
        """The node that computes a tensor's values: walks back over what only moves or resamples them."""
        node = self.makers.get(name)
        while node is not None and node.op_type in CARRIERS:
            node = self.makers.get(node.input[0])
        return node

    def first_steps(self, name: str, *, limit: int = 8) -> list[onnx.NodeProto]:
        """The chain of single readers that begins at an input."""
        steps: list[onnx.NodeProto] = []
        while len(steps) < limit and len(self.readers[name]) == 1:
            node = self.readers[name][0]
            steps.append(node)
            name = node.output[0]
        return steps

    def ancestors(self, name: str) -> set[str]:
        """Every tensor that a tensor is computed from."""
        seen: set[str] = set()
        todo = [name]
        while todo:
            node = self.makers.get(todo.pop())
            for source in node.input if node is not None else ():
                if source and source not in seen:
                    seen.add(source)
                    todo.append(source)
        return seen
