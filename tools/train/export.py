"""ONNX out of a trained network and back into one.

The graph is written node by node instead of traced: it holds exactly the operators that the builders fuse, every
initialiser carries the name of the parameter it came from, and so the file is also what fine-tuning starts from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, ContractError, InternalError, NoInputError
from cutline.tools.train.encoder import BLOCKS, TAPS, adds
from cutline.tools.train.graph import Graph
from cutline.tools.train.networks import CHANGE, CutNet, NetworkShape, fold

__all__ = ["MEAN", "STD", "check_parity", "contract_of", "network_from_onnx", "network_to_onnx", "read_onnx"]

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
    shape = network.shape
    graph = Graph((fold(network) if network.norm else network).state_dict())
    graph.node("Sigmoid", [_write(graph, shape)], "alpha")
    names = ("image", "plate") if shape.plate else ("image",)
    return graph.model(inputs=dict.fromkeys(names, (3, height, width)), output=("alpha", (1, height, width)))


def _write(graph: Graph, shape: NetworkShape) -> str:
    """CutNet.forward, node by node; returns the name of the logits."""

    def conv(x: str, name: str, **more: Any) -> str:
        return graph.conv(x, name, activation="relu6", **more)

    x = half = conv("image", "encoder.stem", stride=2)
    taps = []
    for number, ((_, stride, _), inner) in enumerate(zip(BLOCKS, shape.inner, strict=True)):
        name = f"encoder.blocks.{number}"
        y = conv(x, f"{name}.expand") if number else x
        y = conv(y, f"{name}.depthwise", stride=stride, groups=inner)
        y = graph.conv(y, f"{name}.project", activation=None)
        x = graph.node("Add", [x, y], name) if adds(number) else y
        taps.append(x)
    x = conv(x, "bridge")
    seen: list[str] = []
    if shape.plate:
        change = [graph.node("Concat", ["image", "plate"], "pair", axis=1)]
        for k in range(len(CHANGE)):
            change.append(conv(change[-1], f"change.{k}", stride=2))
        seen = [graph.conv(y, f"evidence.{k}", activation=None, suffix="") for k, y in enumerate(reversed(change[1:]))]
        x = graph.node("Add", [x, seen[0]], "bridge.sum")
    for k in range(2):
        x = graph.node("Add", [x, conv(x, f"context.{k}")], f"context.{k}")
    for k, tap in enumerate((*(taps[number] for number in TAPS), half)):
        x = graph.node("Add", [graph.double(x, f"up.{k}.double"), conv(tap, f"skip.{k}")], f"up.{k}.sum")
        x = graph.node("Add", [x, seen[k + 1]], f"up.{k}.seen") if seen else x
        x = conv(x, f"up.{k}")
    x = graph.conv(conv(x, "fine"), "head", activation=None, suffix="")
    return graph.node("DepthToSpace", [x], "logits", blocksize=2, mode="CRD")


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
    decoder = ("bridge.0.weight", *(f"up.{level}.0.weight" for level in range(4)))
    return NetworkShape(
        plate="change.0.0.weight" in weights,
        inner=tuple(_channels(weights, f"encoder.blocks.{number}.depthwise.0.weight") for number in range(len(BLOCKS))),
        decoder=tuple(_channels(weights, name) for name in decoder),
        head=_channels(weights, "fine.0.weight"),
    )


def _channels(weights: dict[str, NDArray[np.float32]], name: str) -> int:
    return int(weights[name].shape[0])
