"""What lies still under a style: the dots of a printer's screen, the grain of paper, the relief of brush strokes.

A network that may only look at the picture has to grow such patterns out of the camera's noise, and they would swim.
Given these fixed maps, it can compare the picture's tone with a screen that stands still, as a printer does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNELS", "SCREEN", "Still", "draw_canvas", "still_channels"]

Still = Literal["screen", "grain", "strokes", "none"]

SCREEN = 8.0  # pixels between two dots, at 45 degrees
CHANNELS = 8  # of the canvas
_FIRST = {"screen": (0, 4), "grain": (4, 6), "strokes": (6, 8), "none": (0, 0)}
_SHIFT = 4  # fractional bits of the coordinates that OpenCV gets


def draw_canvas(width: int, height: int) -> NDArray[np.float32]:
    """Return float32[8, height // 2, width // 2]: a screen's four phases, two grains and two reliefs, fine and coarse.

    Args:
        width, height: of the network's input, pixels; the canvas has half of each.
    """
    return _drawn(width, height).copy()


@lru_cache(maxsize=4)
def _drawn(width: int, height: int) -> NDArray[np.float32]:
    y, x = np.mgrid[0 : height // 2, 0 : width // 2].astype(np.float64) * 2 + 0.5
    u, v = ((x + y) / np.sqrt(2), (x - y) / np.sqrt(2))
    screen = [wave(2 * np.pi * along / SCREEN) for along in (u, v) for wave in (np.cos, np.sin)]
    rng = np.random.default_rng(11)
    white = rng.normal(0, 1, x.shape)
    soft = cv2.GaussianBlur(rng.normal(0, 1, x.shape), (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)
    reliefs = [_strokes(rng, x.shape[1], x.shape[0], thick) for thick in (2, 5)]
    drawn = [(field - field.mean()) / field.std() for field in (white, soft, *reliefs)]
    return np.stack([*screen, *drawn]).astype(np.float32)


def still_channels(still: Still) -> NDArray[np.float32]:
    """Return float32[8]: 1 for the channels of that kind, 0 for the others."""
    used = np.zeros(CHANNELS, np.float32)
    first, end = _FIRST[still]
    used[first:end] = 1
    return used


def _strokes(rng: np.random.Generator, width: int, height: int, thick: int) -> NDArray[np.float32]:
    """Cover the canvas with short strokes of random height that follow a swirling field."""
    relief = np.zeros((height, width), np.float32)
    turns = cv2.GaussianBlur(rng.normal(0, 1, (height // 8 + 2, width // 8 + 2)), (0, 0), 4)
    turns = cv2.resize(turns / turns.std(), (width, height), interpolation=cv2.INTER_CUBIC) * 1.6
    for _ in range(6 * width * height // (4 * thick * thick)):
        at = rng.uniform(0, 1, 2) * (width - 1, height - 1)
        angle = turns[int(at[1]), int(at[0])] + rng.normal(0, 0.15)
        reach = np.array([np.cos(angle), np.sin(angle)]) * thick * rng.uniform(1.5, 2.5)
        line = (np.stack([at - reach, at + reach]) * 2**_SHIFT).astype(np.int32)[:, None]
        cv2.polylines(relief, [line], False, float(rng.normal()), thick, cv2.LINE_8, _SHIFT)
    return relief
