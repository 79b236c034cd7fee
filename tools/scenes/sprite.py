"""A picture of one object, ready to be put into frames many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from cutline.tools.scenes.shot import F32, U8

__all__ = ["MARGIN", "Sprite", "cropped", "place"]

MARGIN = 2  # transparent pixels around every sprite, so that its edge is interpolated and not cut


@dataclass(frozen=True, slots=True)
class Sprite:
    """Owns one object's picture, premultiplied, with at least MARGIN transparent pixels around it.

    optics, for transparent material, is float32[h, w, 3]: how much of the colour is a filter (0: the material's own
    light, 1: it multiplies what is behind), and where the light comes from (dx, dy in sprite pixels).
    """

    rgba: U8  # [h, w, 4], premultiplied
    tags: frozenset[str]
    optics: F32 | None = None
    _halves: list[tuple[U8, F32 | None]] = field(default_factory=list, compare=False, repr=False)

    @property
    def width(self) -> int:
        """Columns, margin included."""
        return int(self.rgba.shape[1])

    @property
    def height(self) -> int:
        """Rows, margin included."""
        return int(self.rgba.shape[0])

    def level(self, number: int) -> tuple[U8, F32 | None]:
        """Return rgba and optics reduced `number` times by two, area-averaged, so that small copies do not alias."""
        if number == 0:
            return self.rgba, self.optics
        while len(self._halves) < number:
            rgba, optics = self._halves[-1] if self._halves else (self.rgba, self.optics)
            size = (max(1, rgba.shape[1] // 2), max(1, rgba.shape[0] // 2))
            self._halves.append(
                (
                    cv2.resize(rgba, size, interpolation=cv2.INTER_AREA),
                    None if optics is None else cv2.resize(optics, size, interpolation=cv2.INTER_AREA),
                )
            )
        return self._halves[number - 1]

    @staticmethod
    def from_straight(rgb: F32, alpha: F32, tags: Sequence[str], optics: F32 | None = None) -> Sprite:
        """Make a sprite of straight colour [h, w, 3] and alpha [h, w], both 0..1, and add the margin."""
        rgba = np.empty((*alpha.shape, 4), np.float32)
        np.multiply(rgb, alpha[..., None], out=rgba[..., :3])
        rgba[..., 3] = alpha
        coded = cv2.convertScaleAbs(rgba, alpha=255.0)
        pad = (MARGIN,) * 4
        coded = cv2.copyMakeBorder(coded, *pad, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        if optics is not None:
            optics = cv2.copyMakeBorder(optics * (alpha > 0)[..., None], *pad, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        return Sprite(coded, frozenset(tags), optics)


def cropped(sprite: Sprite) -> tuple[Sprite, tuple[int, int]]:
    """Return the part of a sprite that is not empty, with its margin, and the x and y of that part."""
    covered = sprite.rgba[..., 3] > 0
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if rows.size == 0:
        return sprite, (0, 0)
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    window = (slice(top, int(rows[-1]) + 1 + MARGIN), slice(left, int(columns[-1]) + 1 + MARGIN))
    optics = None if sprite.optics is None else np.ascontiguousarray(sprite.optics[window])
    return Sprite(np.ascontiguousarray(sprite.rgba[window]), sprite.tags, optics), (left, top)


def place(
    sprite: Sprite, x: float, y: float, height: float, *, turn: float = 0.0, squeeze: float = 1.0, foot: bool = False
) -> F32:
    """Return the 2x3 matrix that puts a sprite into a frame.

    Args:
        x, y: where the sprite's centre goes (its foot if `foot`), in frame pixels.
        height: of the sprite without margin, in frame pixels.
        turn: radians, clockwise as seen.
        squeeze: factor of the width alone; negative mirrors.
    """
    scale = height / (sprite.height - 2 * MARGIN)
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    origin_x = (sprite.width - 1) / 2
    origin_y = sprite.height - MARGIN - 0.5 if foot else (sprite.height - 1) / 2
    matrix = np.array([[cos * squeeze, -sin, x], [sin * squeeze, cos, y]], np.float32)
    matrix[:, 2] -= matrix[:, 0] * origin_x + matrix[:, 1] * origin_y
    return matrix
