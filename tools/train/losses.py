"""What a matte is punished for. All losses are means over the batch, of alpha in 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the name that every PyTorch reader knows

__all__ = ["LossWeights", "composition", "laplacian", "matte_loss", "overlap", "temporal"]

_GRAIN = 4e-3  # of the picture: goods smaller than that do not outweigh the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    entropy: float = 0.5
    alpha: float = 1.0
    laplacian: float = 1.0
    composition: float = 0.5
    fraction: float = 2.0  # extra weight of half-covered pixels in the alpha term
    overlap: float = 1.0
    temporal: float = 1.0


def laplacian(alpha: Tensor, target: Tensor, levels: int = 4) -> Tensor:
    """L1 between Laplacian pyramids, level k weighted by 2**k and divided by the sum of weights.

    float[N, 1, H, W] both. Source: Niklaus and Liu, Context-aware Synthesis for Video Frame Interpolation, 2018.
    """
    total = torch.zeros((), dtype=alpha.dtype, device=alpha.device)
    difference = alpha - target  # the pyramid is linear: one pyramid of the difference does
    for level in range(levels):
        coarse = F.avg_pool2d(difference, 2, ceil_mode=True, count_include_pad=False)
        back = F.interpolate(coarse, size=difference.shape[2:], mode="bilinear", align_corners=False)
        total = total + 2**level * (difference - back).abs().mean()
        difference = coarse
    return total / (2**levels - 1)


def composition(alpha: Tensor, target: Tensor, frame: Tensor, backdrop: Tensor) -> Tensor:
    """L1 between the frame over `backdrop` with the found and with the true alpha.

    frame float[N, 3, H, W] in 0..1, backdrop float[N, 3, 1, 1] or a whole picture.
    """
    return ((alpha - target) * (frame - backdrop)).abs().mean()


def overlap(alpha: Tensor, target: Tensor) -> Tensor:
    """One less intersection over union, of each picture by itself: what is small or thin counts as what is large does.

    float[N, 1, H, W] both. The intersection is the smaller of the two alphas, the union the larger (Ruzicka's index):
    0 for equal mattes, half-covered pixels or not.
    """
    grain = _GRAIN * alpha[0].numel()
    shared = torch.minimum(alpha, target).sum((1, 2, 3)) + grain
    return 1 - (shared / (torch.maximum(alpha, target).sum((1, 2, 3)) + grain)).mean()


def temporal(first: Tensor, second: Tensor) -> Tensor:
    """L1 between mattes of the same shot under two draws of noise and exposure."""
    return (first - second).abs().mean()


def matte_loss(
    logits: Tensor, target: Tensor, frame: Tensor, backdrop: Tensor, weights: LossWeights, *, twins: bool = False
) -> Tensor:
    """The whole loss of one batch.

    Args:
        logits: float32[N, 1, H, W].
        target: float32[N, 1, H, W], alpha in 0..1.
        frame: float32[N, 3, H, W] in 0..1; backdrop: float32[N, 3, 1, 1].
        twins: the second half of the batch shows the shots of the first half again, under other noise.
    """
    alpha = torch.sigmoid(logits)
    importance = 1 + weights.fraction * 4 * target * (1 - target)
    loss = weights.entropy * F.binary_cross_entropy_with_logits(logits, target)
    loss = loss + weights.alpha * ((alpha - target).abs() * importance).mean()
    loss = loss + weights.laplacian * laplacian(alpha, target)
    loss = loss + weights.composition * composition(alpha, target, frame, backdrop)
    loss = loss + weights.overlap * overlap(alpha, target)
    if twins:
        half = alpha.shape[0] // 2
        loss = loss + weights.temporal * temporal(alpha[:half], alpha[half:])
    return loss
