"""The float64 twin of the composition. See reference.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image, Output
from cutline.runtime.frame import Colour, FrameFormat, Planes
from cutline.runtime.kernels.post import Background, PostOptions, StyleOn
from cutline.runtime.kernels.reference import (
    F64,
    U8,
    bilinear,
    centres,
    codes,
    decode,
    levels,
    lines,
    ramp,
    resize,
    steady,
    to_yuv,
)
from cutline.runtime.kernels.window import Rect, Window

__all__ = ["Composite", "State", "blurred", "fill_colours", "post", "style_delta"]

PULL = 1 / 16  # colour.cpp
NOTHING = 1e-6
State = tuple[F64, F64]


@dataclass(frozen=True)
class Composite:
    """What one frame gives, before rounding."""

    planes: tuple[F64, F64, F64]
    alpha: F64  # [H, W], 0..1
    matte: F64  # [h, w]
    state: State
    nans: int


# Colours


def _halved(image: F64) -> F64:
    """Mean of 2 x 2 cells, an odd last row or column counted twice."""
    padded = np.pad(image, [(0, s % 2) for s in image.shape], mode="edge")
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean(axis=(1, 3)))


def _doubled(image: F64, shape: tuple[int, ...]) -> F64:
    """Bilinear doubling: fine cell i lies at coarse position i / 2 - 1 / 4."""
    return bilinear(image, ramp(shape[0]) / 2 - 0.25, ramp(shape[1]) / 2 - 0.25)


def _filled(weight: F64, colour: F64) -> list[F64]:
    """Push and pull: colour [3, h, w] averaged under `weight`, filled in where that is small. Finest level first."""
    weights, sums = [_halved(weight)], [np.stack([_halved(weight * c) for c in colour])]
    while max(weights[-1].shape) > 2:
        weights.append(_halved(weights[-1]))
        sums.append(np.stack([_halved(c) for c in sums[-1]]))
    result: list[F64] = []
    for w, s in zip(reversed(weights), reversed(sums), strict=True):
        coarse = np.stack([_doubled(c, w.shape) for c in result[-1]]) if result else np.full_like(s, 128.0)
        pull = PULL if result else NOTHING
        result.append((s + pull * coarse) / (w + pull))
    return result[::-1]


def fill_colours(matte: F64, guide: F64) -> tuple[list[F64], list[F64]]:
    """Return the colours of product and scene [3, ..] on half the guide's grid and coarser, each defined everywhere."""
    return _filled(matte**8, guide), _filled((1 - matte) ** 8, guide)


def blurred(scene: list[F64], sigma: float) -> F64:
    """Return the scene's finest level under a Gaussian of `sigma` cells, computed where sigma is below 4 cells."""
    level = 0
    while sigma >= 4 and level + 1 < len(scene):
        sigma, level = sigma / 2, level + 1
    sigma = min(max(sigma, 1e-3), 4.0)
    reach = min(math.ceil(3 * sigma), 31)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    image = scene[level]
    for axis in (1, 2):
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        image = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    for finer in reversed(scene[:level]):
        image = np.stack([_doubled(c, finer.shape[1:]) for c in image])
    return image


def style_delta(style: NDArray[Any], output: Output, image: Image, guide: F64, colour: Colour) -> F64:
    """Return the style picture minus the guide in codes [3, h, w]."""
    values = style.astype(np.float64)[0]
    if output.layout == "NHWC":
        values = values.transpose(2, 0, 1)
    if image.order == "BGR":
        values = values[::-1]
    tone = values * np.reshape(image.std, (3, 1, 1)) + np.reshape(image.mean, (3, 1, 1))
    tone = np.clip(np.where(np.isnan(tone), 0, tone), 0, 1)
    rows, columns = centres(guide.shape[1], output.height), centres(guide.shape[2], output.width)
    return to_yuv(np.stack([bilinear(c, rows, columns) for c in tone]), colour) - guide


# Composition


@dataclass(frozen=True)
class _Grid:
    """Where the frame's samples lie on a low-resolution grid that shows `window`, `shrink` times smaller than it."""

    window: Window
    shrink: int

    def luma(self, image: F64, frame: FrameFormat) -> F64:
        return self._sample(image, ramp(frame.height) + 0.5, ramp(frame.width) + 0.5)

    def chroma(self, image: F64, frame: FrameFormat) -> F64:
        return self._sample(image, 2 * ramp(frame.chroma_height) + 1.0, 2 * ramp(frame.chroma_width) + 0.5)

    def planes(self, image: F64, frame: FrameFormat) -> list[F64]:
        return [self.luma(image[0], frame), self.chroma(image[1], frame), self.chroma(image[2], frame)]

    def _sample(self, image: F64, y: F64, x: F64) -> F64:
        s, t = self.window.source, self.window.target
        u = t.x + (x - s.x) * t.width / s.width
        v = t.y + (y - s.y) * t.height / s.height
        return bilinear(image, v / self.shrink - 0.5, u / self.shrink - 0.5)


def _inside(window: Window, height: int, width: int) -> NDArray[np.bool_]:
    s = window.source
    x, y = ramp(width) + 0.5, ramp(height) + 0.5
    return np.outer((y >= s.y) & (y < s.y + s.height), (x >= s.x) & (x < s.x + s.width))


