"""The style networks: RGB in, a restyled picture out.

Convolution, ReLU, add and bilinear doubling only, channels in multiples of 8 inside. No normalisation layer: the
residual blocks start as identities and the whole network starts as one (its last layer is added to the picture), so it
trains without, and nothing has to be folded or measured at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import ContractError, InternalError
from cutline.tools.train.export import MEAN, STD
from cutline.tools.train.graph import Graph
from cutline.tools.train.style_canvas import CHANNELS, draw_canvas

__all__ = [
    "StyleNet",
    "StyleShape",
    "check_style_parity",
    "style_contract",
    "style_from_onnx",
    "style_macs",
    "style_to_onnx",
]

_TOLERANCE = 1e-3  # largest difference between PyTorch and ONNX Runtime, of values in -1..1
_MULTIPLE = 8  # sides are halved three times


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleShape:
    """Channels at 1/1, 1/2, 1/4 and 1/8 of the picture, and residual blocks at 1/8."""

    widths: tuple[int, int, int, int] = (8, 16, 24, 48)
    blocks: int = 3

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or any(c <= 0 or c % 8 for c in self.widths) or self.blocks < 0:
            raise ContractError(
                "a style network needs four levels, with channels in multiples of 8",
                remedy="Correct widths and blocks.",
                widths=self.widths,
                blocks=self.blocks,
            )


class StyleNet(nn.Module):
    """Three halvings, residual blocks, three doublings with added skips; the canvas comes in at half size."""

    def __init__(self, shape: StyleShape) -> None:
        super().__init__()
        self.shape = shape
        full, half, quarter, eighth = shape.widths
        self.edge = nn.Conv2d(3, full, 3, 1, 1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, 1) for a, b in ((full, half), (half, quarter), (quarter, eighth))
        )
        self.first = nn.ModuleList(nn.Conv2d(eighth, eighth, 3, 1, 1) for _ in range(shape.blocks))
        self.second = nn.ModuleList(nn.Conv2d(eighth, eighth, 3, 1, 1) for _ in range(shape.blocks))
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in ((eighth, quarter), (quarter, half), (half, full)))
        self.canvas = nn.Conv2d(CHANNELS, full, 1, bias=False)
        self.mix = nn.Conv2d(full, full, 3, 1, 1)
        self.head = nn.Conv2d(full, 3, 3, 1, 1)
        nn.init.zeros_(self.canvas.weight)
        for last in (*self.second, self.head):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, image: Tensor, canvas: Tensor) -> Tensor:
        """Restyle pictures.

        Args:
            image: float[N, 3, H, W], normalised; H and W are multiples of 8.
            canvas: float[1 or N, 8, H / 2, W / 2], from draw_canvas.
        Returns:
            float[N, 3, H, W] in the same normalisation, not clipped.
        """
        x = fine = torch.relu(self.edge(image))
        skips = []
        for conv in self.down:
            x = torch.relu(conv(x))
            skips.append(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = torch.relu(x + second(torch.relu(first(x))))
        x = torch.relu(self.up[0](_double(x)) + skips[1])
        x = torch.relu(self.up[1](_double(x)) + skips[0])
        x = self.up[2](x) + self.canvas(canvas)
        x = torch.relu(self.mix(torch.relu(_double(x) + fine)))
        out: Tensor = image + self.head(x)
        return out


def style_contract(width: int, height: int) -> ModelContract:
    """Describe an exported style network to the runtime."""
    image = Image(tensor="image", width=width, height=height, mean=(MEAN,) * 3, std=(STD,) * 3)
    picture = Output(tensor="picture", meaning="picture", width=width, height=height, channels=3)
    return ModelContract(task="style", frame=image, outputs=(picture,))


@torch.no_grad()
def style_to_onnx(network: StyleNet, *, width: int, height: int) -> onnx.ModelProto:
    """Write the network as ONNX opset 17: float32, batch 1, fixed size, the canvas already multiplied out.

    Raises:
        ContractError: width or height is no multiple of 8.
    """
    _check_sides(width, height)
    graph = Graph(network.state_dict())
    still = network.canvas(torch.from_numpy(draw_canvas(width, height))[None])
    canvas = graph.constant("canvas", still.numpy())
    x = fine = graph.conv("image", "edge", suffix="")
    skips = []
    for level in range(3):
        x = graph.conv(x, f"down.{level}", stride=2, suffix="")
        skips.append(x)
    for k in range(network.shape.blocks):
        y = graph.conv(graph.conv(x, f"first.{k}", suffix=""), f"second.{k}", activation=None, suffix="")
        x = graph.node("Relu", [graph.node("Add", [x, y], f"block.{k}.sum")], f"block.{k}")
    for k in range(2):
        y = graph.conv(graph.double(x, f"up.{k}.double"), f"up.{k}", activation=None, suffix="")
        x = graph.node("Relu", [graph.node("Add", [y, skips[1 - k]], f"up.{k}.sum")], f"up.{k}.relu")
    x = graph.node("Add", [graph.conv(x, "up.2", activation=None, suffix=""), canvas], "up.2.sum")
    x = graph.node("Add", [graph.double(x, "up.2.double"), fine], "fine.sum")
    x = graph.conv(graph.node("Relu", [x], "fine.relu"), "mix", suffix="")
    graph.node("Add", [graph.conv(x, "head", activation=None, suffix=""), "image"], "picture")
    return graph.model(inputs={"image": (3, height, width)}, output=("picture", (3, height, width)))


def check_style_parity(model: onnx.ModelProto, network: StyleNet) -> float:
    """Compare ONNX Runtime with PyTorch on a random picture; return the largest difference in tensor values.

    Raises:
        InternalError: they differ by more than 1e-3 of a half range, or one of them gives NaN.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (height, width) = session.get_inputs()[0].shape[2:]
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
    (found,) = session.run(None, {"image": picture})
    with torch.no_grad():
        canvas = torch.from_numpy(draw_canvas(width, height))[None]
        wanted = network.eval()(torch.from_numpy(picture), canvas).numpy()
    difference = float(np.abs(found - wanted).max())
    if not difference <= _TOLERANCE:
        raise InternalError(
            "the exported network differs from the trained one",
            remedy="Report this with the checkpoint.",
            difference=difference,
        )
    return difference


