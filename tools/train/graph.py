"""An ONNX graph, written node by node: every initialiser carries the name of the parameter it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Graph"]

OPSET = 17


class Graph:
    """Owns the nodes and initialisers of the graph that is being written; borrows the weights, by name."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        if all(name != c.name for c in self._constants):
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(
        self,
        x: str,
        name: str,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = "relu",
        suffix: str = ".0",
    ) -> str:
        """A convolution with the parameters `name` + `suffix` and its activation: "relu", "relu6" or none."""
        values = {
            f"{name}{suffix}.{k}": self._weights[f"{name}{suffix}.{k}"].float().numpy() for k in ("weight", "bias")
        }
        names = [self.constant(full, value) for full, value in values.items()]
        side = values[names[0]].shape[2]
        y = self.node(
            "Conv",
            [x, *names],
            f"{name}.conv",
            kernel_shape=[side] * 2,
            pads=[side // 2] * 4,
            strides=[stride] * 2,
            dilations=[1, 1],
            group=groups,
        )
        if activation == "relu6":
            limits = [self.constant(n, np.array(v, np.float32)) for n, v in (("zero", 0), ("six", 6))]
            return self.node("Clip", [y, *limits], f"{name}.relu6")
        return self.node("Relu", [y], f"{name}.relu") if activation else y

    def double(self, x: str, name: str) -> str:
        scales = self.constant("double", np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", [x, "", scales], name, mode="linear", coordinate_transformation_mode="half_pixel")

    def model(self, inputs: dict[str, tuple[int, ...]], output: tuple[str, tuple[int, ...]]) -> onnx.ModelProto:
        """Close the graph: shapes by name, without the batch of 1."""

        def value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])

        named = [value(name, shape) for name, shape in inputs.items()]
        graph = helper.make_graph(self._nodes, "cutline", named, [value(*output)], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cutline", ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model
