"""Surfaces that look like something: noise, wood, stone, cloth, metal, and how light falls on them."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import cv2
import numpy as np

from cutline.tools.scenes.shot import F32

__all__ = ["cloud", "colour", "grain", "lerp", "muted", "paint", "speckle", "stone", "weave", "wood"]


def colour(
    rng: np.random.Generator, *, saturation: tuple[float, float] = (0.0, 1.0), value: tuple[float, float] = (0.0, 1.0)
) -> F32:
    """Draw an RGB colour, float32[3], 0..1."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def lerp(low: F32, high: F32, amount: F32) -> F32:
    """Mix two colours by a map: float32[h, w] and two float32[3] give float32[h, w, 3]."""
    mixed: F32 = low + (high - low) * amount[..., None]
    return mixed


def muted(picture: F32, amount: float) -> F32:
    """Take this share of the saturation out of a picture, float32[h, w, 3]."""
    mixed: F32 = picture + np.float32(amount) * (picture.mean(axis=2, keepdims=True) - picture)
    return mixed


def cloud(
    rng: np.random.Generator, width: int, height: int, scale: float, octaves: int = 4, stretch: float = 1.0
) -> F32:
    """Return smooth noise, float32[h, w], mean 0.5, mostly within 0..1.

    Args:
        scale: pixels of its largest lumps.
        octaves: layers, each half the size and six tenths the strength of the one before.
        stretch: how many times longer than high the lumps are.
    """
    total = np.zeros((height, width), np.float32)
    strength = weight = 1.0
    spread = 0.0
    for _ in range(octaves):
        columns = int(np.clip(width / (scale * stretch), 1, width)) + 3
        rows = int(np.clip(height / scale, 1, height)) + 3
        lumps = rng.random((rows, columns), np.float32)
        layer = cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC)
        total += strength * (layer - 0.5)
        spread += strength * strength
        strength *= 0.6
        scale /= 2
        weight += strength
        if scale < 1:
            break
    total *= 0.9 / np.float32(np.sqrt(spread))
    total += 0.5
    return total


def grain(rng: np.random.Generator, width: int, height: int, strength: float) -> F32:
    """Return fine noise around 0, float32[h, w]."""
    noise: F32 = rng.standard_normal((height, width), np.float32) * np.float32(strength)
    return noise


def speckle(rng: np.random.Generator, width: int, height: int, count: int, radius: float) -> F32:
    """Return a map of `count` soft dots, float32[h, w], 0..1."""
    dots = np.zeros((height, width), np.uint8)
    xs, ys = rng.uniform(0, width, count), rng.uniform(0, height, count)
    sizes = rng.uniform(0.4, 1.0, count) * radius
    for x, y, size in zip(xs, ys, sizes, strict=True):
        cv2.circle(dots, (int(x * 16), int(y * 16)), max(8, int(size * 16)), 255, -1, cv2.LINE_AA, 4)
    soft: F32 = dots.astype(np.float32) * np.float32(1 / 255)
    return soft


def wood(rng: np.random.Generator, width: int, height: int, *, planks: int = 0) -> F32:
    """Return wood, its grain along the rows, float32[h, w, 3]."""
    hue = rng.uniform(0.05, 0.1)
    value = rng.uniform(0.3, 0.9)
    light = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.25, 0.6), value), np.float32)
    dark = light * np.array([0.62, 0.52, 0.45], np.float32)
    rings = cloud(rng, width, height, max(4.0, height / 5), 3, 9.0) * rng.uniform(3, 9)
    lines = np.abs((rings % 1.0) * 2 - 1)
    fibre = cloud(rng, width, height, 3.0, 2, 14.0)
    surface = lerp(light, dark, np.clip(0.55 * lines + 0.7 * (fibre - 0.5), 0, 1))
    if planks:
        edges = np.linspace(0, height, planks + 1).astype(int)
        for top, bottom in pairwise(edges):
            surface[top:bottom] = np.roll(surface[top:bottom], int(rng.integers(0, width)), axis=1) * rng.uniform(
                0.85, 1.12
            )
            surface[top : top + max(1, height // 200)] *= 0.55
    return surface


def stone(rng: np.random.Generator, width: int, height: int) -> F32:
    """Return marble, granite or plaster, float32[h, w, 3]."""
    base = colour(rng, saturation=(0, 0.2), value=(0.3, 0.95))
    other = np.clip(base * rng.uniform(0.5, 1.3) + rng.normal(0, 0.04, 3), 0, 1).astype(np.float32)
    kind = rng.integers(0, 3)
    lumps = cloud(rng, width, height, height / rng.uniform(1.5, 6), 5)
    if kind == 0:  # veins
        lumps = np.clip(1 - np.abs(lumps - 0.5) * rng.uniform(8, 20), 0, 1)
    elif kind == 1:  # granules
        lumps = np.clip(0.5 + 2.5 * (cloud(rng, width, height, max(2.0, height / 60), 2) - 0.5), 0, 1)
    return lerp(base, other, np.clip(lumps, 0, 1))


def weave(rng: np.random.Generator, width: int, height: int) -> F32:
    """Return cloth with a pattern of threads, stripes or checks, float32[h, w, 3]."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    period = height / rng.uniform(4, 30)
    base, other = colour(rng), colour(rng)
    along = (np.sin(x * (2 * np.pi / period)) > rng.uniform(-0.7, 0.7)).astype(np.float32)
    across = (np.sin(y * (2 * np.pi / period)) > rng.uniform(-0.7, 0.7)).astype(np.float32)
    kind = rng.integers(0, 3)
    pattern = along + 0 * y if kind == 0 else (along + across) / 2 if kind == 1 else np.abs(along - across)
    thread = max(2.0, height / 120)
    relief = 0.5 + 0.25 * (np.sin(x * (2 * np.pi / thread)) + np.sin(y * (2 * np.pi / thread)))
    cloth: F32 = lerp(base, other, np.asarray(pattern, np.float32)) * (0.85 + 0.25 * relief)[..., None].astype(
        np.float32
    )
    return cloth


def paint(rng: np.random.Generator, width: int, height: int) -> F32:
    """Return a plain wall or sheet: one colour, uneven light, a little dirt, float32[h, w, 3]."""
    base = (
        colour(rng, saturation=(0, 0.6), value=(0.1, 1.0))
        if rng.random() < 0.5
        else colour(rng, saturation=(0, 0.12), value=(0.4, 1))
    )
    uneven = 1 + rng.uniform(0, 0.12) * (cloud(rng, width, height, height / 2, 3) - 0.5)
    sheet: F32 = base * uneven[..., None].astype(np.float32)
    return sheet