def _chroma_alpha(alpha: F64) -> F64:
    """Opacity of the left-sited chroma samples: (1 2 1)/4 across, (1 1)/2 down."""
    height, width = alpha.shape
    padded = np.pad(alpha, ((0, height % 2), (1, 1)), mode="edge")
    rows = (padded[0::2] + padded[1::2]) / 2
    i = 2 * np.arange((width + 1) // 2) + 1
    return np.asarray((rows[:, i - 1] + 2 * rows[:, i] + rows[:, i + 1]) / 4)


def _wide_scene(planes: Planes, frame: FrameFormat, window: Window, matte: F64) -> tuple[list[F64], _Grid, float]:
    """Return the scene's colours on a grid of the whole frame, for windows that leave a part of it out."""
    width = min(max(frame.width // 4, min(frame.width, 16)), 640)
    height = max(1, math.floor(width * frame.height / frame.width + 0.5))
    whole = Window(
        source=Rect(x=0, y=0, width=frame.width, height=frame.height),
        target=Rect(x=0, y=0, width=width, height=height),
        width=width,
        height=height,
    )
    guide = codes(resize(planes, frame, whole)).astype(np.float64)
    fx, fy, s, t = frame.width / width, frame.height / height, window.source, window.target
    x, y = (ramp(width) + 0.5) * fx, (ramp(height) + 0.5) * fy
    spread = bilinear(matte, t.y + (y - s.y) * t.height / s.height - 0.5, t.x + (x - s.x) * t.width / s.width - 0.5)
    spread = spread * np.outer((y >= s.y) & (y < s.y + s.height), (x >= s.x) & (x < s.x + s.width))
    return fill_colours(spread, guide)[1], _Grid(whole, 2), 0.5 / fx


def post(
    planes: Planes,
    raw: NDArray[Any],
    guide: U8,
    *,
    frame: FrameFormat,
    output: Output,
    window: Window,
    options: PostOptions,
    background: Background,
    state: State | None = None,
    style: tuple[NDArray[Any], Output, Image] | None = None,
    style_strength: float = 1.0,
    style_on: StyleOn = "all",
) -> Composite:
    """Compose one frame. Arguments as in Post.run; `state` is the last frame's."""
    low = guide.astype(np.float64)
    fresh, nans = decode(raw, output)
    if fresh.shape != low.shape[1:]:
        fresh = bilinear(fresh, centres(low.shape[1], output.height), centres(low.shape[2], output.width))
    state = steady(fresh, low[0], state, options.temporal)
    matte = np.clip(levels(state[0], options.alpha_floor, options.alpha_ceiling), 0, 1)
    near, pixel = _Grid(window, 1), [p.astype(np.float64) for p in (planes.y, planes.u, planes.v)]
    if options.refine:
        a, b = lines(matte, low[0], radius=options.radius, epsilon=options.epsilon)
        b = levels(b, options.alpha_floor, options.alpha_ceiling)
        a = a / (options.alpha_ceiling - options.alpha_floor)
    else:
        a, b = np.zeros_like(matte), matte
    alpha = np.clip(near.luma(a, frame) * pixel[0] + near.luma(b, frame), 0, 1)
    alpha = alpha * _inside(window, frame.height, frame.width)
    cover = [alpha, _chroma_alpha(alpha), _chroma_alpha(alpha)]
    product_colour, scene_colour = fill_colours(matte, low)
    product = _product(pixel, cover, frame, window, background, options, product_colour[0], scene_colour[0])
    scene = _scene(planes, pixel, frame, window, background, matte, scene_colour)
    straight = background.kind == "transparent"
    result = product if straight else [c * f + (1 - c) * s for c, f, s in zip(cover, product, scene, strict=True)]
    if style is not None:
        delta = near.planes(style_delta(*style, low, frame.colour), frame)
        front = style_strength if style_on != "background" else 0.0
        behind = style_strength if style_on != "product" and background.kind in ("blur", "original") else 0.0
        gain = [np.full_like(c, front) if straight else c * front + (1 - c) * behind for c in cover]
        result = [r + d * g for r, d, g in zip(result, delta, gain, strict=True)]
    y, u, v = result
    return Composite((y, u, v), alpha, matte, state, nans)


def _product(
    pixel: list[F64],
    cover: list[F64],
    frame: FrameFormat,
    window: Window,
    background: Background,
    options: PostOptions,
    product: F64,
    scene: F64,
) -> list[F64]:
    """Return the product's own colour: F = f + alpha (I - alpha f - (1 - alpha) b), Forte 2021."""
    if not options.decontaminate or background.kind == "original":
        return pixel
    grid = _Grid(window, 2)
    near, far = grid.planes(product, frame), grid.planes(scene, frame)
    return [
        np.clip(f + c * (i - c * f - (1 - c) * b), 0, 255) for i, c, f, b in zip(pixel, cover, near, far, strict=True)
    ]


def _scene(
    planes: Planes,
    pixel: list[F64],
    frame: FrameFormat,
    window: Window,
    background: Background,
    matte: F64,
    scene: list[F64],
) -> list[F64]:
    """Return what lies behind the product."""
    if background.kind == "colour":
        return [np.full_like(p, c) for p, c in zip(pixel, background.colour, strict=True)]
    if background.kind == "picture" and background.planes is not None:
        back = background.planes
        return [p.astype(np.float64) for p in (back.y, back.u, back.v)]
    if background.kind != "blur":
        return pixel
    if _inside(window, frame.height, frame.width).all():
        grid, scale = _Grid(window, 2), 0.5 * window.target.width / window.source.width
    else:
        scene, grid, scale = _wide_scene(planes, frame, window, matte)
    return grid.planes(blurred(scene, background.radius * scale), frame)
