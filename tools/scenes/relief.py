"""Soft shapes as height maps: capsules that melt into each other, and the normals of any height map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.shot import F32, f32

__all__ = ["Capsule", "Relief", "capsules_along", "normals", "shaded"]


@dataclass(frozen=True, slots=True)
class Capsule:
    """A rod with round ends: two points (x, y, depth towards the camera) and the radius at each, in pixels."""

    x0: float
    y0: float
    r0: float
    x1: float
    y1: float
    r1: float
    z0: float = 0.0
    z1: float = 0.0


def capsules_along(points: F32, radii: F32 | float, depth: float = 0.0) -> list[Capsule]:
    """Return the capsules of a thick line through `points`, float32[n, 2]."""
    thick = np.broadcast_to(np.asarray(radii, np.float32), (len(points),))
    return [
        Capsule(
            float(points[i, 0]),
            float(points[i, 1]),
            float(thick[i]),
            float(points[i + 1, 0]),
            float(points[i + 1, 1]),
            float(thick[i + 1]),
            depth,
            depth,
        )
        for i in range(len(points) - 1)
    ]


@final
class Relief:
    """Owns a height map, float32[h, w], pixels towards the camera, and the inner distance from the shape's edge."""

    def __init__(self, width: int, height: int) -> None:
        self.heights: F32 = np.full((height, width), -1e3, np.float32)
        self.inner: F32 = np.full((height, width), -1e3, np.float32)

    def add(self, capsules: Sequence[Capsule], blend: float) -> None:
        """Join capsules to the shape, melting into it over about `blend` pixels."""
        rows, columns = self.heights.shape
        for part in capsules:
            reach = max(part.r0, part.r1) + blend + 2
            left, right = int(min(part.x0, part.x1) - reach), int(max(part.x0, part.x1) + reach) + 1
            top, bottom = int(min(part.y0, part.y1) - reach), int(max(part.y0, part.y1) + reach) + 1
            left, top, right, bottom = max(0, left), max(0, top), min(columns, right), min(rows, bottom)
            if left >= right or top >= bottom:
                continue
            window = (slice(top, bottom), slice(left, right))
            inner, surface = _capsule(part, left, top, right, bottom)
            self.inner[window] = _melt(self.inner[window], inner, blend)
            self.heights[window] = _melt(self.heights[window], surface, blend)

    @property
    def coverage(self) -> F32:
        """Share of every pixel inside the shape."""
        covered: F32 = np.clip(self.inner + 0.5, 0, 1)
        return covered


def _capsule(part: Capsule, left: int, top: int, right: int, bottom: int) -> tuple[F32, F32]:
    """Return a capsule's inner distance and height in a window."""
    x = np.arange(left, right, dtype=np.float32)[None]
    y = np.arange(top, bottom, dtype=np.float32)[:, None]
    dx, dy = np.float32(part.x1 - part.x0), np.float32(part.y1 - part.y0)
    length = max(float(dx * dx + dy * dy), 1e-6)
    along = np.clip(((x - part.x0) * dx + (y - part.y0) * dy) / np.float32(length), 0, 1)
    radius = part.r0 + np.float32(part.r1 - part.r0) * along
    off_x, off_y = x - (part.x0 + dx * along), y - (part.y0 + dy * along)
    off = off_x * off_x + off_y * off_y
    inner = f32(radius - np.sqrt(off))
    bulge = radius * radius - off
    depth = part.z0 + np.float32(part.z1 - part.z0) * along
    surface = f32(depth + np.where(bulge > 0, np.sqrt(np.maximum(bulge, 0)), 2 * inner))
    return inner, surface


def _melt(first: F32, second: F32, blend: float) -> F32:
    """Smooth maximum: quadratic within `blend` of equality."""
    if blend <= 0:
        return np.maximum(first, second)
    near = np.maximum(blend - np.abs(first - second), 0)
    melted: F32 = np.maximum(first, second) + near * near * np.float32(0.25 / blend)
    return melted


def normals(heights: F32, sigma: float = 0.8) -> tuple[F32, F32, F32]:
    """Return the unit normals (x right, y down, z to the camera) of a height map, after a blur of `sigma` pixels."""
    soft = cv2.GaussianBlur(heights, (0, 0), sigma) if sigma > 0 else heights
    dx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    dy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    scale = 1 / np.sqrt(dx * dx + dy * dy + 1)
    return -dx * scale, -dy * scale, scale


def shaded(base: F32, heights: F32, lamps: Lamps, gloss: float, *, sigma: float = 0.8, metal: float = 0.0) -> F32:
    """Light a height map of this colour ([h, w, 3] or [3]); return the colour, 0..1."""
    nx, ny, nz = normals(heights, sigma)
    diffuse = lamps.diffuse(nx, ny, nz)
    tone = base * (diffuse * (1 - metal))[..., None]
    if metal > 0:
        tone = tone + base * (metal * (0.25 + lamps.room(nx, ny)) * (0.6 + 0.5 * diffuse))[..., None]
    glint = (gloss * lamps.mirrored(nx, ny, 0.35 if metal > 0 else 1.6))[..., None]
    coloured: F32 = np.clip(tone * (1 - glint) + glint, 0, 1).astype(np.float32)
    return coloured
