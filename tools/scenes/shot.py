"""What a synthetic scene yields: one frame, and everything that is true about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["F32", "U8", "Scene", "Shot", "f32"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


def f32(array: ArrayLike) -> F32:
    """Return an array as float32, without a copy where it is."""
    return np.asarray(array, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """Owns one frame and its ground truth.

    Colours are full-range R'G'B': gamma-encoded, as cameras give and as Cutline composes.

    Before noise and compression, rgb = alpha * foreground + (1 - alpha) * seen, where `seen` is the background with
    its shadows and reflections, displaced by refraction behind transparent material.
    """

    rgb: U8  # [H, W, 3], what the camera gives
    alpha: F32  # [H, W], 0..1: share of the light that does not come from behind the goods and the hand that holds them
    foreground: U8  # [H, W, 3], straight (not premultiplied), without noise; 0 where alpha is 0
    plate: U8  # [H, W, 3], the empty scene captured at another time: own noise, exposure, white balance and shake
    items: U8  # [H, W], id of the frontmost item that covers at least a twentieth of the pixel, 0 for none
    tags: frozenset[str]  # what occurs: opaque, transparent, thin, low-contrast, hand-held, empty, decoy, ...
    item_tags: Mapping[int, frozenset[str]] = field(default_factory=dict)  # the same for each id in `items`


class Scene(Protocol):
    """A video with ground truth, by frame number: any frame, in any order, always the same."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def frame_rate(self) -> Fraction: ...

    def shot(self, index: int) -> Shot: ...
