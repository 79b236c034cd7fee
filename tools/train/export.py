"""ONNX out of a trained network and back into one.

The graph is written node by node instead of traced: it holds exactly the operators that the builders fuse, every
initialiser carries the name of the parameter it came from, and so the file is also what fine-tuning starts from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, ContractError, InternalError, NoInputError
from cutline.tools.train.networks import CutNet, NetworkShape, fold

__all__ = ["MEAN", "STD", "Graph", "check_parity", "contract_of", "network_from_onnx", "network_to_onnx", "read_onnx"]

OPSET = 17
MEAN, STD = 0.5, 0.5  # of every channel: pixels reach the network as -1..1
_TOLERANCE = 1e-4  # largest difference in alpha between PyTorch and ONNX Runtime


def contract_of(shape: NetworkShape, *, width: int, height: int) -> ModelContract:
    """Describe an exported network to the runtime."""

    def picture(name: str) -> Image:
        return Image(tensor=name, width=width, height=height, mean=(MEAN,) * 3, std=(STD,) * 3)

    return ModelContract(
        task="matte",
        frame=picture("image"),
        plate=picture("plate") if shape.plate else None,
        outputs=(Output(tensor="alpha", meaning="alpha", width=width, height=height),),
    )


def network_to_onnx(network: CutNet, *, width: int, height: int) -> onnx.ModelProto:
    """Write the folded network as ONNX opset 17: float32, batch 1, fixed size.

    Raises:
        ContractError: width or height is no multiple of 32.
    """
    if width % 32 or height % 32:
        raise ContractError("network sides must be multiples of 32", remedy="Use 512x288.", width=width, height=height)
    graph = Graph((fold(network) if network.norm else network).state_dict())
    x = "image"
    if network.shape.plate:
        x = graph.node("Concat", ["image", "plate"], "pair", axis=1)
    x = fine = graph.conv(x, "edge")
    skips = []
    for level, inner in enumerate(_inner(network.shape)):
        x = graph.conv(x, f"down.{level}.0", stride=2)
        for k in range(1, len(inner) + 1):
            y = graph.conv(x, f"down.{level}.{k}.first")
            y = graph.conv(y, f"down.{level}.{k}.second", relu=False)
            x = graph.node("Relu", [graph.node("Add", [x, y], f"down.{level}.{k}.sum")], f"down.{level}.{k}")
        skips.append(x)
    x = graph.conv(x, "bridge")
    for k, skip in enumerate(reversed(skips[:4])):
        x = graph.conv(graph.node("Add", [graph.double(x, f"up.{k}.double"), skip], f"up.{k}.sum"), f"up.{k}")
    x = graph.node("Add", [graph.double(x, "head.double"), fine], "head.sum")
    x = graph.conv(x, "head", relu=False, suffix="")
    graph.node("Sigmoid", [x], "alpha")
    names = ("image", "plate") if network.shape.plate else ("image",)
    return graph.model(inputs=dict.fromkeys(names, (3, height, width)), output=("alpha", (1, height, width)))


def check_parity(model: onnx.ModelProto, network: CutNet, *, seed: int = 0) -> float:
    """Compare ONNX Runtime with PyTorch on a random picture; return the largest difference in alpha.

    Raises:
        InternalError: they differ by more than 1e-4, or one of them gives NaN.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    feeds: dict[str, NDArray[np.float32]] = {
        i.name: random.uniform(-1, 1, i.shape).astype(np.float32) for i in session.get_inputs()
    }
    (found,) = session.run(None, feeds)
    with torch.no_grad():
        wanted = torch.sigmoid(network.eval()(*(torch.from_numpy(feeds[k]) for k in ("image", "plate") if k in feeds)))
    difference = float(np.abs(found - wanted.numpy()).max())
    if not difference <= _TOLERANCE:
        raise InternalError(
            "the exported network differs from the trained one",
            remedy="Report this with the checkpoint.",
            difference=difference,
        )
    return difference


def read_onnx(path: Path) -> onnx.ModelProto:
    """Load and check an ONNX file.

    Raises:
        NoInputError: there is none.
        BadInputError: it is damaged, or no ONNX.
    """
    if not path.is_file():
        raise NoInputError("there is no such model", remedy="Check the path.", path=str(path))
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf, checker and plain errors alike
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"not a usable ONNX model: {reason}", remedy="Export it again.", path=str(path)) from error
    return model


@torch.no_grad()
def network_from_onnx(model: onnx.ModelProto) -> CutNet:
    """Read a network back from its own export, folded, ready to be fine-tuned.

    Raises:
        ContractError: the file holds another network.
    """
    found = {
        i.name: np.array(numpy_helper.to_array(i))
        for i in model.graph.initializer
        if i.name.endswith((".weight", ".bias"))
    }
    try:
        network = CutNet(_shape_of(found), norm=False)
        network.load_state_dict({name: torch.from_numpy(value).float() for name, value in found.items()})
    except (KeyError, RuntimeError, IndexError, ContractError) as error:
        raise ContractError(
            "the model is none that this program trained", remedy="Start from cutout or cutout-plate, or from scratch."
        ) from error
    return network.eval()


def _shape_of(weights: dict[str, NDArray[np.float32]]) -> NetworkShape:
    widths = tuple(int(weights[f"down.{level}.0.0.weight"].shape[0]) for level in range(5))
    inner: list[tuple[int, ...]] = []
    for level in range(5):
        pattern = re.compile(rf"down\.{level}\.(\d+)\.first\.0\.weight")
        ordered = sorted((int(m[1]), name) for name in weights if (m := pattern.fullmatch(name)))
        inner.append(tuple(int(weights[name].shape[0]) for _, name in ordered))
    edge = weights["edge.0.weight"]
    return NetworkShape(
        plate=edge.shape[1] == 6,
        edge=int(edge.shape[0]),
        widths=widths,
        blocks=tuple(len(level) for level in inner),
        inner=tuple(inner),
    )


def _inner(shape: NetworkShape) -> tuple[tuple[int, ...], ...]:
    return shape.inner or tuple((w,) * b for w, b in zip(shape.widths, shape.blocks, strict=True))


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

    def conv(self, x: str, name: str, *, stride: int = 1, relu: bool = True, suffix: str = ".0") -> str:
        weight = self._weights[f"{name}{suffix}.weight"].float().numpy()
        names = [
            self.constant(f"{name}{suffix}.{k}", self._weights[f"{name}{suffix}.{k}"].float().numpy())
            for k in ("weight", "bias")
        ]
        side, pad = weight.shape[2], weight.shape[2] // 2
        y = self.node(
            "Conv",
            [x, *names],
            f"{name}.conv",
            kernel_shape=[side] * 2,
            pads=[pad] * 4,
            strides=[stride] * 2,
            dilations=[1, 1],
            group=1,
        )
        return self.node("Relu", [y], f"{name}.relu") if relu else y

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
