"""A shelf with goods; now and then a hand from above takes one away, and later brings it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes import backdrops, textures
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.ground import stand
from cutline.tools.scenes.hand import Hand, draw_hand
from cutline.tools.scenes.held import Layer, alone, grip_of, group_tags, hold, lay
from cutline.tools.scenes.patterns import pattern
from cutline.tools.scenes.person import draw_looks
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import place
from cutline.tools.scenes.stage import Prop, Stage, ease

__all__ = ["Shelf"]

_VISIT = 5.0  # seconds from one visit of the hand to the next
_REACH, _LIFT, _RETURN = 0.9, 1.7, 3.0  # seconds into a visit: at the good; gone with it; on the way back


@dataclass(frozen=True, slots=True)
class _Place:
    prop: Prop
    hand: Hand
    x: float  # frame heights
    foot: float
    height: float
    left: bool


@final
class Shelf(Stage):
    """Two to five goods that stand in a row and mostly do nothing: the scene in which flicker shows."""

    name = "shelf"

    def build(self, rng: np.random.Generator) -> F32:
        """A back wall and the board before it."""
        width, height = self.width, self.height
        walls = (textures.paint, pattern) if self.split == "train" else (backdrops.bricks,)
        wall = walls[int(rng.integers(len(walls)))]
        board = int(height * rng.uniform(0.62, 0.74))
        scene = np.empty((height, width, 3), np.float32)
        scene[:board] = wall(rng, width, board)
        wooden = (
            textures.wood(rng, width, height - board)
            if rng.random() < 0.5
            else textures.paint(rng, width, height - board)
        )
        scene[board:] = wooden
        shade = np.exp(-np.abs(np.arange(height) - board) / (0.05 * height))[:, None, None]
        scene *= 1 - 0.25 * shade.astype(np.float32)
        scene = cv2.GaussianBlur(scene, (0, 0), height / 500 + 0.3)
        count, looks = int(rng.integers(2, 6)), draw_looks(rng)
        aspect, step = width / height, 0.9 * width / height / count
        self._places: list[_Place] = []
        for number in range(count):
            prop = self.prop(number, 0.5)
            broad = prop.view(0.0).width / prop.pixels
            tall = min(0.5 * prop.pixels / (0.5 * height), 0.8 * step / broad) * float(rng.uniform(0.75, 1.0))
            half, palm = grip_of(prop.view(0.0), "from above")[2], 0.36 * prop.pixels
            hand = draw_hand(rng, "from above", min(half / palm, 0.4), palm, self.lamps, looks)
            x = (number + 0.5) * step + 0.05 * aspect + float(rng.normal(0, 0.02))
            foot = board / height + float(rng.uniform(0.08, 0.16))
            self._places.append(_Place(prop, hand, x, foot, tall, bool(rng.random() < 0.5)))
        return backdrops.lit(rng, scene)

    def state(self, number: int, seconds: float) -> tuple[float, float, bool]:
        """Return how far above its place a good is, how far the hand is from it (frame heights), and if it is held."""
        visit, t = divmod(seconds, _VISIT)
        if int(visit) % len(self._places) != number:
            return 0.0, 2.0, False
        if t < _REACH:
            return 0.0, 1.4 * (1 - ease(t / _REACH)), False
        if t < _RETURN:
            return 1.4 * ease((t - _REACH) / (_LIFT - _REACH)), 0.0, True
        if t < _RETURN + 1.0:
            return 1.4 * (1 - ease(t - _RETURN)), 0.0, True
        return 0.0, 1.4 * ease((t - _RETURN - 1.0) / (_VISIT - _RETURN - 1.0)), False

    def fill(self, canvas: Canvas, seconds: float, dx: float, dy: float) -> dict[int, frozenset[str]]:
        """Put every good in its place or into the hand."""
        high, tags = self.height, {}
        for number, spot in enumerate(self._places):
            lifted, away, held = self.state(number, seconds)
            before, _, _ = self.state(number, max(0.0, seconds - self.shutter))
            sprite, item = spot.prop.view(0.0), 2 * number + 1
            slant = -1 if spot.left else 1
            x, y = (spot.x + 0.3 * slant * lifted) * high + dx, (spot.foot - lifted) * high + dy
            matrix = place(sprite, x, y, spot.height * high, turn=0.06 * slant * lifted, foot=True)
            if lifted < 0.02:
                stand(canvas, sprite, matrix, self.ground)
            motion = (0.3 * slant * (lifted - before) * high, -(lifted - before) * high)
            layers = hold(sprite, spot.hand, left=spot.left)
            if held:
                lay(canvas, layers, matrix, item, light=self.light, motion=motion)
                tags.update(group_tags(layers, item))
                continue
            if away >= 1.4:
                lay(canvas, alone(sprite), matrix, item, light=self.light)
                tags.update(group_tags(alone(sprite), item))
                continue
            self._reach(canvas, layers, matrix, item, away * slant)
            tags.update(group_tags(layers, item))
        return tags

    def _reach(self, canvas: Canvas, layers: list[Layer], matrix: F32, item: int, away: float) -> None:
        """Put the good, and the hand on its way to or from it: `away` frame heights up along its slanted way."""
        gone = matrix.copy()
        gone[:, 2] += np.array([0.3 * away, -abs(away)]) * self.height
        for layer in layers:
            where = gone if layer.is_hand else matrix
            lay(canvas, [Layer(layer.sprite, layer.matrix, False)], where, item + int(layer.is_hand), light=self.light)
