"""Fine goods for training: sprigs, leeks, spectacles, scissors, hangers. Every line of them is an edge."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from cutline.tools.scenes.produce import Bunch
from cutline.tools.scenes.relief import Capsule, capsules_along
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32

__all__ = ["FILIGREE"]

Part = tuple[list[Capsule], F32]


def _tone(rng: np.random.Generator, hue: float | None = None) -> F32:
    """A colour, of this hue if it is given, or black, white or steel."""
    if hue is None and rng.random() < 0.5:
        return np.full(3, rng.choice([0.07, 0.5, 0.75, 0.93]), np.float32)
    drawn = colorsys.hsv_to_rgb(rng.random() if hue is None else hue, rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.9))
    return np.array(drawn, np.float32)


def _rod(points: object, radius: object) -> list[Capsule]:
    return capsules_along(np.asarray(points, np.float32), np.asarray(radius, np.float32))


def _ring(x: float, y: float, wide: float, high: float, radius: float) -> list[Capsule]:
    t = np.linspace(0, 2 * np.pi, 21)
    return _rod(np.stack([x + wide * np.cos(t), y + high * np.sin(t)], 1), radius)


def sprig(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A handful of herbs: stems that part, with small leaves on both sides."""
    del split, pixels
    parts: list[Part] = []
    hue, leaf = rng.uniform(0.2, 0.42), rng.uniform(0.012, 0.04)
    for _ in range(int(rng.integers(2, 7))):
        tip = np.array([rng.normal(0, 0.22), rng.uniform(0, 0.2)])
        middle = np.array([tip[0] * 0.35 + rng.normal(0, 0.03), 0.55])
        foot = np.array([rng.normal(0, 0.03), 1.0])
        tone = _tone(rng, hue)
        parts.append((_rod([foot, middle, tip], rng.uniform(0.004, 0.01)), tone * 0.8))
        for share in np.arange(rng.uniform(0.1, 0.3), 1.01, rng.uniform(0.12, 0.3)):
            root = middle + (tip - middle) * share
            for side in (-1, 1):
                end = root + np.array([side * rng.uniform(0.5, 1), rng.uniform(-0.9, 0.1)]) * leaf * 2.5
                parts.append(
                    (_rod([root, (root + end) / 2, end], [0.004, leaf * 0.6, 0.004]), tone * rng.uniform(0.8, 1.2))
                )
    return Bunch(parts, gloss=0.1, tags=("opaque", "thin"), blend=0.002)


def leek(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Leeks, celery or rhubarb: stalks that end in long narrow leaves."""
    del split, pixels
    parts: list[Part] = []
    hue, pale = float(rng.choice([0.22, 0.3, 0.36, 0.95])), np.array([0.9, 0.93, 0.8], np.float32)
    for stalk in range(int(rng.integers(1, 4))):
        x, thick = 0.11 * stalk, rng.uniform(0.02, 0.05)
        for _ in range(int(rng.integers(2, 6))):
            lean = rng.normal(0, 0.12)
            blade = [(x, 0.55), (x + 0.3 * lean, 0.35), (x + lean, rng.uniform(0, 0.15))]
            parts.append((_rod(blade, [thick * 0.6, thick * rng.uniform(0.3, 0.7), 0.004]), _tone(rng, hue) * 0.8))
        parts.append((_rod([(x, 0.5), (x, 0.75), (x, 0.97)], [thick, thick, thick * 1.3]), pale * rng.uniform(0.7, 1)))
        roots = int(rng.integers(0, 5))
        parts.extend((_rod([(x, 0.98), (x + rng.normal(0, 0.05), 1.04)], 0.003), pale * 0.7) for _ in range(roots))
    return Bunch(parts, gloss=0.2, tags=("opaque", "thin"), blend=0.004)


def spectacles(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Spectacles without their lenses, standing on their side arms."""
    del split, pixels
    tone, wide, high = _tone(rng), rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.42)
    thick = rng.uniform(0.02, 0.05)
    parts: list[Part] = [(_ring(side * (wide + 0.1), 0.5, wide, high, thick), tone) for side in (-1, 1)]
    parts.append((_rod([(-0.1, 0.42), (0, 0.36), (0.1, 0.42)], thick), tone))
    reach = 2 * wide + 0.1
    arms = [[(side * reach, 0.4), (side * (reach + 0.15), 0.45), (side * (reach + 0.2), 0.9)] for side in (-1, 1)]
    parts.extend((_rod(arm, thick), tone) for arm in arms)
    return Bunch(parts, gloss=0.6, tags=("opaque", "thin"), blend=0.002)


def scissors(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """Scissors, pliers or tongs, half open."""
    del split, pixels
    steel, grip, spread = np.full(3, rng.uniform(0.55, 0.85), np.float32), _tone(rng), rng.uniform(0.03, 0.16)
    parts: list[Part] = []
    for side in (-1, 1):
        blade = [(side * spread, 0.0), (side * spread * 0.4, 0.3), (0.0, 0.55)]
        parts.append((_rod(blade, [0.004, rng.uniform(0.015, 0.03), 0.03]), steel))
        parts.append((_rod([(0.0, 0.55), (-side * (spread * 0.5 + 0.05), 0.72)], 0.02), grip))
        parts.append((_ring(-side * (spread * 0.6 + 0.11), 0.84, 0.085, 0.12, rng.uniform(0.016, 0.03)), grip))
    return Bunch(parts, gloss=0.6, tags=("opaque", "thin"), blend=0.003)


def hanger(rng: np.random.Generator, split: Split, pixels: int) -> Bunch:
    """A clothes hanger: a triangle of wire with a hook."""
    del split, pixels
    tone, thick, wide = _tone(rng), rng.uniform(0.01, 0.035), rng.uniform(0.7, 1.1)
    t = np.linspace(-0.4, np.pi, 12)
    hook = np.stack([0.09 * np.cos(t), 0.13 - 0.1 * np.sin(t)], 1)
    bow = [(0.0, 0.45), (wide, 0.92), (wide * 0.95, 1.0), (-wide * 0.95, 1.0), (-wide, 0.92), (0.0, 0.45)]
    parts: list[Part] = [(_rod(bow, thick), tone), (_rod([*hook, (0.0, 0.3), (0.0, 0.45)], 0.012), _tone(rng))]
    return Bunch(parts, gloss=0.5, tags=("opaque", "thin"), blend=0.003)


Maker = Callable[[np.random.Generator, Split, int], Bunch]

FILIGREE: dict[Split, dict[str, Maker]] = {
    "train": {
        "sprig": sprig,
        "leek": leek,
        "spectacles": spectacles,
        "scissors": scissors,
        "hanger": hanger,
    },
    "test": {},
}
