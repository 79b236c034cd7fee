"""What all staged scenes share: a place, a camera, a clock, and props that are drawn once per side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from fractions import Fraction
from typing import final

import numpy as np

from cutline.tools.scenes.camera import Camera, CameraSettings, draw_settings, shifted
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.composition import finished
from cutline.tools.scenes.goods import Good, draw_good
from cutline.tools.scenes.ground import draw_ground
from cutline.tools.scenes.light import Lamps, draw_lamps
from cutline.tools.scenes.seeds import Split, generator
from cutline.tools.scenes.shot import F32, U8, Shot
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Prop", "Stage", "ease"]

_FPS = Fraction(30)
_VIEWS = 48  # sides of one prop that are kept
_STEP = np.radians(1.0)  # yaw is rounded to this: a step is under half a pixel at the edge of a prop 60 pixels wide


def ease(value: float) -> float:
    """Return 0 below 0, 1 above 1, and a smooth way between: hands start and stop gently."""
    t = min(max(value, 0.0), 1.0)
    return t * t * t * (t * (6 * t - 15) + 10)


@final
class Prop:
    """Owns one good and the pictures of its sides that were asked for lately."""

    def __init__(self, good: Good, lamps: Lamps, pixels: float) -> None:
        self.good, self._lamps, self.pixels = good, lamps, pixels
        self._views: OrderedDict[int, Sprite] = OrderedDict()

    def view(self, yaw: float) -> Sprite:
        """Return its picture, turned by `yaw` radians to within half a degree."""
        step = round(yaw / _STEP)
        if step not in self._views:
            self._views[step] = self.good.view(step * float(_STEP), self.pixels, self._lamps)
            if len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(step)
        return self._views[step]


class Stage(ABC):
    """Owns a backdrop, a camera and the props of one scene. Subclasses say what stands where at which time."""

    name: str

    def __init__(
        self,
        *,
        seed: int,
        width: int,
        height: int,
        split: Split,
        settings: CameraSettings | None = None,
        frame_rate: Fraction = _FPS,
    ) -> None:
        """Build the scene of this seed, width by height pixels; without `settings` the camera is drawn too."""
        self.frame_rate = frame_rate
        self.seed, self.width, self.height, self.split = seed, width, height, split
        rng = self.rng("stage")
        self.lamps = draw_lamps(rng)
        self.ground = draw_ground(rng)
        settings = settings or draw_settings(rng, width)
        self.camera = Camera(settings, width, height, split, seed)
        self.shutter = float(rng.uniform(0.2, 0.6)) / float(_FPS)  # seconds
        self.light = np.asarray(np.exp(rng.normal(0, 0.08)) * np.exp(rng.normal(0, 0.03, 3)), np.float32)
        self._props: dict[int, Prop] = {}
        self.backdrop = self.build(rng)

    @abstractmethod
    def build(self, rng: np.random.Generator) -> F32:
        """Return the empty place, float32[H, W, 3], 0..1."""

    @abstractmethod
    def fill(self, canvas: Canvas, seconds: float, dx: float, dy: float) -> dict[int, frozenset[str]]:
        """Put onto the canvas what is there at this time, moved by the camera's shake; return the tags of the ids."""

    def scenery(self, seconds: float) -> F32:
        """Return the place at this time; it is the backdrop unless parts of it move."""
        del seconds
        return self.backdrop

    def rng(self, *keys: int | str) -> np.random.Generator:
        """Return this scene's generator of these keys."""
        return generator(self.split, self.name, self.seed, *keys)

    def prop(self, number: int, share: float) -> Prop:
        """Return the scene's good of this number, drawn at `share` of the frame's height (or less if it is broad)."""
        if number not in self._props:
            rng = self.rng("prop", number)
            pixels = self.height * share
            good = draw_good(rng, self.split, int(pixels))
            pixels *= min(1.0, 0.9 / good.width)
            if len(self._props) > 12:
                self._props.pop(next(iter(self._props)))
            self._props[number] = Prop(good, self.lamps, pixels)
        return self._props[number]

    def picture(self, index: int) -> U8:
        """Return rgb of frame `index` alone, uint8[H, W, 3]: the same as in its shot, in less time."""
        canvas, _ = self._staged(index)
        return self.camera.picture(canvas, index, index / float(self.frame_rate))

    def shot(self, index: int) -> Shot:
        """Return frame `index` with all that is true about it."""
        canvas, item_tags = self._staged(index)
        rgb, foreground, alpha = self.camera.take(canvas, index, index / float(self.frame_rate))
        plate = self.camera.take_plate(self.backdrop, index)
        return finished(rgb, foreground, alpha, plate, canvas.items, item_tags, frozenset({self.name}))

    def _staged(self, index: int) -> tuple[Canvas, dict[int, frozenset[str]]]:
        seconds = index / float(self.frame_rate)
        dx, dy = self.camera.sway(seconds)
        place = self.scenery(seconds)
        canvas = Canvas(place if dx == dy == 0 else shifted(place, dx, dy))
        return canvas, self.fill(canvas, seconds, dx, dy)
