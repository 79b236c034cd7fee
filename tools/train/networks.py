"""CutNet: one picture in, or one and the empty scene (the plate), one logit per pixel out.

The encoder knows photographs; a decoder of added skips turns what it sees into a matte at half size, of which each
pixel becomes four. With a plate, a narrow second encoder sees both pictures and tells the decoder at every level what
changed; it begins without a say, so that a plate network can start from one without.
Convolutions, ReLU6, additions, one concatenation and bilinear doubling, with channels in multiples of 8, so that every
layer quantises and fuses on OpenVINO and TensorRT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cutline.runtime.errors import ContractError, UsageError
from cutline.tools.train.encoder import BLOCKS, STEM, TAPS, WIDENED, Encoder, convolution

__all__ = [
    *("CHANGE", "PRESETS", "ChannelGroup", "CutNet", "NetworkShape", "fold", "multiply_adds", "preset"),
    "with_plate",
]

CHANGE = (32, 32, 32, 48, 64)  # channels of what differs from the plate, at 1/2 to 1/32
_FROZEN = 3  # blocks of the encoder, and its stem: edges and textures are the same in every photograph
_PACE = 0.3  # of the learning rate, for the rest of the encoder


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Layers whose outputs share their channels, and layers that read them: what pruning keeps or takes together."""

    name: str
    channels: int
    made_by: tuple[str, ...]
    read_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """Channels inside each block of the encoder, and of the decoder at 1/32, 1/16, 1/8, 1/4 and 1/2."""

    plate: bool = False
    inner: tuple[int, ...] = WIDENED
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
            name = f"encoder.blocks.{block}"
            yield ChannelGroup(name, channels, (f"{name}.expand.0", f"{name}.depthwise.0"), (f"{name}.project.0",))
        change = [f"evidence.{level}" for level in range(5)] if self.plate else []
        context = ("context.0.0", "context.1.0")
        made = ("bridge.0", *context, "skip.0.0", *change[:2])
        yield ChannelGroup("decoder.0", self.decoder[0], made, (*context, "up.0.0"))
        for level in range(1, 4):
            made = (f"up.{level - 1}.0", f"skip.{level}.0", *change[level + 1 : level + 2])
            yield ChannelGroup(f"decoder.{level}", self.decoder[level], made, (f"up.{level}.0",))
        yield ChannelGroup("decoder.4", self.decoder[4], ("up.3.0",), ("fine.0",))

    def narrowed(self, kept: dict[str, int]) -> NetworkShape:
        """The shape with as many channels per group as `kept` says."""
        inner = (STEM, *(kept[f"encoder.blocks.{block}"] for block in range(1, len(BLOCKS))))
        return replace(self, inner=inner, decoder=tuple(kept[f"decoder.{level}"] for level in range(5)))


