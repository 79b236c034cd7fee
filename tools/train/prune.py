"""Structured pruning: whole channels go, so that the smaller network is faster everywhere, not just sparser.

Channels that are added to each other live and die together: each level's trunk (its convolutions' outputs, and the
decoder's output that meets it), the thin layer at full size, and the inside of each residual block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cutline.runtime.errors import UsageError
from cutline.tools.train.networks import CutNet, NetworkShape, fold

__all__ = ["prune"]

_STEP = 8  # channels stay multiples of this


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers whose outputs share their channels, and layers that read them."""

    name: str
    channels: int
    made_by: tuple[str, ...]
    read_by: tuple[str, ...]


@torch.no_grad()
def prune(network: CutNet, share: float) -> CutNet:
    """Return a folded copy with about `share` of every group's channels gone, the least important first.

    A channel's importance is the L1 norm of the filters that make it, as a share of its layer's mean, summed over the
    layers that make it. The copy needs fine-tuning.
    Source: Li, Kadav, Durdanovic, Samet, Graf, Pruning Filters for Efficient ConvNets, 2017.

    Raises:
        UsageError: the share is not between 0 and 0.9.
    """
    if not 0 < share <= 0.9:
        raise UsageError("that share of channels cannot be pruned", remedy="Use 0.1 to 0.9.", share=share)
    weights = dict((fold(network) if network.norm else network).state_dict())
    kept: dict[str, int] = {}
    for group in _groups(network.shape):
        count = max(_STEP, round(group.channels * (1 - share) / _STEP) * _STEP)
        chosen = _importance(group, weights).topk(count).indices.sort().values
        for layer in group.made_by:
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"][chosen]
            weights[f"{layer}.bias"] = weights[f"{layer}.bias"][chosen]
        for layer in group.read_by:
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"][:, chosen]
        kept[group.name] = count
    smaller = CutNet(_shape(network.shape, kept), norm=False)
    smaller.load_state_dict(weights)
    return smaller


def _groups(shape: NetworkShape) -> Iterator[_Group]:
    """Every group of channels of a CutNet."""
    inner = shape.inner or tuple((w,) * b for w, b in zip(shape.widths, shape.blocks, strict=True))
    yield _Group("edge", shape.edge, ("edge.0", "up.3.0"), ("down.0.0.0", "head"))
    for level, (width, blocks) in enumerate(zip(shape.widths, inner, strict=True)):
        within = [f"down.{level}.{k}" for k in range(1, len(blocks) + 1)]
        made = [f"down.{level}.0.0", *(f"{block}.second.0" for block in within)]
        read = [f"{block}.first.0" for block in within]
        if level == 4:
            read.append("bridge.0")
        else:
            made.append("bridge.0" if level == 3 else f"up.{2 - level}.0")
            read += [f"down.{level + 1}.0.0", f"up.{3 - level}.0"]
        yield _Group(f"level.{level}", width, tuple(made), tuple(read))
        for block, channels in zip(within, blocks, strict=True):
            yield _Group(block, channels, (f"{block}.first.0",), (f"{block}.second.0",))


def _importance(group: _Group, weights: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(group.channels)
    for layer in group.made_by:
        norm = weights[f"{layer}.weight"].abs().sum(dim=(1, 2, 3))
        total += norm / norm.mean().clamp_min(1e-12)
    return total


def _shape(old: NetworkShape, kept: dict[str, int]) -> NetworkShape:
    return NetworkShape(
        plate=old.plate,
        edge=kept["edge"],
        widths=tuple(kept[f"level.{level}"] for level in range(5)),
        blocks=old.blocks,
        inner=tuple(
            tuple(kept[f"down.{level}.{k}"] for k in range(1, blocks + 1)) for level, blocks in enumerate(old.blocks)
        ),
    )
