"""Free compositions: any sprites over any backdrop, moving, lit and photographed as chance will have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.camera import Camera, draw_settings, shifted
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.ground import draw_ground, stand
from cutline.tools.scenes.hand import Hand
from cutline.tools.scenes.held import Layer, alone, chained, fitting, group_tags, hold, lay
from cutline.tools.scenes.seeds import Split, generator
from cutline.tools.scenes.shot import F32, U8, Shot, f32
from cutline.tools.scenes.sprite import Sprite, place

__all__ = ["Composition", "contrast_tags"]

_FAINT = 0.09  # mean difference between goods and what is behind their edge, under which contrast is low
_FPS = 30


_NOTHING = Sprite(np.zeros((64, 40, 4), np.uint8), frozenset())


@dataclass(frozen=True, slots=True)
class _Actor:
    """One sprite and how it moves: lengths in frame heights, times in seconds."""

    layers: Sequence[Layer]  # from back to front, in pixels of `sprite`
    sprite: Sprite  # the product
    item: int  # its id; a hand has the next one
    height: float
    squeeze: float
    start: tuple[float, float, float]  # x, y, turn
    speed: tuple[float, float, float]
    swing: tuple[float, float, float]
    rate: float  # of the swing, Hz
    stands: bool
    light: F32
    defocus: float  # pixels

    def pose(self, seconds: float) -> tuple[float, float, float]:
        """Where it is: x, y in frame heights, turn in radians."""
        wave = np.sin(2 * np.pi * self.rate * seconds)
        x, y, turn = (
            start + speed * seconds + swing * wave
            for start, speed, swing in zip(self.start, self.speed, self.swing, strict=True)
        )
        return float(x), float(y), float(turn)


@final
class Composition:
    """Sprites that float or stand in front of a backdrop. Owns its backdrop and camera; borrows the sprites."""

    frame_rate = Fraction(_FPS)

    def __init__(
        self,
        sprites: Sequence[Sprite],
        backdrop: F32,
        *,
        split: Split,
        seed: int,
        hands: Sequence[Hand] = (),
        tags: frozenset[str] = frozenset(),
    ) -> None:
        """Arrange up to three of `sprites` over `backdrop`, float32[H, W, 3], 0..1; some in a hand of `hands`."""
        self.height, self.width = backdrop.shape[:2]
        rng = generator(split, "composition", seed)
        self._backdrop, self._shutter = backdrop, float(rng.uniform(0, 0.6)) / _FPS
        self._camera = Camera(draw_settings(rng, self.width), self.width, self.height, split, seed)
        self._ground = draw_ground(rng)
        count = int(rng.choice([0, 1, 2, 3], p=[0.05, 0.5, 0.3, 0.15]))
        light = self._light(rng)
        self._tags = tags
        actors = []
        for number in range(count):
            sprite = sprites[int(rng.integers(len(sprites)))]
            layers = alone(sprite)
            if hands and rng.random() < 0.37:
                if rng.random() < 0.08:
                    sprite = _NOTHING  # a hand alone
                hand = fitting(sprite, [hands[int(i)] for i in rng.integers(0, len(hands), 3)])
                layers = hold(sprite, hand, left=bool(rng.random() < 0.5))
            actors.append(self._actor(rng, layers, sprite, 2 * number + 1, count, light))
        self._actors = sorted(actors, key=lambda actor: actor.start[1])
        if actors and rng.random() < 0.08:
            self._backdrop = matched(self._backdrop, actors[0].sprite, light)
        self._scene = passing_shadow(rng, self._backdrop) if rng.random() < 0.3 else self._backdrop

    def _light(self, rng: np.random.Generator) -> F32:
        """Light on the goods: half of it is what lights the backdrop."""
        level = float(self._backdrop[::8, ::8].mean())
        own = np.clip(0.45 + level, 0.5, 1.05) * np.exp(rng.normal(0, 0.15))
        return np.asarray(own * np.exp(rng.normal(0, 0.05, 3)), np.float32)

    def _actor(
        self, rng: np.random.Generator, layers: Sequence[Layer], sprite: Sprite, item: int, count: int, light: F32
    ) -> _Actor:
        """Draw a place, a size and a way; those who stand are upright and do not fly."""
        aspect = self.width / self.height
        held = len(layers) > 1
        stands = not held and bool(rng.random() < 0.5)
        height = float(np.exp(rng.uniform(np.log(0.4 if held else 0.2), np.log(1.1 if count < 2 else 0.8))))
        if not sprite.tags:  # an empty hand is large, so that its arm reaches out of the picture
            height = float(rng.uniform(0.9, 1.8))
        height = min(height, 1.2 * aspect * sprite.height / sprite.width)
        brisk = 0.0 if stands and rng.random() < 0.7 else float(rng.gamma(1.2, 0.35))
        way = rng.uniform(0, 2 * np.pi)
        fall = 0.25 if stands else 1.0
        turn = rng.normal(0, 0.03 if stands else 0.25 if held else 0.5)
        if not stands and not held and rng.random() < 0.2:
            turn = rng.uniform(-np.pi, np.pi)
        return _Actor(
            layers=layers,
            sprite=sprite,
            item=item,
            height=height,
            squeeze=float(rng.uniform(0.85, 1.15) * rng.choice([-1, 1]))
            if "packshot" in sprite.tags and not held
            else 1.0,
            start=(
                float(rng.uniform(0.1, 0.9) * aspect),
                float(rng.uniform(0.55, 1.05)) if stands else float(rng.uniform(0.2, 0.8)),
                float(turn),
            ),
            speed=(
                float(np.cos(way) * brisk),
                float(np.sin(way) * brisk * fall),
                0.0 if stands else float(rng.normal(0, 0.5)),
            ),
            swing=(float(rng.normal(0, 0.03)) * brisk, float(rng.normal(0, 0.03)) * brisk * fall, 0.0),
            rate=float(rng.uniform(0.3, 2)),
            stands=stands,
            light=light * np.float32(np.exp(rng.normal(0, 0.08))),
            defocus=float(self.height / 300 * rng.gamma(1, 0.8)) if rng.random() < 0.3 else 0.0,
        )

    def shot(self, index: int) -> Shot:
        """Return frame `index`."""
        seconds = index / _FPS
        dx, dy = self._camera.sway(seconds)
        still = dx == 0 and dy == 0
        canvas = Canvas(self._scene if still else shifted(self._scene, dx, dy))
        item_tags: dict[int, frozenset[str]] = {}
        for actor in self._actors:
            self._lay(canvas, actor, seconds, dx, dy)
            item_tags.update(group_tags(actor.layers, actor.item))
        rgb, foreground, alpha = self._camera.take(canvas, index, seconds)
        plate = self._camera.take_plate(self._backdrop, index)
        return finished(rgb, foreground, alpha, plate, canvas.items, item_tags, self._tags)

    def _lay(self, canvas: Canvas, actor: _Actor, seconds: float, dx: float, dy: float) -> None:
        """Put one actor, its shadow and its reflection onto the canvas."""
        unit, sprite = self.height, actor.sprite
        x, y, turn = actor.pose(seconds)
        before = actor.pose(seconds - self._shutter)
        motion = ((x - before[0]) * unit, (y - before[1]) * unit)
        high = actor.height * unit
        matrix = place(sprite, x * unit + dx, y * unit + dy, high, turn=turn, squeeze=actor.squeeze, foot=actor.stands)
        ground = self._ground
        if actor.stands:
            stand(canvas, sprite, matrix, ground)
        elif ground.shadow > 0.3:
            cast = matrix.copy()
            cast[:, 2] += (ground.lean * 0.4 * high, 0.2 * high)
            for layer in actor.layers[:2]:
                canvas.shade(
                    layer.sprite, chained(cast, layer.matrix), ground.shadow * 0.5, ground.softness * 1.5 * high
                )
        lay(canvas, actor.layers, matrix, actor.item, light=actor.light, motion=motion, defocus=actor.defocus)


def matched(backdrop: F32, sprite: Sprite, light: F32) -> F32:
    """Tint a backdrop so that on average it has the sprite's colour in this light: low contrast is hard."""
    weight = float(sprite.rgba[..., 3].sum()) + 1.0
    wanted = sprite.rgba[..., :3].reshape(-1, 3).sum(axis=0) / weight * light
    gain = np.clip(wanted / np.maximum(backdrop[::4, ::4].reshape(-1, 3).mean(axis=0), 0.02), 0.3, 3.0)
    return f32(np.clip(backdrop * f32(gain), 0, 1))


