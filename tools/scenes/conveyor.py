"""A conveyor seen from above: goods come in on one side and leave on the other, on a belt that moves."""

from __future__ import annotations

from typing import final

import cv2
import numpy as np

from cutline.tools.scenes import textures
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.held import alone, group_tags, lay
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import place
from cutline.tools.scenes.stage import Stage

__all__ = ["Conveyor"]


@final
class Conveyor(Stage):
    """An endless belt between rails, with goods that lie on it as they were put."""

    name = "conveyor"

    def build(self, rng: np.random.Generator) -> F32:
        """Floor, rails, and the belt at rest."""
        width, height = self.width, self.height
        self._top, self._bottom = int(height * rng.uniform(0.06, 0.14)), int(height * rng.uniform(0.88, 0.96))
        self._speed = float(rng.uniform(0.25, 0.8)) * (1 if rng.random() < 0.5 else -1)  # frame heights a second
        self._gap = float(rng.uniform(0.55, 0.85))  # frame heights from one good to the next
        self._lift = float(rng.uniform(0.01, 0.04))
        tone = textures.colour(rng, saturation=(0, 0.35), value=(0.12, 0.5) if rng.random() < 0.7 else (0.6, 0.9))
        long, high = int(width * 1.5), self._bottom - self._top
        belt = tone * (0.92 + 0.12 * textures.cloud(rng, long, high, height / 6, 4, 3.0))[..., None]
        belt += textures.grain(rng, long, high, 0.015)[..., None]
        if self.split == "train":
            ribs = 1 - 0.06 * (np.arange(long) % max(4, height // 24) < max(1, height // 160))
        else:
            ribs = 1 + 0.08 * np.sin(np.arange(long) * (2 * np.pi / max(5.0, height / 16)))
        belt *= ribs[None, :, None]
        for seam in rng.uniform(0, long, 2):
            cv2.line(
                belt,
                (int(seam), 0),
                (int(seam + high * 0.1), high),
                (tone * 0.6).tolist(),
                max(1, height // 180),
                cv2.LINE_AA,
            )
        blend = np.linspace(0, 1, width // 8, dtype=np.float32)[None, :, None]  # so that the belt closes
        belt[:, -blend.shape[1] :] += (belt[:, : blend.shape[1]] - belt[:, -blend.shape[1] :]) * blend
        self._belt: F32 = np.clip(belt, 0, 1).astype(np.float32)
        scene = np.empty((height, width, 3), np.float32)
        scene[:] = textures.colour(rng, saturation=(0, 0.2), value=(0.1, 0.5))
        for top, bottom in ((0, self._top), (self._bottom, height)):
            y = np.linspace(-1, 1, max(1, bottom - top), dtype=np.float32)[:, None, None]
            steel = 0.35 + 0.5 * np.clip(1 - np.abs(y) ** 1.5, 0, 1) + 0.1 * np.sin(y * 9)
            scene[top:bottom] = steel * np.array([0.9, 0.92, 0.95], np.float32)
        self._edge = self._rail_shadow()
        self._rails = scene
        return self.scenery(0.0)

    def _rail_shadow(self) -> F32:
        """Darkening of the belt along its rails, float32[belt height, 1, 1]."""
        depth = np.arange(self._bottom - self._top, dtype=np.float32)
        reach = self.height * 0.02
        shade: F32 = (1 - 0.5 * np.exp(-depth / reach) - 0.25 * np.exp(-(depth[-1] - depth) / reach))[:, None, None]
        return shade

    def scenery(self, seconds: float) -> F32:
        """The belt moved on; rails and floor stay."""
        scene = self._rails.copy()
        long = self._belt.shape[1]
        start = (-self._speed * seconds * self.height) % long
        whole = int(start)
        left = np.concatenate([self._belt[:, whole:], self._belt[:, :whole]], axis=1)[:, : self.width + 1]
        part = np.float32(start - whole)
        scene[self._top : self._bottom] = (left[:, :-1] * (1 - part) + left[:, 1:] * part) * self._edge
        return scene

    def fill(self, canvas: Canvas, seconds: float, dx: float, dy: float) -> dict[int, frozenset[str]]:
        """Put every good that is in sight onto the belt."""
        high, aspect = self.height, self.width / self.height
        travelled = abs(self._speed) * seconds
        tags: dict[int, frozenset[str]] = {}
        first = max(0, int((travelled - aspect - 1.2) / self._gap))
        for number in range(first, int((travelled + 1.2) / self._gap) + 1):
            way = travelled - number * self._gap
            x = way if self._speed > 0 else aspect - way
            rng = self.rng("lying", number)
            prop = self.prop(number, 0.5)
            sprite = prop.view(0.0)
            fit = 0.9 * (self._bottom - self._top) / float(np.hypot(sprite.width, sprite.height))
            size = min(float(rng.uniform(0.6, 1.2)), fit) * prop.pixels / high
            y = float((self._top + self._bottom) / 2 / high + rng.uniform(-0.14, 0.14))
            turn = float(rng.uniform(-np.pi, np.pi))
            matrix = place(sprite, x * high + dx, y * high + dy, size * high, turn=turn)
            under = matrix.copy()
            for reach, strength, softness in ((1.0, self.ground.shadow, 0.03), (0.3, self.ground.contact * 0.8, 0.008)):
                under[:, 2] = matrix[:, 2] + np.array([self.ground.lean, 1.0]) * self._lift * high * reach
                canvas.shade(sprite, under, strength, softness * high)
            item = number % 120 * 2 + 1
            motion = (self._speed * self.shutter * high, 0.0)
            lay(canvas, alone(sprite), matrix, item, light=self.light, motion=motion)
            tags.update(group_tags(alone(sprite), item))
        return tags