class CutNet(nn.Module):
    """The encoder, two convolutions of context at 1/32, a decoder to 1/2, and four pixels of each.

    With `norm` everything but the encoder has batch normalisation, as training from scratch needs it; without, a bias:
    the folded form, which is exported, read back and fine-tuned. Both have the same names for the same convolutions.
    """

    def __init__(self, shape: NetworkShape, *, norm: bool = True) -> None:
        super().__init__()
        self.shape, self.norm = shape, norm
        self.encoder = Encoder(shape.inner)
        widths = shape.decoder
        deepest, *taps = (BLOCKS[-1][2], *(BLOCKS[tap][2] for tap in TAPS), STEM)
        self.bridge = convolution(deepest, widths[0], norm, size=1)
        self.context = nn.ModuleList(convolution(widths[0], widths[0], norm) for _ in range(2))
        self.skip = nn.ModuleList(convolution(a, b, norm, size=1) for a, b in zip(taps, widths[:4], strict=True))
        self.up = nn.ModuleList(convolution(a, b, norm) for a, b in pairwise(widths))
        self.fine = convolution(widths[4], shape.head, norm)
        self.head = nn.Conv2d(shape.head, 4, 3, 1, 1)  # the four pixels that one at half size becomes
        nn.init.constant_(self.head.bias, -2.0)  # most pixels are background
        if shape.plate:
            self.change = nn.ModuleList(convolution(a, b, norm, stride=2) for a, b in pairwise((6, *CHANGE)))
            levels = zip(reversed(CHANGE), (widths[0], *widths[:4]), strict=True)
            self.evidence = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in levels)
            self._see_nothing()

    def forward(self, image: Tensor, plate: Tensor | None = None) -> Tensor:
        """Logits float[N, 1, H, W] from normalised pictures float[N, 3, H, W]; H and W are multiples of 32."""
        seen = [] if plate is None else self._changes(image, plate)
        deepest, *taps = self.encoder(image)
        x = self.bridge(deepest)
        x = x + seen[0] if seen else x
        for layer in self.context:
            x = x + layer(x)
        for level, tap in enumerate(taps):
            x = _double(x) + self.skip[level](tap)
            x = self.up[level](x + seen[level + 1] if seen else x)
        logits: Tensor = nn.functional.pixel_shuffle(self.head(self.fine(x)), 2)
        return logits

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is learned, and at which share ("pace") of the learning rate; the first layers are left as they are."""
        first = [self.encoder.stem, *self.encoder.blocks[:_FROZEN]]
        for layer in first:
            layer.requires_grad_(False)
        encoder = [p for block in self.encoder.blocks[_FROZEN:] for p in block.parameters()]
        known = {id(p) for p in encoder}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [{"params": rest, "pace": 1.0}, {"params": encoder, "pace": _PACE}]

    def _changes(self, image: Tensor, plate: Tensor) -> list[Tensor]:
        """What differs from the plate, for the decoder at 1/32, 1/16, 1/8, 1/4 and 1/2."""
        x, levels = torch.cat([image, plate], 1), []
        for layer in self.change:
            x = layer(x)
            levels.append(x)
        return [layer(x) for layer, x in zip(self.evidence, reversed(levels), strict=True)]

    @torch.no_grad()
    def _see_nothing(self) -> None:
        """Start half of the first filters as differences between frame and plate, and none with a say."""
        kernel = self.change[0][0].weight
        half = kernel.shape[0] // 2
        kernel[:half, 3:] = -kernel[:half, :3]
        for layer in self.evidence:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


PRESETS = {
    "cutout": NetworkShape(),
    # what differs from the plate is found close by: less of the world, and more at half size, where outlines are drawn
    "cutout-plate": NetworkShape(
        plate=True,
        inner=(STEM, 88, 120, 136, 176, 224, 264, 224, 384, 296, 264, 272),
        decoder=(96, 64, 32, 32, 24),
        head=24,
    ),
}


def preset(name: str) -> NetworkShape:
    """Return the shape of a shipped network.

    Raises:
        UsageError: no network has that name.
    """
    if name not in PRESETS:
        raise UsageError("no network has that name", remedy=f"Use one of {', '.join(PRESETS)}.", name=name)
    return PRESETS[name]


def with_plate(network: CutNet) -> CutNet:
    """Return a copy that also takes a plate, and does not heed it yet."""
    seeing = CutNet(replace(network.shape, plate=True), norm=network.norm)
    seeing.load_state_dict(network.state_dict(), strict=False)
    return seeing


@torch.no_grad()
def fold(network: CutNet) -> CutNet:
    """Return the same function without batch normalisation: its scale and shift move into weights and biases."""
    folded = CutNet(network.shape, norm=False)
    source, target = dict(network.named_modules()), dict(folded.named_modules())
    for name, layer in target.items():
        if not isinstance(layer, nn.Conv2d) or layer.bias is None:
            continue
        made, norm = source[name], source.get(name[:-1] + "1") if name.endswith(".0") else None
        layer.weight.copy_(made.weight)
        if isinstance(norm, nn.BatchNorm2d):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(scale[:, None, None, None])
            layer.bias.copy_(norm.bias - norm.running_mean * scale)
        else:
            layer.bias.copy_(made.bias)
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


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
