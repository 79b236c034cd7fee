"""The style images of the shipped styles, drawn here: the same picture every time, and nobody else's art is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import UsageError
from cutline.tools.train.style_canvas import SCREEN

__all__ = ["STYLES", "draw_style"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator

WIDTH, HEIGHT = 640, 448  # of a style image, in pixels of the network's input
_FINE = 2  # shapes are drawn this many times larger and reduced, which smooths their outlines
_SHIFT = 4  # fractional bits of the coordinates that OpenCV gets


def draw_style(name: str, width: int = WIDTH, height: int = HEIGHT) -> U8:
    """Draw a shipped style's image: uint8[height, width, 3], R'G'B'.

    Raises:
        UsageError: no style has that name.
    """
    if name not in STYLES:
        raise UsageError("no style has that name", remedy=f"Use one of {', '.join(STYLES)}.", name=name)
    picture = STYLES[name](np.random.default_rng(20_26), width, height)
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def _ink(rng: Rng, width: int, height: int) -> F32:
    """Ink and wash: pools of thinned ink with dark rims, brush lines that run dry, splashes, on laid paper."""
    picture = np.ones((height, width, 3), np.float32) * np.array([0.965, 0.945, 0.90], np.float32)
    for _ in range(22):
        mask = _blob(rng, width, height, rng.uniform(0.05, 0.22) * width)
        pooled = 0.55 + 0.45 * _noise(rng, width, height, 14)
        rim = np.clip(mask - cv2.GaussianBlur(mask, (0, 0), 3.0), 0, 1) * 1.1
        tint = np.array(_INKS[int(rng.integers(len(_INKS)))], np.float32)
        cover = np.clip(mask * pooled * rng.uniform(0.2, 0.7) + rim * 0.8, 0, 1)[..., None]
        picture *= 1 - cover * (1 - tint)
    for _ in range(60):
        picture *= 1 - _brush_line(rng, width, height)[..., None] * np.array([0.93, 0.92, 0.87], np.float32)
    drops = np.zeros((height * _FINE, width * _FINE), np.uint8)
    for _ in range(160):
        at = (int(rng.integers(width * _FINE)), int(rng.integers(height * _FINE)))
        cv2.circle(drops, at, int(rng.gamma(1.3, 1.6)) + 1, 255, -1, cv2.LINE_AA)
    picture *= 1 - 0.85 * _reduced(drops, width, height)[..., None]
    grain = 1 + 0.05 * (_noise(rng, width, height, 0.8) - 0.5) + 0.04 * (_noise(rng, width, height, 3) - 0.5)
    return np.asarray(picture * grain[..., None], np.float32)


_INKS = ((0.36, 0.40, 0.48), (0.45, 0.45, 0.47), (0.28, 0.30, 0.36), (0.52, 0.55, 0.62), (0.62, 0.46, 0.36))


def _poster(rng: Rng, width: int, height: int) -> F32:
    """Screen print: flat colours side by side, tones as dots on a screen at 45 degrees, black outlines."""
    cells, borders = _mosaic(rng, width, height, 46)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    screen = (np.cos(2 * np.pi * u / SCREEN) + np.cos(2 * np.pi * v / SCREEN)) / 4 + 0.5
    picture = np.zeros((height, width, 3), np.float32)
    for cell in range(int(cells.max()) + 1):
        where = cells == cell
        if not where.any():
            continue
        pair = rng.permutation(len(_PRINT))[:2]
        ground, dots = (np.array(_PRINT[int(i)], np.float32) for i in pair)
        angle, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.75)
        slope = ((x - x[where].mean()) * np.cos(angle) + (y - y[where].mean()) * np.sin(angle)) / width
        tone = np.clip(middle + 2.2 * slope, 0, 1)
        share = np.clip((tone - screen) * 8 + 0.5, 0, 1) if rng.random() < 0.62 else np.zeros_like(tone)
        picture[where] = (ground + share[..., None] * (dots - ground))[where]
    picture *= 1 - 0.95 * borders[..., None]
    return np.asarray(picture * (1 + 0.03 * (_noise(rng, width, height, 0.8) - 0.5))[..., None], np.float32)


_PRINT = (
    (0.97, 0.93, 0.82),
    (0.97, 0.93, 0.82),
    (0.90, 0.20, 0.16),
    (0.98, 0.77, 0.14),
    (0.09, 0.56, 0.60),
    (0.11, 0.17, 0.36),
    (0.95, 0.52, 0.47),
)


def _oil(rng: Rng, width: int, height: int) -> F32:
    """Oil: short thick strokes that follow a swirling field, each with the marks of its bristles, lit from one side."""
    w, h = width * _FINE, height * _FINE
    palette = np.array(_OILS, np.float32)
    tone, swirl = _noise(rng, w, h, 70), _noise(rng, w, h, 90) * 4 * np.pi
    picture = np.full((h, w, 3), palette[1], np.float32)
    relief = np.zeros((h, w), np.float32)
    for thick, count in ((26, 900), (16, 2600), (10, 5200)):
        for x, y in zip(rng.uniform(0, w, count), rng.uniform(0, h, count), strict=True):
            angle = float(swirl[int(y), int(x)]) + rng.normal(0, 0.15)
            at = np.clip(tone[int(y), int(x)] + rng.normal(0, 0.09), 0, 0.999) * (len(palette) - 1)
            colour = palette[int(at)] + (at - int(at)) * (palette[int(at) + 1] - palette[int(at)])
            _stroke(rng, picture, relief, (x, y), angle, float(thick), colour + rng.normal(0, 0.025, 3))
    slope = cv2.GaussianBlur(relief, (0, 0), 0.9)
    light = 0.9 * (np.roll(slope, 2, 0) - np.roll(slope, -2, 0)) + 0.5 * (np.roll(slope, 2, 1) - np.roll(slope, -2, 1))
    return np.asarray(cv2.resize(picture * (1 - light)[..., None], (width, height), interpolation=cv2.INTER_AREA))


_OILS = (
    (0.05, 0.09, 0.20),
    (0.08, 0.19, 0.42),
    (0.12, 0.36, 0.58),
    (0.25, 0.52, 0.50),
    (0.52, 0.60, 0.30),
    (0.85, 0.66, 0.20),
    (0.94, 0.80, 0.42),
    (0.97, 0.92, 0.74),
)


def _stroke(
    rng: Rng, picture: F32, relief: F32, at: tuple[float, float], angle: float, thick: float, colour: NDArray[Any]
) -> None:
    """Lay one stroke of parallel bristle marks over `picture` and its height over `relief`."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    bend = rng.normal(0, 0.25)
    steps = np.linspace(-1, 1, 5)[:, None] * thick * rng.uniform(1.1, 1.9)
    spine = np.array(at) + steps * along + (steps / thick) ** 2 * bend * thick * across
    marks = max(3, int(thick / 2.5))
    for k in range(marks):
        offset = (k + 0.5) / marks - 0.5
        line = ((spine + across * offset * thick) * 2**_SHIFT).astype(np.int32)[:, None]
        shade = np.clip(colour * (1 + rng.normal(0, 0.07)), 0, 1)
        wide = int(thick / marks) + 2
        cv2.polylines(picture, [line], False, tuple(map(float, shade)), wide, cv2.LINE_8, _SHIFT)
        ridge = 0.16 + 0.10 * abs(2 * offset) + rng.normal(0, 0.05)
        cv2.polylines(relief, [line], False, float(ridge), wide, cv2.LINE_8, _SHIFT)


