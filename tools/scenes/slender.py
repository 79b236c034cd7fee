"""Thin goods: cables, cutlery, whisks, headphones, flowers; and mugs and cups with handles and straws."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.produce import Bunch
from cutline.tools.scenes.relief import Capsule, Relief, capsules_along, shaded
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import MARGIN, Sprite
from cutline.tools.scenes.turned import Clear, Skin, Turned, held_back

__all__ = ["SLENDER", "Joined"]

Part = tuple[list[Capsule], F32]


def _hsv(hue: float, saturation: float, value: float) -> F32:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _steel(rng: np.random.Generator) -> F32:
    return np.array([0.72, 0.73, 0.76], np.float32) * np.float32(rng.uniform(0.8, 1.2))


def _line(
    points: list[tuple[float, float]] | np.ndarray, radius: float | np.ndarray, depth: float = 0.0
) -> list[Capsule]:
    return capsules_along(np.asarray(points, np.float32), np.asarray(radius, np.float32), depth)


@final
class Joined:
    """Owns a turned body and the rods joined to it: a mug's handle, a cup's straw. Points in the body's heights."""

    def __init__(self, body: Turned, rods: list[Part], *, swings: bool) -> None:
        """Take rods in (x from the axis, y from the top); with `swings` they go round with the body, else they stay."""
        self.tags = body.tags | {"thin"}
        self._body, self._rods, self._swings = body, rods, swings
        self.width = body.width

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians, `height` pixels high."""
        highest = min(0.0, *(min(p.y0 - p.r0, p.y1 - p.r1) for part, _ in self._rods for p in part))
        full = height / (1 - highest)
        body = self._body.view(yaw, full, lamps)
        unit, top = self._body.scale(full)
        swing = float(np.cos(yaw)) if self._swings else 1.0
        reach = max(max(abs(p.x0), abs(p.x1)) + max(p.r0, p.r1) for part, _ in self._rods for p in part)
        half = max(int(np.ceil(reach * unit)) + 2, body.width // 2 + 1)
        above = int(np.ceil(-highest * unit))
        columns, rows = 2 * half + 1, above + body.height
        rgba = np.zeros((rows, columns, 4), np.float32)
        left = half - (body.width - 1) // 2
        own = body.rgba.astype(np.float32) / 255
        optics = None if body.optics is None else np.zeros((rows, columns, 3), np.float32)
        if optics is not None and body.optics is not None:
            optics[above:, left : left + body.width] = body.optics
        front = self._swings and np.sin(yaw) < -0.2
        rods = self._draw(columns, rows, half, above + MARGIN + top, unit, swing, lamps)
        placed = np.zeros_like(rgba)
        placed[above:, left : left + body.width] = own
        low, high = (placed, rods) if front else (rods, placed)
        rgba = high + (1 - high[..., 3:]) * low
        if optics is not None:
            optics[..., 0] *= 1 - rods[..., 3]
            optics[..., 1:] *= (1 - rods[..., 3:]) > 0.5
        return Sprite(cv2.convertScaleAbs(rgba, alpha=255.0), self.tags, optics)

    def _draw(self, columns: int, rows: int, half: int, top: float, unit: float, swing: float, lamps: Lamps) -> F32:
        rgba = np.zeros((rows, columns, 4), np.float32)
        for capsules, tone in self._rods:
            layer = Relief(columns, rows)
            layer.add(
                [
                    Capsule(
                        half + p.x0 * swing * unit,
                        top + p.y0 * unit,
                        p.r0 * unit,
                        half + p.x1 * swing * unit,
                        top + p.y1 * unit,
                        p.r1 * unit,
                    )
                    for p in capsules
                ],
                0.5,
            )
            cover = layer.coverage[..., None]
            drawn = shaded(tone, layer.heights, lamps, 0.4)
            rgba[..., :3] = drawn * cover + rgba[..., :3] * (1 - cover)
            rgba[..., 3:] = cover + rgba[..., 3:] * (1 - cover)
        return rgba


def mug(rng: np.random.Generator, split: Split, pixels: int) -> Joined:
    """A mug with its handle."""
    r = rng.uniform(0.36, 0.46)
    design = draw_design(rng, split)
    wrap = design.wrap(max(24, int(pixels * 2 * np.pi * r)), max(12, pixels))
    glaze = Skin(colour=design.ground, gloss=0.7, print=wrap)
    inner = Skin(colour=design.ground * 0.5, gloss=0.2)
    body = Turned(
        [(0, r), (0.9, r * rng.uniform(0.85, 1)), (1, r * 0.8)],
        [(1, glaze)],
        tags=("opaque",),
        tilt=rng.uniform(0.05, 0.25),
        lid=inner,
        smooth=0.01,
    )
    t = np.linspace(-1.35, 1.35, 11)
    out, high = rng.uniform(0.22, 0.32), rng.uniform(0.26, 0.34)
    points = np.stack([r * 0.95 + out * np.cos(t), 0.5 + high * np.sin(t)], 1)
    return Joined(body, [(_line(points, rng.uniform(0.03, 0.055)), design.ground)], swings=True)


def straw_cup(rng: np.random.Generator, split: Split, pixels: int) -> Joined:
    """A paper or clear cup with lid and straw."""
    r = rng.uniform(0.26, 0.34)
    design = draw_design(rng, split)
    if rng.random() < 0.5:
        drink = _hsv(rng.uniform(0, 0.2), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.9))
        film = Clear(tint=drink, density=held_back(drink), filtering=0.85, bend=0.2, lens=0.5)
        side, tags = Skin(colour=drink, gloss=0.7, clear=film), ("transparent",)
    else:
        wrap = design.wrap(max(24, int(pixels * 2 * np.pi * r)), max(12, pixels))
        side, tags = Skin(colour=design.ground, gloss=0.2, print=wrap), ("opaque",)
    lid = Skin(colour=np.full(3, rng.choice([0.08, 0.93]), np.float32), gloss=0.4)
    profile = [(0, r * 0.95), (0.05, r * 1.03), (0.08, r * 1.03), (0.09, r), (1, r * 0.7)]
    body = Turned(profile, [(0.085, lid), (1, side)], tags=tags, tilt=rng.uniform(0.05, 0.2), lid=lid, smooth=0.004)
    lean = rng.normal(0, 0.08)
    straw = _line(
        [(lean * 0.3, 0.05), (lean * 2, -0.28), (lean * 2 + rng.choice([-1, 1]) * rng.uniform(0.02, 0.16), -0.36)],
        rng.uniform(0.012, 0.02),
    )
    return Joined(body, [(straw, _hsv(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.3, 1)))], swings=False)


def watering_can(rng: np.random.Generator, split: Split, pixels: int) -> Joined:
    """A kettle or watering can: spout, lid knob and a high handle."""
    del split, pixels
    r = rng.uniform(0.42, 0.55)
    tone = _hsv(rng.random(), rng.uniform(0, 0.8), rng.uniform(0.25, 0.9))
    metal = Skin(colour=tone, gloss=0.6, metal=float(rng.choice([0, 0.7])))
    body = Turned(
        [(0, r * 0.55), (0.5, r), (0.97, r), (1, r * 0.9)],
        [(1, metal)],
        tags=("opaque",),
        tilt=0.12,
        lid=metal,
        smooth=0.03,
    )
    t = np.linspace(np.pi, 2 * np.pi, 13)
    handle = np.stack([r * 0.75 * np.cos(t), 0.08 + 0.5 * np.sin(t)], 1)
    spout = [(-r * 0.9, 0.75), (-r * 1.25, 0.5), (-r * 1.6, 0.12)]
    rods = [
        (_line(handle, 0.028), tone * 0.4),
        (_line(spout, np.array([0.09, 0.06, 0.04])), tone),
        (_line([(0, 0.0), (0, -0.05)], 0.04), tone * 0.4),
    ]
    return Joined(body, rods, swings=True)


def cable(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A coiled cable with a plug."""
    del split, pixels
    tone = np.full(3, rng.choice([0.06, 0.9]), np.float32) if rng.random() < 0.7 else _hsv(rng.random(), 0.8, 0.7)
    turns = int(rng.integers(2, 5))
    t = np.linspace(0, 2 * np.pi * turns, 28 * turns)
    wide = 0.42 + 0.03 * np.sin(t * 0.37 + rng.uniform(0, 6)) + 0.02 * np.sin(t * 1.7)
    points = np.stack([0.5 + wide * np.cos(t) * rng.uniform(0.6, 1.1), 0.5 + wide * np.sin(t)], 1)
    end = np.array([[0.6 + rng.uniform(0, 0.4), 0.95 + rng.uniform(0, 0.3)]])
    points = np.concatenate([points, (points[-1:] + end) / 2 + rng.normal(0, 0.05, (1, 2)), end])
    plug = _line([tuple(points[-1]), tuple(points[-1] + (0.06, 0.05))], 0.035)
    return Bunch(
        [(_line(points, rng.uniform(0.008, 0.018)), tone), (plug, tone * 0.8 + 0.05)],
        gloss=0.35,
        tags=("opaque", "thin"),
        blend=0.001,
    )