@torch.no_grad()
def style_from_onnx(model: onnx.ModelProto) -> StyleNet:
    """Read a network back from its own export, at whatever size, to start another style from.

    Raises:
        ContractError: the file holds another network.
    """
    found = {i.name: np.array(numpy_helper.to_array(i), np.float32) for i in model.graph.initializer}
    try:
        still = found.pop("canvas")[0]
        full = still.shape[0]
        canvas = draw_canvas(2 * still.shape[2], 2 * still.shape[1]).reshape(CHANNELS, -1)
        mixture = np.linalg.lstsq(canvas.T, still.reshape(full, -1).T, rcond=None)[0].T
        found["canvas.weight"] = np.ascontiguousarray(mixture[:, :, None, None], np.float32)
        widths = (full, *(found[f"down.{level}.weight"].shape[0] for level in range(3)))
        blocks = sum(name.startswith("first.") and name.endswith(".weight") for name in found)
        network = StyleNet(StyleShape(widths=widths, blocks=blocks))
        names = network.state_dict().keys()
        network.load_state_dict({name: torch.from_numpy(found[name]) for name in names})
    except (KeyError, IndexError, ValueError, RuntimeError, np.linalg.LinAlgError, ContractError) as error:
        raise ContractError(
            "the model is no style that this program trained", remedy="Start from ink, poster or oil, or from scratch."
        ) from error
    return network.eval()


@torch.no_grad()
def style_macs(network: StyleNet, width: int, height: int) -> int:
    """Count the multiply-adds of all convolutions for one picture; the canvas is multiplied out at export."""
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m is not network.canvas]
    hooks = [m.register_forward_hook(count) for m in convolutions]
    network(torch.zeros(1, 3, height, width), torch.zeros(1, CHANNELS, height // 2, width // 2))
    for hook in hooks:
        hook.remove()
    return total


def _check_sides(width: int, height: int) -> None:
    if width % _MULTIPLE or height % _MULTIPLE or min(width, height) < 32:
        raise ContractError(
            "a style network's sides must be multiples of 8, 32 at least",
            remedy="Use 512x288.",
            width=width,
            height=height,
        )


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
