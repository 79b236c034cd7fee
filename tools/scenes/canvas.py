"""Where sprites become a frame: composition with refraction, shadows and reflections, and its exact alpha."""

from __future__ import annotations

from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.shot import F32, U8, f32
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Canvas", "streak"]

_COVERED = 0.05  # of a pixel, from which an item owns it


def streak(dx: float, dy: float) -> F32:
    """Return the kernel of a straight motion by (dx, dy) pixels during the exposure, drawn with fractional ends."""
    reach = max(1, int(np.ceil(max(abs(dx), abs(dy)) / 2)))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    count = 4 * max(2, int(np.ceil(np.hypot(dx, dy))))
    for step in (np.arange(count) + 0.5) / count - 0.5:
        x, y = reach + dx * step, reach + dy * step
        left, top = int(np.floor(x)), int(np.floor(y))
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            if 0 <= column <= 2 * reach and 0 <= row <= 2 * reach:
                kernel[row, column] += (1 - abs(x - column)) * (1 - abs(y - row))
    return f32(kernel / kernel.sum())


@final
class Canvas:
    """Owns one frame in the making. colour = over + (1 - alpha) * seen holds after every call.

    colour and over (the premultiplied foreground) are float32[H, W, 3], alpha float32[H, W], all 0..1.
    """

    def __init__(self, background: F32) -> None:
        """Start from a copy of `background`, float32[H, W, 3], 0..1."""
        self.height, self.width = background.shape[:2]
        self.colour: F32 = background.copy()
        self.over: F32 = np.zeros_like(background)
        self.alpha: F32 = np.zeros((self.height, self.width), np.float32)
        self.items: U8 = np.zeros((self.height, self.width), np.uint8)
        self.background = background  # as it was before anything was put there
        self.touched = (self.height, 0, self.width, 0)  # top, bottom, left, right of all that differs from it

    def put(
        self,
        sprite: Sprite,
        matrix: F32,
        item: int,
        *,
        light: F32 | None = None,
        motion: tuple[float, float] = (0.0, 0.0),
        defocus: float = 0.0,
    ) -> None:
        """Lay one sprite over everything so far.

        Args:
            matrix: 2x3, sprite pixels to frame pixels.
            item: id to note in `items`, 1..255.
            light: factor of each colour channel.
            motion: way during the exposure, pixels.
            defocus: sigma of the blur, pixels.
        """
        reach = max(abs(motion[0]), abs(motion[1]))
        warped = self._warp(sprite, matrix, reach / 2 + 3 * defocus)
        if warped is None:
            return
        rows, columns, rgba, optics = warped
        if reach > 0.5:
            rgba = cv2.filter2D(rgba, -1, streak(*motion))
        if defocus > 0.2:
            rgba = cv2.GaussianBlur(rgba, (0, 0), defocus)
        red, green, blue, alpha = cv2.split(rgba)
        if light is not None:  # light may not make a colour brighter than white: premultiplied colour is at most alpha
            red, green, blue = (
                cv2.min(plane * part, alpha) for plane, part in zip((red, green, blue), light, strict=True)
            )
        own = cv2.merge([red, green, blue])
        rest = 1.0 - alpha
        rests = cv2.merge([rest, rest, rest])
        seen = (self.colour[rows, columns], self.over[rows, columns], self.alpha[rows, columns])
        if optics is not None:
            filtering, map_x, map_y = optics
            seen = tuple(
                cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for plane in (self.colour, self.over, self.alpha)
            )
            own = own * (1.0 - filtering + filtering * seen[0])
        self.colour[rows, columns] = cv2.add(cv2.multiply(rests, seen[0]), own)
        self.over[rows, columns] = cv2.add(cv2.multiply(rests, seen[1]), own)
        self.alpha[rows, columns] = cv2.add(cv2.multiply(rest, np.ascontiguousarray(seen[2])), alpha)
        self.items[rows, columns][alpha > _COVERED] = item
        self._touch(rows, columns)

    def shade(self, sprite: Sprite, matrix: F32, strength: float, softness: float, *, on_item: int = 0) -> None:
        """Darken all that is there (one item alone if `on_item`) by the sprite's shadow.

        It lies where `matrix` puts it, blurred by `softness` pixels. It belongs to what it falls on: alpha stays.
        """
        step = 1 if softness < 4 else 4  # a soft shadow has no detail: a sixteenth of the pixels is enough
        small = f32(matrix / step)
        warped = self._warp(
            sprite, small, 3 * softness / step, width=-(-self.width // step), height=-(-self.height // step)
        )
        if warped is None:
            return
        rows, columns, rgba, _ = warped
        mask = cv2.GaussianBlur(np.ascontiguousarray(rgba[..., 3]), (0, 0), max(softness / step, 0.3))
        if step > 1:
            mask = cv2.resize(mask, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
            top, left = rows.start * step, columns.start * step
            mask = mask[: self.height - top, : self.width - left]
            rows, columns = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
        if on_item:
            mask = mask * (self.items[rows, columns] == on_item)
        factor = 1.0 - np.float32(strength) * mask
        factors = cv2.merge([factor, factor, factor])
        self.colour[rows, columns] = cv2.multiply(self.colour[rows, columns], factors)
        if self.alpha[rows, columns].any():
            self.over[rows, columns] = cv2.multiply(self.over[rows, columns], factors)
        self._touch(rows, columns)

    def mirror(self, sprite: Sprite, matrix: F32, strength: float, softness: float, fade: float) -> None:
        """Add the sprite's reflection on glossy ground, weaker with depth, gone after `fade` pixels; alpha stays."""
        warped = self._warp(sprite, matrix, 3 * softness)
        if warped is None:
            return
        rows, columns, rgba, _ = warped
        if softness > 0.2:
            rgba = cv2.GaussianBlur(rgba, (0, 0), softness)
        top = float(min(matrix[1] @ np.array([sprite.width / 2, y, 1.0]) for y in (0.0, sprite.height)))
        depth = np.clip(1.0 - (np.arange(rows.start, rows.stop) - top) / fade, 0.0, 1.0).astype(np.float32)
        rgba = rgba * (strength * depth)[:, None, None]
        seen = (1.0 - self.alpha[rows, columns])[..., None]
        self.colour[rows, columns] += seen * (rgba[..., :3] - rgba[..., 3:] * self.colour[rows, columns])
        self._touch(rows, columns)

    def _touch(self, rows: slice, columns: slice) -> None:
        top, bottom, left, right = self.touched
        self.touched = (
            min(top, rows.start),
            max(bottom, rows.stop),
            min(left, columns.start),
            max(right, columns.stop),
        )

    def _warp(
        self, sprite: Sprite, matrix: F32, reach: float, *, width: int | None = None, height: int | None = None
    ) -> tuple[slice, slice, F32, tuple[F32, F32, F32] | None] | None:
        """Warp into the smallest window; None when nothing of it is inside. rgba comes back as float32, 0..1."""
        width, height = width or self.width, height or self.height
        corners = np.array(
            [[0, sprite.width, 0, sprite.width], [0, 0, sprite.height, sprite.height], [1, 1, 1, 1]], np.float32
        )
        xs, ys = matrix @ corners
        pad = int(np.ceil(reach)) + 1
        left, right = max(0, int(xs.min()) - pad), min(width, int(xs.max()) + pad + 1)
        top, bottom = max(0, int(ys.min()) - pad), min(height, int(ys.max()) + pad + 1)
        if left >= right or top >= bottom:
            return None
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        number = int(np.clip(np.floor(np.log2(1 / max(scale, 1e-3)) + 0.25), 0, 5))
        source, optics = sprite.level(number)
        grow_x, grow_y = sprite.width / source.shape[1], sprite.height / source.shape[0]
        fitted = np.empty((2, 3), np.float32)
        fitted[:, 0], fitted[:, 1] = matrix[:, 0] * grow_x, matrix[:, 1] * grow_y
        half = np.array([(grow_x - 1) / 2, (grow_y - 1) / 2])
        fitted[:, 2] = matrix[:, 2] + matrix[:, :2] @ half - (left, top)
        size = (right - left, bottom - top)
        rgba = cv2.warpAffine(source, fitted, size, flags=cv2.INTER_LINEAR).astype(np.float32)
        rgba *= 1 / 255
        rows, columns = slice(top, bottom), slice(left, right)
        if optics is None:
            return rows, columns, rgba, None
        bent = cv2.warpAffine(optics, fitted, size, flags=cv2.INTER_LINEAR)
        dx, dy = bent[..., 1], bent[..., 2]
        map_x = matrix[0, 0] * dx + matrix[0, 1] * dy + np.arange(left, right, dtype=np.float32)
        map_y = matrix[1, 0] * dx + matrix[1, 1] * dy + np.arange(top, bottom, dtype=np.float32)[:, None]
        return rows, columns, rgba, (bent[..., :1], map_x, map_y)