def whisk(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A whisk: wire loops and a handle."""
    del split, pixels
    steel, parts = _steel(rng), []
    t = np.linspace(0, np.pi, 17)
    for wide in np.linspace(-0.2, 0.2, int(rng.integers(4, 8))):
        x = wide * np.sin(t) * (1.2 - 0.4 * np.cos(t))
        parts.append((_line(np.stack([x, 0.28 - 0.28 * np.cos(t)], 1)[::-1], 0.007), steel))
        parts.append((_line(np.stack([-x, 0.28 - 0.28 * np.cos(t)], 1), 0.007), steel))
    parts.append(
        (
            _line([(0, 0.55), (0, 0.97)], np.array([0.03, 0.035])),
            _hsv(rng.random(), rng.uniform(0, 0.8), rng.uniform(0.1, 0.9)),
        )
    )
    return Bunch(parts, gloss=0.7, tags=("opaque", "thin"), blend=0.001)


def fork(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A fork or a comb-like tool: narrow tines with gaps."""
    del split, pixels
    tone = _steel(rng) if rng.random() < 0.7 else _hsv(rng.random(), 0.5, 0.9)
    tines = int(rng.integers(3, 6))
    parts = [(_line([(x, 0.0), (x, 0.24), (x * 0.7, 0.3)], 0.011), tone) for x in np.linspace(-0.07, 0.07, tines)]
    parts.append(
        (
            _line([(0, 0.32), (0, 0.36), (0, 0.45), (0, 0.75), (0, 0.98)], np.array([0.075, 0.06, 0.018, 0.02, 0.035])),
            tone,
        )
    )
    return Bunch(parts, gloss=0.7, tags=("opaque", "thin"), blend=0.01)


def headphones(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Headphones: a thin bow and two cushions."""
    del split, pixels
    tone = np.full(3, rng.choice([0.08, 0.5, 0.92]), np.float32) if rng.random() < 0.6 else _hsv(rng.random(), 0.7, 0.7)
    t = np.linspace(np.pi, 2 * np.pi, 17)
    bow = np.stack([0.45 * np.cos(t), 0.5 + 0.5 * np.sin(t)], 1)
    cups = [
        _line([(side * 0.45, 0.5), (side * 0.43, 0.9)], 0.012) + _line([(side * 0.42, 0.6), (side * 0.42, 0.85)], 0.1)
        for side in (-1, 1)
    ]
    return Bunch(
        [(_line(bow, 0.022), tone), *((cup, tone * 0.8) for cup in cups)],
        gloss=0.4,
        tags=("opaque", "thin"),
        blend=0.01,
    )


def flowers(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Flowers on long stems."""
    del split, pixels
    parts: list[Part] = []
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.normal(0, 0.2), rng.uniform(0.05, 0.25)
        green = _hsv(0.3, 0.6, rng.uniform(0.3, 0.5))
        parts.append((_line([(0.02 * x, 1.0), (x * 0.5, 0.55), (x, y)], 0.008), green))
        parts.append((_line([(x * 0.4, 0.62), (x * 0.4 + rng.normal(0, 0.1), 0.5)], np.array([0.006, 0.03])), green))
        petal = _hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.6, 1))
        for angle in np.arange(0, 2 * np.pi, 2 * np.pi / int(rng.integers(5, 9))):
            tip = (x + 0.075 * np.cos(angle), y + 0.065 * np.sin(angle))
            parts.append((_line([(x, y), tip], np.array([0.012, 0.03])), petal * np.float32(rng.uniform(0.85, 1.1))))
        parts.append(([Capsule(x, y, 0.025, x, y + 0.001, 0.025)], _hsv(0.14, 0.8, 0.8)))
    return Bunch(parts, gloss=0.05, tags=("opaque", "thin"), blend=0.004)


