"""Fruit and vegetables: round bodies with skin, stem and leaf."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.relief import Capsule, Relief, capsules_along, shaded
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, f32
from cutline.tools.scenes.sprite import Sprite
from cutline.tools.scenes.textures import cloud, lerp, speckle

__all__ = ["PRODUCE", "Bunch", "Fruit"]

_SKIN = 192  # pixels round the equator of a skin's picture


def _tone(hue: float, saturation: float, value: float) -> F32:
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1)), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One fruit's shape: radius by angle, and its skin all the way round (longitude to the right, pole to pole)."""

    radii: F32  # [256], from the top clockwise, half heights
    skin: F32  # [h, w, 3]
    bumps: F32  # [h, w], height of the skin's relief, half heights
    gloss: float
    lobes: int = 0  # furrows from pole to pole


@final
class Fruit:
    """Owns one fruit. Lengths in half its height."""

    def __init__(
        self, body: Body, *, stem: F32 | None, leaf: F32 | None, dimple: float = 0.0, lean: float = 0.0
    ) -> None:
        """Describe it: colours of stem and leaf where there are any, depth of the hollow, the stem's lean."""
        self.tags = frozenset({"opaque", "thin"} if stem is not None else {"opaque"})
        self._body, self._stem, self._leaf, self._dimple, self.lean = body, stem, leaf, dimple, lean
        angles = np.arange(256) * (2 * np.pi / 256)
        self.width = float((body.radii * np.abs(np.sin(angles))).max())

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians, `height` pixels high with its stem."""
        body = self._body
        room = 0.22 if self._stem is not None else 0.0
        unit = height / (2 + room)
        half = int(np.ceil(unit * self.width)) + 2
        rows = int(np.ceil(height)) + 2
        x = (np.arange(2 * half + 1, dtype=np.float32)[None] - half) / np.float32(unit)
        top = float((-body.radii * np.cos(np.arange(256) * (2 * np.pi / 256))).min())
        y = np.arange(rows, dtype=np.float32)[:, None] / np.float32(unit) + np.float32(top - room)
        angle = np.arctan2(x, -y)
        radius = np.take(body.radii, (angle * (128 / np.pi)).astype(np.int32) % 256)
        share = np.hypot(x, y) / radius
        cover = np.clip((1 - share) * radius * unit + 0.5, 0, 1).astype(np.float32)
        dome = np.sqrt(np.maximum(1 - np.minimum(share, 1) ** 2, 0))
        latitude = np.clip(y / np.maximum(np.cos(np.arcsin(np.clip(x / radius, -1, 1))), 0.05) * 0.5 + 0.5, 0, 1)
        across = np.clip(x / np.maximum(self.width * np.sqrt(np.maximum(1 - (y * 0.96) ** 2, 0.02)), 1e-3), -1, 1)
        turned = np.mod(np.arcsin(across) / (2 * np.pi) + yaw / (2 * np.pi), 1)
        longitude = np.abs(2 * turned - 1)  # there and back: a skin without a seam
        high, wide = body.skin.shape[:2]
        map_x, map_y = (longitude * (wide - 1)).astype(np.float32), (latitude * (high - 1)).astype(np.float32)
        skin = cv2.remap(body.skin, map_x, map_y, cv2.INTER_LINEAR)
        relief = dome + cv2.remap(body.bumps, map_x, map_y, cv2.INTER_LINEAR)
        if body.lobes:
            relief = relief + 0.06 * np.abs(np.sin(turned * np.pi * body.lobes)) * dome
        hollow = np.exp(-((x / 0.25) ** 2) - ((y + 0.93) / 0.12) ** 2).astype(np.float32)
        relief = relief - self._dimple * hollow
        rgb = shaded(
            skin * (1 - 0.5 * self._dimple * hollow)[..., None],
            (relief * unit).astype(np.float32),
            lamps,
            body.gloss,
            sigma=max(0.7, unit / 90),
        )
        rim = np.clip(share, 0, 1)[..., None] ** 6  # grazing angles darken
        rgb = rgb * (1 - 0.25 * rim)
        if self._stem is not None:
            rgb, cover = self._crown(rgb, cover, unit, half, room, lamps)
        return Sprite.from_straight(rgb.astype(np.float32), cover, sorted(self.tags))

    def _crown(self, rgb: F32, cover: F32, unit: float, half: int, room: float, lamps: Lamps) -> tuple[F32, F32]:
        """Draw stem and leaf over the body."""
        layer = Relief(cover.shape[1], cover.shape[0])
        foot, tip = (1 + room - 0.88) * unit, 2.0
        bend = self.lean * 0.2 * unit
        points = np.array(
            [[half, foot], [half + bend * 0.4, (foot + tip) / 2], [half + bend, tip + 0.03 * unit]], np.float32
        )
        layer.add(capsules_along(points, np.array([0.035, 0.03, 0.05], np.float32) * unit), 1.0)
        for tone, blade in ((self._stem, False), (self._leaf, True)):
            if tone is None:
                continue
            if blade:
                layer = Relief(cover.shape[1], cover.shape[0])
                side = 1 if self.lean >= 0 else -1
                ends = np.array(
                    [
                        [half, foot - 0.06 * unit],
                        [half + side * 0.25 * unit, foot - 0.18 * unit],
                        [half + side * 0.55 * unit, foot - 0.12 * unit],
                    ],
                    np.float32,
                )
                layer.add(capsules_along(ends, np.array([0.02, 0.12, 0.02], np.float32) * unit, -0.1 * unit), 2.0)
            own = layer.coverage[..., None]
            drawn = shaded(tone, layer.heights * 0.7, lamps, 0.15)
            mixed = np.maximum(own + (1 - own) * cover[..., None], 1e-4)
            rgb = f32((drawn * own + rgb * (1 - own) * cover[..., None]) / mixed)
            cover = f32(mixed[..., 0] * (mixed[..., 0] > 2e-4))
        return rgb.astype(np.float32), cover.astype(np.float32)


def _round(rng: np.random.Generator, *, tall: float = 1.0, pear: float = 0.0, wobble: float = 0.008) -> F32:
    """Radius by angle of a round body: `pear` draws the top in."""
    angle = np.arange(256) * (2 * np.pi / 256)
    radius = 1 / np.sqrt(np.cos(angle) ** 2 + (np.sin(angle) * tall) ** 2)
    radius *= 1 - pear * np.exp(-((np.mod(angle + np.pi, 2 * np.pi) - np.pi) ** 2) / 0.6) * np.abs(np.sin(angle)) ** 0.3
    for wave in (2, 3, 5):
        radius *= 1 + rng.normal(0, wobble) * np.cos(wave * angle + rng.uniform(0, 6.28))
    low, high = float((-radius * np.cos(angle)).min()), float((-radius * np.cos(angle)).max())
    return f32(radius * 2 / (high - low))


def _skin(
    rng: np.random.Generator, first: F32, second: F32, *, streaks: float = 1.0, dots: int = 0, dot: F32 | None = None
) -> F32:
    """A skin of two colours that run into each other, with dots."""
    wide, high = 2 * _SKIN, _SKIN
    blush = np.clip(0.5 + 1.6 * (cloud(rng, wide, high, high / 2, 3) - 0.5), 0, 1)
    lines = cloud(rng, wide, high, 5.0, 2, 1 / max(streaks, 1)) if streaks > 1 else cloud(rng, wide, high, 24.0, 3)
    skin = lerp(first, second, np.clip(blush + 0.5 * (lines - 0.5), 0, 1)) * (0.94 + 0.12 * lines)[..., None]
    if dots:
        marks = speckle(rng, wide, high, dots, 1.6)
        skin = lerp3(skin, first * 0.6 + 0.4 if dot is None else dot, marks * 0.7)
    return np.clip(skin, 0, 1).astype(np.float32)


def lerp3(picture: F32, colour: F32, amount: F32) -> F32:
    """Lay a colour over a picture by a map."""
    mixed: F32 = picture + (colour - picture) * amount[..., None]
    return mixed


def _bumps(rng: np.random.Generator, size: float, strength: float) -> F32:
    field: F32 = (cloud(rng, 2 * _SKIN, _SKIN, size, 2) - 0.5) * np.float32(strength)
    return field


_BROWN = np.array([0.32, 0.22, 0.12], np.float32)
_GREEN = np.array([0.22, 0.42, 0.12], np.float32)


def apple(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """An apple: red, green or both."""
    del split, pixels
    first, second = (
        _tone(rng.choice([0.0, 0.25, 0.14]), 0.8, rng.uniform(0.5, 0.8)),
        _tone(rng.choice([0.98, 0.2, 0.12]), 0.75, rng.uniform(0.5, 0.85)),
    )
    body = Body(
        radii=_round(rng, tall=rng.uniform(0.86, 1.0)),
        skin=_skin(rng, first, second, streaks=6, dots=120),
        bumps=_bumps(rng, 60, 0.03),
        gloss=float(rng.uniform(0.3, 0.7)),
    )
    return Fruit(body, stem=_BROWN, leaf=_GREEN if rng.random() < 0.3 else None, dimple=0.35, lean=rng.normal(0, 0.7))


def citrus(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """An orange, lemon, lime or grapefruit: pores all over."""
    del split, pixels
    hue = rng.choice([0.08, 0.11, 0.15, 0.24])
    tone = _tone(hue, 0.9, rng.uniform(0.7, 0.98))
    body = Body(
        radii=_round(rng, tall=rng.uniform(0.85, 1.25)),
        skin=_skin(rng, tone, tone * 0.9, dots=500, dot=tone * 0.8),
        bumps=_bumps(rng, 3.0, 0.03),
        gloss=float(rng.uniform(0.25, 0.5)),
    )
    return Fruit(body, stem=None, leaf=None)


def tomato(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """A tomato with its green star."""
    del split, pixels
    tone = _tone(rng.uniform(0.97, 1.06), 0.9, rng.uniform(0.6, 0.9))
    body = Body(
        radii=_round(rng, tall=rng.uniform(0.78, 0.95)),
        skin=_skin(rng, tone, tone * 0.85),
        bumps=_bumps(rng, 80, 0.02),
        gloss=0.75,
        lobes=int(rng.choice([0, 7])),
    )
    return Fruit(body, stem=_GREEN, leaf=_GREEN, dimple=0.3, lean=rng.normal(0, 0.6))


def potato(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """A potato, kiwi or beet: uneven and matt."""
    del split, pixels
    tone = _tone(rng.uniform(0.05, 0.11), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.8))
    body = Body(
        radii=_round(rng, tall=rng.uniform(0.6, 1.3), wobble=0.03),
        skin=_skin(rng, tone, tone * 0.8, dots=160, dot=tone * 0.5),
        bumps=_bumps(rng, 22, 0.12),
        gloss=0.05,
    )
    return Fruit(body, stem=None, leaf=None)


def pear(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """A pear."""
    del split, pixels
    tone = _tone(rng.uniform(0.14, 0.22), rng.uniform(0.5, 0.8), rng.uniform(0.6, 0.85))
    body = Body(
        radii=_round(rng, tall=1.3, pear=0.4),
        skin=_skin(rng, tone, _tone(0.09, 0.6, 0.6), dots=300, dot=tone * 0.6),
        bumps=_bumps(rng, 40, 0.03),
        gloss=0.3,
    )
    return Fruit(body, stem=_BROWN, leaf=None, lean=rng.normal(0, 1))


def pepper(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """A bell pepper: lobes and a thick stem."""
    del split, pixels
    tone = _tone(rng.choice([0.0, 0.1, 0.15, 0.3]), 0.9, rng.uniform(0.5, 0.9))
    body = Body(
        radii=_round(rng, tall=rng.uniform(1.0, 1.2), pear=-0.12),
        skin=_skin(rng, tone, tone * 0.9),
        bumps=_bumps(rng, 50, 0.05),
        gloss=0.85,
        lobes=4,
    )
    return Fruit(body, stem=_GREEN, leaf=None, dimple=0.5, lean=rng.normal(0, 0.8))


def avocado(rng: np.random.Generator, split: Split, pixels: int) -> Fruit:
    """An avocado: dark and rough."""
    del split, pixels
    tone = _tone(rng.uniform(0.2, 0.32), rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.35))
    body = Body(
        radii=_round(rng, tall=1.35, pear=0.2),
        skin=_skin(rng, tone, tone * 0.6, dots=300, dot=tone * 1.5),
        bumps=_bumps(rng, 6, 0.07),
        gloss=0.35,
    )
    return Fruit(body, stem=None, leaf=None)


@final
class Bunch:
    """Owns a thing of capsules in one colour each: bananas, carrots, grapes. Points in its own height."""

    def __init__(
        self, parts: Sequence[tuple[Sequence[Capsule], F32]], *, gloss: float, tags: Sequence[str], blend: float = 0.02
    ) -> None:
        """Take (capsules, colour) from back to front; x and y run from 0 to 1 and more."""
        self.tags = frozenset(tags)
        self._parts, self._gloss, self._blend = parts, gloss, blend
        every = [part for capsules, _ in parts for part in capsules]
        self._left = min(min(p.x0 - p.r0, p.x1 - p.r1) for p in every)
        self._top = min(min(p.y0 - p.r0, p.y1 - p.r1) for p in every)
        right, bottom = (
            max(max(p.x0 + p.r0, p.x1 + p.r1) for p in every),
            max(max(p.y0 + p.r0, p.y1 + p.r1) for p in every),
        )
        self._size = (right - self._left, bottom - self._top)
        self.width = self._size[0] / self._size[1]

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it; turning makes it narrower, as of a flat thing."""
        unit = height / self._size[1]
        squeeze = np.sign(np.cos(yaw)) * max(0.3, abs(float(np.cos(yaw))))
        middle = self._left + self._size[0] / 2
        thick = 2 * max(max(p.r0, p.r1) for capsules, _ in self._parts for p in capsules)  # does not get narrower
        broad = thick + max(self._size[0] - thick, 0) * abs(squeeze)
        columns, rows = int(np.ceil(broad * unit)) + 2, int(np.ceil(height)) + 2
        rgb, alpha = np.zeros((rows, columns, 3), np.float32), np.zeros((rows, columns), np.float32)

        def moved(p: Capsule) -> Capsule:
            xs = [((x - middle) * squeeze) * unit + columns / 2 for x in (p.x0, p.x1)]
            ys = [(y - self._top) * unit for y in (p.y0, p.y1)]
            return Capsule(xs[0], ys[0], p.r0 * unit, xs[1], ys[1], p.r1 * unit, p.z0 * unit, p.z1 * unit)

        for capsules, tone in self._parts:
            layer = Relief(columns, rows)
            layer.add([moved(part) for part in capsules], self._blend * unit)
            own = layer.coverage
            drawn = shaded(tone, layer.heights, lamps, self._gloss, sigma=max(0.7, unit / 200))
            total = np.maximum(own + (1 - own) * alpha, 1e-5)
            rgb = f32((drawn * own[..., None] + rgb * ((1 - own) * alpha)[..., None]) / total[..., None])
            alpha = f32(own + (1 - own) * alpha)
        return Sprite.from_straight(rgb.astype(np.float32), alpha, sorted(self.tags))


