"""The cut-out networks: RGB, or RGB and a clean plate, in; one logit per pixel out.

Convolution, ReLU, add, concatenation (of the two inputs) and bilinear doubling only, channels in multiples of 8, so
that every layer quantises and fuses on OpenVINO and TensorRT. Most of the work is done at 1/4 to 1/32 of the picture;
the decoder adds skips instead of concatenating them, and one thin layer at full size keeps the edges where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutline.runtime.errors import ContractError, UsageError

__all__ = ["PRESETS", "CutNet", "NetworkShape", "fold", "make_network", "multiply_adds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """How wide and how deep a CutNet is; `widths` and `blocks` go from 1/2 to 1/32 of the picture."""

    plate: bool
    edge: int = 8  # channels at full size
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    blocks: tuple[int, ...] = (0, 1, 1, 2, 2)  # residual blocks after each halving
    inner: tuple[tuple[int, ...], ...] | None = None  # channels inside each residual block where pruning narrowed them

    def __post_init__(self) -> None:
        wide = [self.edge, *self.widths, *(c for level in self.inner or () for c in level)]
        if len(self.widths) != 5 or len(self.blocks) != 5 or any(c <= 0 or c % 8 for c in wide):
            raise ContractError(
                "a network needs five levels, with channels in multiples of 8",
                remedy="Correct widths and blocks.",
                widths=self.widths,
                blocks=self.blocks,
            )


PRESETS: dict[str, NetworkShape] = {
    "cutout": NetworkShape(plate=False),
    "cutout-plate": NetworkShape(plate=True),
}


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), batch-normalised."""

    def __init__(self, channels: int, inner: int, norm: bool) -> None:
        super().__init__()
        self.first = _conv(channels, inner, norm)
        self.second = _conv(inner, channels, norm)[:2]

    def forward(self, x: Tensor) -> Tensor:
        """float[N, C, h, w] in and out."""
        return torch.relu(x + self.second(self.first(x)))


class CutNet(nn.Module):
    """An encoder of five halvings and a decoder of five doublings with added skips.

    With `norm` every convolution has batch normalisation, as training from scratch needs it; without, a bias: the
    folded form, which is exported, read back and fine-tuned. Both have the same names for the same convolutions.
    """

    def __init__(self, shape: NetworkShape, *, norm: bool = True) -> None:
        super().__init__()
        self.shape, self.norm = shape, norm
        widths = shape.widths
        self.edge = _conv(6 if shape.plate else 3, shape.edge, norm)
        self.down = nn.ModuleList()
        before = shape.edge
        for level, (width, blocks) in enumerate(zip(widths, shape.blocks, strict=True)):
            inner = shape.inner[level] if shape.inner else (width,) * blocks
            self.down.append(
                nn.Sequential(_conv(before, width, norm, stride=2), *(Block(width, c, norm) for c in inner))
            )
            before = width
        self.bridge = _conv(widths[4], widths[3], norm, size=1)
        narrower = (widths[2], widths[1], widths[0], shape.edge)
        self.up = nn.ModuleList(_conv(a, b, norm) for a, b in zip(reversed(widths[:4]), narrower, strict=True))
        self.head = nn.Conv2d(shape.edge, 1, 3, 1, 1)
        self._initialise()

    def forward(self, image: Tensor, plate: Tensor | None = None) -> Tensor:
        """Logits float[N, 1, H, W] from normalised pictures float[N, 3, H, W]; H and W are multiples of 32."""
        x = fine = self.edge(image if plate is None else torch.cat([image, plate], 1))
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        x = self.bridge(x)
        for stage, skip in zip(self.up, reversed(skips[:4]), strict=True):
            x = stage(_double(x) + skip)
        logits: Tensor = self.head(_double(x) + fine)
        return logits

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start half of a plate network's edge filters as differences between frame and plate."""
        nn.init.constant_(self.head.bias, -2.0)  # most pixels are background
        if self.shape.plate:
            kernel = self.edge[0].weight
            half = kernel.shape[0] // 2
            kernel[:half, 3:] = -kernel[:half, :3]


def make_network(name: str) -> CutNet:
    """Build one of the shipped networks, untrained.

    Raises:
        UsageError: no network has that name.
    """
    if name not in PRESETS:
        raise UsageError("no network has that name", remedy=f"Use one of {', '.join(PRESETS)}.", name=name)
    return CutNet(PRESETS[name])


@torch.no_grad()
def fold(network: CutNet) -> CutNet:
    """Return the same function without batch normalisation: its scale and shift move into weights and biases."""
    folded = CutNet(network.shape, norm=False)
    source, target = dict(network.named_modules()), dict(folded.named_modules())
    for name, layer in target.items():
        if not isinstance(layer, nn.Conv2d) or layer.bias is None:
            continue
        conv, norm = source[name], source.get(name[:-1] + "1") if name.endswith(".0") else None
        layer.weight.copy_(conv.weight)
        if isinstance(norm, nn.BatchNorm2d):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(scale[:, None, None, None])
            layer.bias.copy_(norm.bias - norm.running_mean * scale)
        else:
            layer.bias.copy_(conv.bias)
    return folded.eval()


@torch.no_grad()
def multiply_adds(network: CutNet, width: int, height: int) -> int:
    """Count the multiply-adds of all convolutions for one picture; twice this is the operations."""
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    mode = network.training
    picture = torch.zeros(1, 3, height, width)
    network.eval()(picture, picture if network.shape.plate else None)
    network.train(mode)
    for hook in hooks:
        hook.remove()
    return total


def _conv(inputs: int, outputs: int, norm: bool, *, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=not norm),
        nn.BatchNorm2d(outputs) if norm else nn.Identity(),
        nn.ReLU(inplace=True),
    )


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