def _brush_line(rng: Rng, width: int, height: int) -> F32:
    """Return the cover of one brush line that swells, thins and runs dry: float32[height, width]."""
    cover = np.zeros((height * _FINE, width * _FINE), np.uint8)
    steps = 60
    turn = np.cumsum(rng.normal(0, 0.07, steps)) + rng.uniform(0, 2 * np.pi)
    pace = rng.uniform(2.0, 7.0) * _FINE
    x = np.cumsum(np.cos(turn)) * pace + rng.uniform(0, width * _FINE)
    y = np.cumsum(np.sin(turn)) * pace + rng.uniform(0, height * _FINE)
    swell = np.sin(np.linspace(0.15, np.pi, steps)) * rng.gamma(2.0, 1.1) * _FINE + 0.8
    for k in range(steps - 1):
        ends = [(int(x[i]), int(y[i])) for i in (k, k + 1)]
        cv2.line(cover, ends[0], ends[1], 255, max(1, int(swell[k])), cv2.LINE_AA)
    line = _reduced(cover, width, height)
    if rng.random() < 0.4:
        line *= np.clip((_noise(rng, width, height, 1.0) - 0.35) * 4, 0, 1)
    return line


def _blob(rng: Rng, width: int, height: int, radius: float) -> F32:
    """Return a soft-cornered shape somewhere in the picture: float32[height, width], 0..1."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.normal(0, 0.22 / k) * np.sin(k * angles + rng.uniform(0, 6.28)) for k in range(1, 7))
    reach = radius * (1 + np.asarray(waves)) * np.array([[1.5], [0.75]])
    ring = np.array([np.cos(angles), np.sin(angles)]) * reach + rng.uniform(0, 1, (2, 1)) * [[width], [height]]
    mask = np.zeros((height * _FINE, width * _FINE), np.uint8)
    cv2.fillPoly(mask, [(ring.T * _FINE).astype(np.int32)[:, None]], 255, cv2.LINE_AA)
    return _reduced(mask, width, height)


def _mosaic(rng: Rng, width: int, height: int, count: int) -> tuple[NDArray[np.int64], F32]:
    """Part the picture into curved cells; return each pixel's cell, and the cover of their outlines."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x = x + 60 * (_noise(rng, width, height, 26) - 0.5)
    y = y + 60 * (_noise(rng, width, height, 26) - 0.5)
    seeds = rng.uniform(0, 1, (count, 2)) * [width, height]
    distance = np.stack([np.hypot(x - sx, y - sy) for sx, sy in seeds])
    cells = np.argmin(distance, 0)
    edge = cv2.morphologyEx(cells.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    heavy = np.clip((_noise(rng, width, height, 30) - 0.2) * 3, 0, 1)
    outline = cv2.GaussianBlur(edge.astype(np.float32), (0, 0), 0.9) * (0.6 + 1.4 * heavy)
    return cells, np.asarray(np.clip(outline * 1.2, 0, 1), np.float32)


def _noise(rng: Rng, width: int, height: int, sigma: float) -> F32:
    """Smooth noise of that scale in pixels, spread evenly over 0..1: float32[height, width]."""
    shrink = max(1, int(sigma / 3))
    small = rng.normal(0, 1, (height // shrink + 2, width // shrink + 2)).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    field = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = np.percentile(field, [2, 98])
    return np.asarray(np.clip((field - low) / (high - low), 0, 1), np.float32)


def _reduced(mask: U8, width: int, height: int) -> F32:
    small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), np.float32)


STYLES: dict[str, Callable[[Rng, int, int], F32]] = {"ink": _ink, "poster": _poster, "oil": _oil}
