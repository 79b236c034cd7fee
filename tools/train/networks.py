"""The cut-out networks by name, and what is done with either kind: build, fold, count.

`cutout` sees one picture and is a LiteNet, which starts from what an encoder learnt of photographs; `cutout-plate` also
sees the empty scene, has a question that pixels answer, and is a CutNet, which is lighter to train. Both use
convolutions, clipped or not below zero, additions, concatenation of inputs and bilinear doubling, with channels in
multiples of 8, so that every layer quantises and fuses on OpenVINO and TensorRT.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from cutline.runtime.errors import UsageError
from cutline.tools.train.cut_network import CutNet, CutShape
from cutline.tools.train.lite_network import LiteNet, LiteShape, load_encoder

__all__ = ["PRESETS", "Network", "Shape", "build", "fold", "make_network", "multiply_adds", "shape_from", "shape_to"]

Network: TypeAlias = CutNet | LiteNet
Shape: TypeAlias = CutShape | LiteShape

_KINDS: dict[str, type[CutShape] | type[LiteShape]] = {"cut": CutShape, "lite": LiteShape}
PRESETS: dict[str, Shape] = {"cutout": LiteShape(), "cutout-plate": CutShape(plate=True)}


def build(shape: Shape, *, norm: bool) -> Network:
    """Build a network of this shape, untrained."""
    return LiteNet(shape, norm=norm) if isinstance(shape, LiteShape) else CutNet(shape, norm=norm)


def make_network(name: str) -> Network:
    """Build one of the shipped networks as training from scratch starts: the encoder of `cutout` knows ImageNet.

    Raises:
        UsageError: no network has that name.
        DeviceError: the encoder's weights are not installed.
    """
    if name not in PRESETS:
        raise UsageError("no network has that name", remedy=f"Use one of {', '.join(PRESETS)}.", name=name)
    network = build(PRESETS[name], norm=True)
    if isinstance(network, LiteNet):
        load_encoder(network)
    return network


def shape_to(shape: Shape) -> dict[str, Any]:
    """A shape as plain numbers."""
    return {"kind": next(kind for kind, known in _KINDS.items() if isinstance(shape, known)), **asdict(shape)}


def shape_from(plain: dict[str, Any]) -> Shape:
    """A shape from what shape_to gave. Raises KeyError, TypeError or ContractError where it is none."""
    rest = dict(plain)
    return _KINDS[rest.pop("kind")](**rest)


@torch.no_grad()
def fold(network: Network) -> Network:
    """Return the same function without batch normalisation: its scale and shift move into weights and biases."""
    folded = build(network.shape, norm=False)
    source, target = dict(network.named_modules()), dict(folded.named_modules())
    for name, layer in target.items():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) or layer.bias is None:
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
def multiply_adds(network: Network, width: int, height: int) -> int:
    """Count the multiply-adds of all convolutions for one picture; twice this is the operations."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        moving = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output  # what each filter is applied at
        total += moving.numel() * module.weight[0].numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    mode = network.training
    picture = torch.zeros(1, 3, height, width)
    network.eval()(picture, picture if network.shape.plate else None)
    network.train(mode)
    for hook in hooks:
        hook.remove()
    return total
