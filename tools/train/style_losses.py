"""What a restyled picture should be: like the style in its textures, like the frame in its structure, and calm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cutline.tools.train.style_features import Features, StyleTargets, gram

__all__ = ["StyleWeights", "style_loss", "unlike"]

_LUMA = (0.2126, 0.7152, 0.0722)
_WINDOW = 7  # pixels, of the structure's statistics
_RECENT = 0.5  # share of earlier batches in the difference that is learned from
_FAR = 4  # pictures that moved are compared after averaging over so many pixels: what stands still may stand still


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleWeights:
    """Of the parts of the loss."""

    style: float = 10.0
    content: float = 0.7  # structure of luma, whatever its brightness and contrast
    colour: float = 0.1  # of areas of 16 pixels
    variation: float = 0.05
    calm: float = 6.0  # equal pictures under noise, and moved ones


def style_loss(
    frames: Tensor,
    styled: Tensor,
    features: Features,
    targets: StyleTargets,
    recent: list[Tensor],
    weights: StyleWeights,
) -> Tensor:
    """Return the loss of pictures float[N, 3, H, W] in 0..1 against the frames they came from, but for the calm.

    All pictures together must have the statistics of their likes in the style, not each of them: a picture of one
    colour need not show a whole palette. `recent` holds what the pictures before were off by, and is brought up to
    date; empty at the start.
    """
    shown = styled.clamp(0, 1) + 0.1 * (styled - styled.clamp(0, 1))  # what lies outside still has a slope back
    outside = (styled - styled.clamp(0, 1)).square().mean()
    with torch.autocast(frames.device.type, torch.bfloat16):  # statistics over a whole picture bear the rounding
        found = [gram(maps).float().mean(0) for maps in features(shown)]
    off = [g - wanted for g, wanted in zip(found, targets.mean_for(frames), strict=True)]
    before = recent or [g.detach() for g in off]
    mixed = [g + _RECENT * (old - g).detach() for g, old in zip(off, before, strict=True)]  # sloped as `off` is
    recent[:] = [g.detach() for g in mixed]
    style = torch.stack([g.square().sum() / size for g, size in zip(mixed, targets.sizes, strict=True)]).mean()
    content = _structure_lost(frames, shown)
    colour = (functional.avg_pool2d(frames, 16) - functional.avg_pool2d(shown, 16)).square().mean()
    rough = (shown[..., 1:] - shown[..., :-1]).abs().mean() + (shown[..., 1:, :] - shown[..., :-1, :]).abs().mean()
    parts = weights.style * style + weights.content * content + weights.colour * colour
    return parts + weights.variation * rough + outside


def unlike(styled: Tensor, twin: Tensor, moved: tuple[int, int] | None) -> Tensor:
    """Mean squared difference of two restyled pictures of one scene.

    Args:
        moved: by how many pixels (down, right; multiples of 4) the twin's scene was moved; None: not at all, so every
            pixel must agree.
    """
    if moved is None:
        return (styled - twin).square().mean()
    down, right = (steps // _FAR for steps in moved)
    here, there = functional.avg_pool2d(styled, _FAR), functional.avg_pool2d(twin, _FAR)
    difference = here - torch.roll(there, (-down, -right), (2, 3))
    height, width = difference.shape[2:]
    rows, columns = abs(down) + 1, abs(right) + 1
    return difference[:, :, rows : height - rows, columns : width - columns].square().mean()


def _structure_lost(frames: Tensor, styled: Tensor) -> Tensor:
    """1 - correlation of luma in small windows, at half and at an eighth of the size; flat windows count little.

    Source: the structure term of Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment, 2004.
    """
    weights = torch.tensor(_LUMA, device=frames.device)[None, :, None, None]
    x, y = (functional.avg_pool2d((p * weights).sum(1, keepdim=True), 2) for p in (frames, styled))
    fine = _uncorrelated(x, y)
    return fine + _uncorrelated(functional.avg_pool2d(x, 4), functional.avg_pool2d(y, 4))


def _uncorrelated(x: Tensor, y: Tensor) -> Tensor:
    def local(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, _WINDOW, 2)

    mx, my = local(x), local(y)
    vx = (local(x * x) - mx * mx).clamp_min(0)
    vy = (local(y * y) - my * my).clamp_min(0)
    both = local(x * y) - mx * my
    small = 0.0009  # (0.03)^2 of a full range of 1, as in the source
    lost = 1 - (both + small) / ((vx + small).sqrt() * (vy + small).sqrt())
    weight = vx.sqrt() + 0.02
    return (lost * weight).sum() / weight.sum()
