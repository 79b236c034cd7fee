"""A kiosk: someone holds goods up to the camera, turns them, waves them, takes them away again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes import backdrops
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.hand import Grip, Hand, draw_hand
from cutline.tools.scenes.held import chained, grip_of, group_tags, hold, lay
from cutline.tools.scenes.person import draw_looks, with_person
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import place
from cutline.tools.scenes.stage import Prop, Stage, ease

__all__ = ["Kiosk"]

_TURN = 5.2  # seconds from one product to the next
_COME = 0.7  # seconds to come up and to go down


@dataclass(frozen=True, slots=True)
class _Turn:
    """One product's time before the camera."""

    prop: Prop
    hand: Hand
    left: bool
    spot: tuple[float, float]  # where it is held, frame heights
    lean: float  # radians
    rates: tuple[float, float, float]  # Hz
    sweep: float  # how far it is turned, radians
    waves: float  # how far it is waved, radians
    shown: float  # height, frame heights


@final
class Kiosk(Stage):
    """Someone before a kiosk in a shop holds up one product after the other."""

    name = "kiosk"

    def build(self, rng: np.random.Generator) -> F32:
        """A shop or a room out of focus, and the one who stands there."""
        painter = (backdrops.rack, backdrops.room)[int(rng.integers(2))] if self.split == "train" else backdrops.bricks
        place = backdrops.lit(rng, painter(rng, self.width, self.height).astype(np.float32))
        place = cv2.GaussianBlur(place, (0, 0), self.height / 90)
        self._looks = draw_looks(rng)
        if rng.random() < 0.85:
            place = with_person(rng, place, self._looks)
        self._turns: dict[int, _Turn] = {}
        return place

    def _turn(self, number: int) -> _Turn:
        if number not in self._turns:
            rng = self.rng("turn", number)
            prop = self.prop(number, 0.62)
            size = float(rng.uniform(0.5, 0.66)) * prop.pixels / (0.62 * self.height)
            grip: Grip = "fingers before" if rng.random() < 0.3 else "palm behind"
            palm = 0.36 * prop.pixels
            half = grip_of(prop.view(0.0), grip)[2]
            hand = draw_hand(rng, grip, half / max(palm, half / 0.75), max(palm, half / 0.75), self.lamps, self._looks)
            if len(self._turns) > 3:
                self._turns.pop(next(iter(self._turns)))
            aspect = self.width / self.height
            self._turns[number] = _Turn(
                prop=prop,
                hand=hand,
                left=bool(rng.random() < 0.4),
                spot=(float(aspect * rng.uniform(0.4, 0.6)), float(rng.uniform(0.42, 0.52))),
                lean=float(rng.normal(0, 0.08)),
                rates=(float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.25, 0.5))),
                sweep=float(rng.uniform(0.35, 0.6)),
                waves=float(rng.uniform(0.1, 0.22)),
                shown=size,
            )
        return self._turns[number]

    def pose(self, seconds: float) -> tuple[float, float, float, float]:
        """Where the product is held: x, y in frame heights, lean in radians, size."""
        number, t = divmod(seconds, _TURN)
        turn = self._turn(int(number))
        side = -1.0 if turn.left else 1.0
        away = 1 - ease(t / _COME) * ease((_TURN - 0.25 - t) / _COME)
        a, b, c = (2 * np.pi * rate * t for rate in turn.rates)
        waving = ease((t - 2.6) / 0.4) * ease((4.1 - t) / 0.4) * np.sin(2 * np.pi * 1.6 * t)
        x = turn.spot[0] + 0.025 * np.sin(a) + 0.06 * waving * side + 0.35 * side * away
        y = turn.spot[1] + 0.02 * np.sin(b) + 1.15 * away
        lean = turn.lean + 0.03 * np.sin(c) + turn.waves * waving + 0.5 * side * away
        return float(x), float(y), float(lean), turn.shown * float(1 + 0.06 * np.sin(a + c))

    def fill(self, canvas: Canvas, seconds: float, dx: float, dy: float) -> dict[int, frozenset[str]]:
        """Put hand and product there; nothing while they are away."""
        number, t = divmod(seconds, _TURN)
        turn = self._turn(int(number))
        x, y, lean, size = self.pose(seconds)
        before = self.pose(max(seconds - self.shutter, number * _TURN))
        yaw = turn.sweep * np.sin(2 * np.pi * 0.45 * (t - _COME)) * ease((t - _COME) / 0.5) * ease((2.6 - t) / 0.3 + 1)
        sprite, high = turn.prop.view(float(yaw)), self.height
        layers = hold(sprite, turn.hand, left=turn.left)
        still = hold(turn.prop.view(0.0), turn.hand, left=turn.left)
        middle = np.array([[1, 0, (sprite.width - turn.prop.view(0.0).width) / 2], [0, 1, 0]], np.float32)
        layers = [
            type(layer)(layer.sprite, chained(middle, fixed.matrix) if layer.is_hand else layer.matrix, layer.is_hand)
            for layer, fixed in zip(layers, still, strict=True)
        ]
        matrix = place(sprite, x * high + dx, y * high + dy, size * high, turn=lean)
        motion = ((x - before[0]) * high, (y - before[1]) * high)
        lay(canvas, layers, matrix, 1, light=self.light, motion=motion)
        return group_tags(layers, 1)
