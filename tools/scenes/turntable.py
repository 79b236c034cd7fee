"""A turntable in a photo corner: one good at a time goes round before a sweep."""

from __future__ import annotations

from typing import final

import cv2
import numpy as np

from cutline.tools.scenes import backdrops, textures
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.ground import stand
from cutline.tools.scenes.held import alone, group_tags, lay
from cutline.tools.scenes.patterns import pattern
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import place
from cutline.tools.scenes.stage import Stage

__all__ = ["Turntable"]

_ROUND = 8.0  # seconds for one turn
_SQUASH = 0.28  # of the disc, as it is seen from the side


@final
class Turntable(Stage):
    """A disc that turns; every round brings another good."""

    name = "turntable"

    def build(self, rng: np.random.Generator) -> F32:
        """A sweep or a patterned wall with the disc before it."""
        painters = (backdrops.sweep, pattern) if self.split == "train" else (backdrops.dots,)
        painter = painters[int(rng.integers(len(painters)))]
        self._scene = backdrops.lit(rng, painter(rng, self.width, self.height).astype(np.float32))
        radius = self.height * rng.uniform(0.42, 0.55)
        self._centre = (self.width / 2, self.height * float(rng.uniform(0.78, 0.84)))
        size = int(2 * radius) | 1
        top = textures.paint(rng, size, size) if rng.random() < 0.6 else textures.wood(rng, size, size)
        for angle in np.arange(0, 2 * np.pi, np.pi / 6):  # marks on the rim tell that it turns
            tip = (int(radius * (1 + 0.97 * np.cos(angle))), int(radius * (1 + 0.97 * np.sin(angle))))
            mark = (int(radius * (1 + 0.92 * np.cos(angle))), int(radius * (1 + 0.92 * np.sin(angle))))
            cv2.line(top, mark, tip, (0.3, 0.3, 0.3), max(1, size // 160), cv2.LINE_AA)
        self._disc: F32 = np.ascontiguousarray(top)
        self._radius, self._way = radius, float(rng.choice([-1, 1]))
        return self.scenery(0.0)

    def scenery(self, seconds: float) -> F32:
        """The disc turned on."""
        turn = self._way * 2 * np.pi * seconds / _ROUND
        cos, sin, middle = np.cos(turn), np.sin(turn), (self._disc.shape[0] - 1) / 2
        matrix = np.array([[cos, -sin, 0], [sin * _SQUASH, cos * _SQUASH, 0]], np.float32)
        matrix[:, 2] = np.array(self._centre) - matrix[:, :2] @ np.array([middle, middle])
        scene = self._scene.copy()
        left, right = int(self._centre[0] - self._radius) - 2, int(self._centre[0] + self._radius) + 3
        thick = int(self.height * 0.025)
        top = int(self._centre[1] - self._radius * _SQUASH) - 2
        bottom = min(self.height, int(self._centre[1] + self._radius * _SQUASH) + thick + 3)
        left, right = max(0, left), min(self.width, right)
        matrix[:, 2] -= (left, top)
        window = scene[top:bottom, left:right]
        drawn = cv2.warpAffine(self._disc, matrix, (right - left, bottom - top), borderMode=cv2.BORDER_REPLICATE)
        x = (np.arange(left, right) - self._centre[0]) / self._radius
        y = (np.arange(top, bottom)[:, None] - self._centre[1]) / (self._radius * _SQUASH)
        upper = np.clip((1 - np.hypot(x, y)) * self._radius * _SQUASH + 0.5, 0, 1)[..., None].astype(np.float32)
        lower = np.hypot(x, y - thick / (self._radius * _SQUASH))
        rim = np.clip((1 - lower) * self._radius * _SQUASH + 0.5, 0, 1)[..., None].astype(np.float32)
        window *= 1 - rim
        window += rim * 0.35 * (1.2 - np.abs(x))[None, :, None].astype(np.float32)
        window *= 1 - upper
        window += upper * drawn
        return scene

    def fill(self, canvas: Canvas, seconds: float, dx: float, dy: float) -> dict[int, frozenset[str]]:
        """Put this round's good in the middle of the disc."""
        number, t = divmod(seconds, _ROUND)
        prop = self.prop(int(number), 0.68)
        sprite = prop.view(self._way * 2 * np.pi * t / _ROUND)
        matrix = place(sprite, self._centre[0] + dx, self._centre[1] + dy, prop.pixels, foot=True)
        stand(canvas, sprite, matrix, self.ground)
        lay(canvas, alone(sprite), matrix, 1, light=self.light)
        return group_tags(alone(sprite), 1)
