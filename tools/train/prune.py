"""Structured pruning: whole channels go, so that the smaller network is faster everywhere, not just sparser.

Channels that are added to each other live and die together; the network's shape knows which those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from cutline.runtime.errors import UsageError
from cutline.tools.train.networks import ChannelGroup, CutNet, fold

__all__ = ["narrow", "prune"]

_STEP = 8  # channels stay multiples of this


@torch.no_grad()
def prune(network: CutNet, share: float) -> CutNet:
    """Return a folded copy with about `share` of every group's channels gone, the least important first.

    The copy needs fine-tuning.

    Raises:
        UsageError: the share is not between 0 and 0.9.
    """
    if not 0 < share <= 0.9:
        raise UsageError("that share of channels cannot be pruned", remedy="Use 0.1 to 0.9.", share=share)
    groups = list(network.shape.groups())
    kept = {g.name: max(_STEP, round(g.channels * (1 - share) / _STEP) * _STEP) for g in groups}
    smaller = CutNet(network.shape.narrowed(kept), norm=False)
    smaller.load_state_dict(narrow((fold(network) if network.norm else network).state_dict(), groups, kept))
    return smaller


def narrow(weights: Mapping[str, Tensor], groups: Iterable[ChannelGroup], kept: Mapping[str, int]) -> dict[str, Tensor]:
    """Return weights and biases with as many channels left of each group as `kept` says, the most important ones.

    A channel's importance is the L1 norm of the filters that make it, as a share of its layer's mean, summed over the
    layers that make it. No layer of a group may have batch normalisation.
    Source: Li, Kadav, Durdanovic, Samet, Graf, Pruning Filters for Efficient ConvNets, 2017.
    """
    left = dict(weights)
    for group in groups:
        chosen = _importance(group, left).topk(kept[group.name]).indices.sort().values
        for layer in group.made_by:
            left[f"{layer}.weight"] = left[f"{layer}.weight"][chosen]
            left[f"{layer}.bias"] = left[f"{layer}.bias"][chosen]
        for layer in group.read_by:
            left[f"{layer}.weight"] = left[f"{layer}.weight"][:, chosen]
    return left


def _importance(group: ChannelGroup, weights: Mapping[str, Tensor]) -> Tensor:
    total = torch.zeros(group.channels)
    for layer in group.made_by:
        norm = weights[f"{layer}.weight"].abs().sum(dim=(1, 2, 3))
        total += norm / norm.mean().clamp_min(1e-12)
    return total
