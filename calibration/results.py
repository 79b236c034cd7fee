"""What the user sees of a network's raw outputs, and how well the solid parts of mattes agree.

Needs NumPy alone: `cutline verify` uses it on bare devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import ModelContract, Output

__all__ = ["SOLID", "iou_loss", "result_of"]

F32 = NDArray[np.float32]
SOLID = 0.5  # alpha from which a pixel counts as product
MIN_UNION = 0.002  # of all pixels; with less product than that IoU is noise and is not judged


def iou_loss(results: Sequence[F32], reference: Sequence[F32]) -> float | None:
    """1 - intersection over union of the solid parts, over all mattes float32[h, w] together.

    Returns:
        None when there is too little product to judge, and for pictures float32[3, h, w].
    """
    inter, union, pixels = 0, 0, 0
    for one, other in zip(results, reference, strict=True):
        if one.ndim == 2:
            solid = one >= SOLID, other >= SOLID
            inter += int(np.count_nonzero(solid[0] & solid[1]))
            union += int(np.count_nonzero(solid[0] | solid[1]))
            pixels += one.size
    return 1.0 - inter / union if union and union >= MIN_UNION * pixels else None


def result_of(contract: ModelContract, outputs: Mapping[str, NDArray[Any]]) -> F32:
    """What the user sees of one frame: the matte float32[h, w] in 0..1, or a picture float32[3, h, w] in 0..1."""
    output = contract.primary
    raw = outputs[output.tensor].astype(np.float32).reshape(output.shape)
    planes = raw[0] if output.layout == "NCHW" else np.moveaxis(raw[0], -1, 0)
    if output.meaning == "picture":
        image = contract.frame
        spread = [np.array(v, np.float32).reshape(3, 1, 1) for v in (image.mean, image.std)]
        picture: F32 = np.clip(planes * spread[1] + spread[0], 0.0, 1.0)
        return picture
    return _matte(output, planes)


def _matte(output: Output, planes: F32) -> F32:
    if output.meaning == "classes":
        if output.softmax:
            grown = np.exp(planes - planes.max(axis=0))
            planes = grown / grown.sum(axis=0)
        alpha = planes[list(output.foreground_channels)].sum(axis=0)
    elif output.meaning == "logits":
        alpha = np.float32(0.5) * (np.tanh(planes[output.foreground_channels[0]] * np.float32(0.5)) + np.float32(1.0))
    else:
        alpha = planes[output.foreground_channels[0]]
    matte: F32 = np.clip(alpha, 0.0, 1.0)
    return matte