def key_ring(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Keys on a ring."""
    del split, pixels
    t = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([0.18 * np.cos(t), 0.18 + 0.18 * np.sin(t)], 1)
    parts: list[Part] = [(_line(ring, 0.012), _steel(rng))]
    for _ in range(int(rng.integers(2, 4))):
        turn = rng.normal(0, 0.35)
        tone = _steel(rng) * np.array([1, rng.uniform(0.8, 1), rng.uniform(0.5, 1)], np.float32)
        shaft = [(0.0, 0.34), (0.0, 0.45), (0.0, 0.98)]
        turned = [(x * np.cos(turn) - y * np.sin(turn), 0.1 + x * np.sin(turn) + y * np.cos(turn)) for x, y in shaft]
        parts.append((_line(turned, np.array([0.09, 0.035, 0.025])), tone))
    return Bunch(parts, gloss=0.7, tags=("opaque", "thin"), blend=0.004)


Maker = Callable[[np.random.Generator, Split, int], "Joined | Bunch"]

SLENDER: dict[Split, dict[str, Maker]] = {
    "train": {"mug": mug, "straw cup": straw_cup, "cable": cable, "whisk": whisk, "fork": fork},
    "test": {"watering can": watering_can, "headphones": headphones, "flowers": flowers, "key ring": key_ring},
}
