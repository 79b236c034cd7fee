"""What lies still under a style: the dots of a printer's screen and the grain of paper, as fixed maps of the picture.

A network that may only look at the picture has to grow such patterns out of the camera's noise, and they would swim.
Given these maps, it can compare the picture's tone with a screen that stands still, as a printer does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNELS", "SCREEN", "draw_canvas"]

SCREEN = 8.0  # pixels between two dots, at 45 degrees
CHANNELS = 8  # of the canvas


def draw_canvas(width: int, height: int) -> NDArray[np.float32]:
    """Return float32[8, height // 2, width // 2]: a screen's four phases and four fields of noise, fine to coarse.

    Args:
        width, height: of the network's input, pixels; the canvas has half of each.
    """
    y, x = np.mgrid[0 : height // 2, 0 : width // 2].astype(np.float64) * 2 + 0.5
    u, v = ((x + y) / np.sqrt(2), (x - y) / np.sqrt(2))
    screen = [wave(2 * np.pi * along / SCREEN) for along in (u, v) for wave in (np.cos, np.sin)]
    rng = np.random.default_rng(11)
    grain = []
    for sigma in (0.0, 0.8, 2.0, 6.0):
        field = rng.normal(0, 1, x.shape)
        field = cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) if sigma else field
        grain.append(field / field.std())
    return np.stack([*screen, *grain]).astype(np.float32)