def passing_shadow(rng: np.random.Generator, backdrop: F32) -> F32:
    """Let the soft shadow of somebody outside the picture fall on a backdrop; the plate does not have it."""
    height, width = backdrop.shape[:2]
    x = (np.arange(width, dtype=np.float32) - rng.uniform(-0.2, 1.2) * width) / (height * rng.uniform(0.2, 0.9))
    y = (np.arange(height, dtype=np.float32)[:, None] - rng.uniform(-0.2, 1.2) * height) / (
        height * rng.uniform(0.2, 0.9)
    )
    edge = rng.uniform(1.5, 8)  # from a soft blur to a clear outline
    dark = rng.uniform(0.05, 0.4) / (1 + np.exp(edge * (np.hypot(x, y) - 1)))
    return f32(backdrop * (1 - dark)[..., None])


def finished(
    rgb: U8,
    foreground: U8,
    alpha: F32,
    plate: U8,
    items: U8,
    item_tags: dict[int, frozenset[str]],
    tags: frozenset[str],
) -> Shot:
    """Make the Shot: drop items that were covered later, add the tags that only the picture can tell."""
    present = set(np.flatnonzero(np.bincount(items.ravel(), minlength=256)).tolist())
    kept = {item: set(own) for item, own in item_tags.items() if item in present}
    for item in contrast_tags(foreground, alpha, plate, items, sorted(kept)):
        kept[item].add("low-contrast")
    own = {item: frozenset(names) for item, names in kept.items()}
    every = tags.union(*own.values()) if own else tags | {"empty"}
    return Shot(rgb=rgb, alpha=alpha, foreground=foreground, plate=plate, items=items, tags=every, item_tags=own)


def contrast_tags(foreground: U8, alpha: F32, plate: U8, items: U8, present: Sequence[int]) -> list[int]:
    """Return the items whose colour along the edge is hardly other than the plate's there."""
    if not present:
        return []
    step = max(1, alpha.shape[0] // 144)  # an average needs no more pixels than this
    sparse = (slice(None, None, step),) * 2
    solid = cv2.compare(np.ascontiguousarray(alpha[sparse]), 0.9, cv2.CMP_GT)
    rim = cv2.erode(solid, np.ones((3, 3), np.uint8)) - cv2.erode(solid, np.ones((5, 5), np.uint8))
    red, green, blue = cv2.split(cv2.absdiff(foreground[sparse], plate[sparse]))
    difference = cv2.max(cv2.max(red, green), blue)[rim > 0]
    owner = items[sparse][rim > 0]
    totals = np.bincount(owner, difference, minlength=256)
    counts = np.bincount(owner, minlength=256)
    return [item for item in present if counts[item] and totals[item] < 255 * _FAINT * counts[item]]
