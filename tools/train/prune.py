"""Structured pruning: whole channels go, so that the smaller network is faster everywhere, not just sparser.

Channels that are added to each other live and die together; the network's shape knows which those are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cutline.runtime.errors import UsageError
from cutline.tools.train.networks import ChannelGroup, CutNet, fold

__all__ = ["prune"]

_STEP = 8  # channels stay multiples of this


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
    for group in network.shape.groups():
        count = max(_STEP, round(group.channels * (1 - share) / _STEP) * _STEP)
        chosen = _importance(group, weights).topk(count).indices.sort().values
        for layer in group.made_by:
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"][chosen]
            weights[f"{layer}.bias"] = weights[f"{layer}.bias"][chosen]
        for layer in group.read_by:
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"][:, chosen]
        kept[group.name] = count
    smaller = CutNet(network.shape.narrowed(kept), norm=False)
    smaller.load_state_dict(weights)
    return smaller


def _importance(group: ChannelGroup, weights: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(group.channels)
    for layer in group.made_by:
        norm = weights[f"{layer}.weight"].abs().sum(dim=(1, 2, 3))
        total += norm / norm.mean().clamp_min(1e-12)
    return total
