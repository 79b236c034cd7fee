"""Cheap variation of a composite when it is read: crop, size, flip, colour, noise, a plate that does not quite fit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.tools.train.pool import Composite

__all__ = ["AugmentOptions", "augment"]

U8 = NDArray[np.uint8]
_NOISE_SIDE = 1024
_STRIDE = 4  # pixels between those that are searched for outlines


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """What may happen to a composite; sizes in pixels of the network's input."""

    width: int
    height: int
    smallest_crop: float = 0.4  # of the picture's width
    whole: float = 0.4  # share of samples that are not cropped
    outlined: float = 0.75  # share of crops that are laid around a pixel of an outline
    noise: float = 10.0  # largest standard deviation, in levels of 255
    shift: int = 2  # largest misplacement of the plate, in pixels of the stored composite
    misplaced: float = 0.25  # share of plates that are misplaced: what is thin is found only where the plate fits


def augment(
    composite: Composite, options: AugmentOptions, look: np.random.Generator, noise: np.random.Generator
) -> Composite:
    """Vary one composite.

    Args:
        look: decides crop, flip and colour; the same state gives the same shot.
        noise: decides sensor noise and flicker, so that two draws of one `look` are two frames of a still scene.
    """
    height, width = composite.alpha.shape
    crop = _window(composite.alpha, options, look)
    flip = bool(look.random() < 0.5)
    frame = _cut(composite.frame, crop, flip, options)
    alpha = _cut(composite.alpha, crop, flip, options)
    plate = _cut(composite.plate, _shifted(crop, width, height, options, look), flip, options)
    if look.random() < 0.1:
        order = look.permutation(3)
        frame, plate = frame[..., order], plate[..., order]
    shared = _curve(look, gain=0.25, white=0.06, gamma=0.3)
    drift = _curve(look, gain=0.06, white=0.025, gamma=0.06)
    flicker = _curve(noise, gain=0.01, white=0.003, gamma=0.0)
    strength = float(look.random() ** 2 * options.noise)
    if look.random() < 0.15:
        sigma = float(look.uniform(0.3, 1.0))
        frame, plate = cv2.GaussianBlur(frame, (0, 0), sigma), cv2.GaussianBlur(plate, (0, 0), sigma)
    frame = _noisy(_tone(frame, shared, flicker), strength, noise)
    plate = _noisy(_tone(plate, shared, drift), strength * 0.4, look)
    return Composite(frame, plate, alpha)


def _window(alpha: U8, options: AugmentOptions, look: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, width, height of a crop that has about the shape of the network's input.

    Most crops hold a pixel of an outline, wherever in the crop: far from outlines there is little to learn.
    """
    height, width = alpha.shape
    if look.random() < options.whole:
        return 0, 0, width, height
    wide = int(width * look.uniform(options.smallest_crop, 1.0))
    high = min(height, int(wide * options.height / options.width * look.uniform(0.85, 1.15)))
    if look.random() < options.outlined:
        outline = np.argwhere(np.diff(alpha[::_STRIDE, ::_STRIDE], axis=1))
        if len(outline):
            y, x = outline[look.integers(len(outline))] * _STRIDE
            left, top = int(x) - int(look.integers(0, wide)), int(y) - int(look.integers(0, high))
            return min(max(0, left), width - wide), min(max(0, top), height - high), wide, high
    return int(look.integers(0, width - wide + 1)), int(look.integers(0, height - high + 1)), wide, high


def _shifted(
    crop: tuple[int, int, int, int], width: int, height: int, options: AugmentOptions, look: np.random.Generator
) -> tuple[int, int, int, int]:
    left, top, wide, high = crop
    misplaced = look.random() < options.misplaced
    dx, dy = look.integers(-options.shift, options.shift + 1, 2) if misplaced else (0, 0)
    return min(max(0, left + int(dx)), width - wide), min(max(0, top + int(dy)), height - high), wide, high


def _cut(picture: U8, crop: tuple[int, int, int, int], flip: bool, options: AugmentOptions) -> U8:
    left, top, wide, high = crop
    part = picture[top : top + high, left : left + wide]
    smaller = wide > options.width
    part = cv2.resize(
        part, (options.width, options.height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(part[:, ::-1]) if flip else part


def _curve(random: np.random.Generator, *, gain: float, white: float, gamma: float) -> NDArray[np.float32]:
    """float32[3, 256]: a tone curve per channel over 0..1."""
    scale = random.uniform(1 - gain, 1 + gain) * random.uniform(1 - white, 1 + white, (3, 1))
    return (np.linspace(0, 1, 256) ** random.uniform(1 - gamma, 1 + gamma) * scale).astype(np.float32)


def _tone(picture: U8, first: NDArray[np.float32], second: NDArray[np.float32]) -> U8:
    """Run two tone curves, one after the other, in one table."""
    middle = np.clip(first * 255, 0, 255)
    table = np.stack([np.interp(m, np.arange(256), s) for m, s in zip(middle, second, strict=True)], -1)
    return cv2.LUT(picture, np.clip(table * 255 + 0.5, 0, 255).astype(np.uint8)[None])


def _noisy(picture: U8, strength: float, random: np.random.Generator) -> U8:
    """Add a random window of a fixed field: fresh noise per pixel costs more than the network's first layer."""
    if strength < 0.5:
        return picture
    height, width = picture.shape[:2]
    top, left = (int(random.integers(0, _NOISE_SIDE - side + 1)) for side in (height, width))
    field = _FIELD[top : top + height, left : left + width]
    return np.clip(picture + field * np.float32(strength), 0, 255).astype(np.uint8)


_FIELD: NDArray[np.float32] = np.random.default_rng(20).standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), np.float32)
