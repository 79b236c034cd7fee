"""CutNet: RGB and a clean plate (or RGB alone) in, one logit per pixel out; small enough to learn from nothing.

Convolution, ReLU, add, concatenation (of the two inputs) and bilinear doubling only, channels in multiples of 8, so
that every layer quantises and fuses on OpenVINO and TensorRT. Most of the work is done at 1/4 to 1/32 of the picture;
the decoder adds skips instead of concatenating them, and one thin layer at full size keeps the edges where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cutline.runtime.errors import ContractError
from cutline.tools.train.layers import ChannelGroup, convolution, double

__all__ = ["CutNet", "CutShape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutShape:
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

    @property
    def inside(self) -> tuple[tuple[int, ...], ...]:
        """Channels inside each residual block, level by level."""
        return self.inner or tuple((w,) * b for w, b in zip(self.widths, self.blocks, strict=True))

    def groups(self) -> Iterator[ChannelGroup]:
        """Every group of channels: each level's trunk, the thin layer at full size, the inside of each block."""
        yield ChannelGroup("edge", self.edge, ("edge.0", "up.3.0"), ("down.0.0.0", "head"))
        for level, (width, blocks) in enumerate(zip(self.widths, self.inside, strict=True)):
            within = [f"down.{level}.{k}" for k in range(1, len(blocks) + 1)]
            made = [f"down.{level}.0.0", *(f"{block}.second.0" for block in within)]
            read = [f"{block}.first.0" for block in within]
            if level == 4:
                read.append("bridge.0")
            else:
                made.append("bridge.0" if level == 3 else f"up.{2 - level}.0")
                read += [f"down.{level + 1}.0.0", f"up.{3 - level}.0"]
            yield ChannelGroup(f"level.{level}", width, tuple(made), tuple(read))
            for block, channels in zip(within, blocks, strict=True):
                yield ChannelGroup(block, channels, (f"{block}.first.0",), (f"{block}.second.0",))

    def narrowed(self, kept: dict[str, int]) -> CutShape:
        """The shape with as many channels per group as `kept` says."""
        inner = tuple(
            tuple(kept[f"down.{level}.{k}"] for k in range(1, blocks + 1)) for level, blocks in enumerate(self.blocks)
        )
        widths = tuple(kept[f"level.{level}"] for level in range(5))
        return replace(self, edge=kept["edge"], widths=widths, inner=inner)


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), batch-normalised."""

    def __init__(self, channels: int, inner: int, norm: bool) -> None:
        super().__init__()
        self.first = convolution(channels, inner, norm)
        self.second = convolution(inner, channels, norm)[:2]

    def forward(self, x: Tensor) -> Tensor:
        """float[N, C, h, w] in and out."""
        return torch.relu(x + self.second(self.first(x)))


class CutNet(nn.Module):
    """An encoder of five halvings and a decoder of five doublings with added skips.

    With `norm` every convolution has batch normalisation, as training from scratch needs it; without, a bias: the
    folded form, which is exported, read back and fine-tuned. Both have the same names for the same convolutions.
    """

    def __init__(self, shape: CutShape, *, norm: bool = True) -> None:
        super().__init__()
        self.shape, self.norm = shape, norm
        widths = shape.widths
        self.edge = convolution(6 if shape.plate else 3, shape.edge, norm)
        self.down = nn.ModuleList()
        before = shape.edge
        for level, width in enumerate(widths):
            inner = shape.inside[level]
            self.down.append(
                nn.Sequential(convolution(before, width, norm, stride=2), *(Block(width, c, norm) for c in inner))
            )
            before = width
        self.bridge = convolution(widths[4], widths[3], norm, size=1)
        narrower = (widths[2], widths[1], widths[0], shape.edge)
        self.up = nn.ModuleList(convolution(a, b, norm) for a, b in zip(reversed(widths[:4]), narrower, strict=True))
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
            x = stage(double(x) + skip)
        logits: Tensor = self.head(double(x) + fine)
        return logits

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is learned, and at which share of the learning rate: everything, at the whole of it."""
        return [{"params": list(self.parameters()), "pace": 1.0}]

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start half of a plate network's edge filters as differences between frame and plate."""
        nn.init.constant_(self.head.bias, -2.0)  # most pixels are background
        if self.shape.plate:
            kernel = self.edge[0].weight
            half = kernel.shape[0] // 2
            kernel[:half, 3:] = -kernel[:half, :3]
