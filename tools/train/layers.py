"""What both cut-out networks are made of, and how their channels hang together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["ChannelGroup", "convolution", "double"]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Layers whose outputs share their channels, and layers that read them: what pruning keeps or takes together."""

    name: str
    channels: int
    made_by: tuple[str, ...]
    read_by: tuple[str, ...]


def convolution(
    inputs: int,
    outputs: int,
    norm: bool,
    *,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps the size (or halves it), batch-normalised or with a bias, and its activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=not norm),
        nn.BatchNorm2d(outputs) if norm else nn.Identity(),
        nn.Identity() if activation is nn.Identity else activation(inplace=True),
    )


def double(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