def bananas(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """One to four bananas from one stalk."""
    del split, pixels
    parts: list[tuple[list[Capsule], F32]] = []
    for finger in range(int(rng.integers(1, 5))):
        bend, turn = rng.uniform(0.7, 1.1), 0.22 * finger + rng.normal(0, 0.04)
        t = np.linspace(-1, 1, 25)
        angle = bend * t + turn
        points = np.stack([-0.62 * np.cos(angle), 0.62 * np.sin(angle)], 1) + np.array([0.62 + 0.05 * finger, 0.0])
        radii = 0.1 * np.sqrt(np.clip(1 - np.abs(t) ** 5, 0, 1)) + 0.018
        tone = _tone(rng.uniform(0.125, 0.155), rng.uniform(0.75, 0.9), rng.uniform(0.75, 0.95))
        parts.append((capsules_along(points.astype(np.float32), radii.astype(np.float32)), tone))
        parts.extend((capsules_along(f32(end), 0.022), _BROWN * 1.2) for end in (points[:2], points[-2:]))
    return Bunch(parts, gloss=0.15, tags=("opaque",))


def carrots(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Carrots with thin green tops."""
    del split, pixels
    parts: list[tuple[list[Capsule], F32]] = []
    for root in range(int(rng.integers(1, 4))):
        x, tip = 0.22 * root, 0.22 * root + rng.normal(0, 0.1)
        for _ in range(int(rng.integers(3, 7))):
            leaf = np.array([[x, 0.3], [x + rng.normal(0, 0.06), 0.15], [x + rng.normal(0, 0.14), 0.0]], np.float32)
            parts.append(
                (capsules_along(leaf, np.array([0.012, 0.008, 0.005], np.float32)), _GREEN * rng.uniform(0.8, 1.4))
            )
        body = np.array([[x, 0.34], [(x + tip) / 2, 0.65], [tip, 1.0]], np.float32)
        parts.append(
            (
                capsules_along(body, np.array([0.085, 0.065, 0.012], np.float32)),
                _tone(rng.uniform(0.05, 0.075), 0.9, rng.uniform(0.75, 0.95)),
            )
        )
    return Bunch(parts, gloss=0.15, tags=("opaque", "thin"))


def grapes(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A bunch of grapes."""
    del split, pixels
    parts: list[tuple[list[Capsule], F32]] = [
        (capsules_along(np.array([[0.3, -0.12], [0.32, 0.2]], np.float32), 0.014), _BROWN)
    ]
    hue, value = rng.choice([0.22, 0.85, 0.97]), rng.uniform(0.25, 0.75)
    for row in range(7):
        for x in np.linspace(-0.3, 0.3, max(1, 6 - row)) * (1 - row / 9):
            px, py = 0.3 + x + rng.normal(0, 0.02), 0.12 + row * 0.125 + rng.normal(0, 0.02)
            ball = Capsule(px, py, 0.082, px, py + 0.02, 0.082)
            parts.append(([ball], _tone(hue + rng.normal(0, 0.01), 0.65, value * rng.uniform(0.8, 1.2))))
    return Bunch(parts, gloss=0.5, tags=("opaque", "thin"))


Maker = Callable[[np.random.Generator, Split, int], "Fruit | Bunch"]

PRODUCE: dict[Split, dict[str, Maker]] = {
    "train": {"apple": apple, "citrus": citrus, "tomato": tomato, "potato": potato, "bananas": bananas},
    "test": {"pear": pear, "pepper": pepper, "avocado": avocado, "carrots": carrots, "grapes": grapes},
}
