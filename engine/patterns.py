"""Test pictures for builds without footage: shapes on gradients, texture, edges and noise; never for calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutline.calibration.runner import Feed
from cutline.engine.pictures import picture_to_tensor
from cutline.runtime.contract import ModelContract

__all__ = ["pattern_sequences"]

F32 = NDArray[np.float32]


def pattern_sequences(contract: ModelContract, *, sequences: int = 4, frames: int = 4) -> list[list[Feed]]:
    """Feeds for `sequences` short scenes in which things move; the same every time.

    Returns:
        One list per scene of one dict per frame, with the frame's tensor, and the plate's and the strength where the
        contract has them. States and constants are left to the caller.
    """
    return [[_feeds(contract, seed, time / max(frames - 1, 1)) for time in range(frames)] for seed in range(sequences)]


def _feeds(contract: ModelContract, seed: int, time: float) -> Feed:
    frame = contract.frame
    plate, picture = _scene(frame.width, frame.height, seed, time)
    feeds = {frame.tensor: picture_to_tensor(picture, frame)}
    if contract.plate is not None:
        feeds[contract.plate.tensor] = picture_to_tensor(plate, contract.plate)
    if contract.strength is not None:
        feeds[contract.strength] = np.full(1, time, np.float32)
    return feeds


def _scene(width: int, height: int, seed: int, time: float) -> tuple[F32, F32]:
    """(empty scene, scene with things in it), float32[height, width, 3] in 0..1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    corners = random.uniform(0.05, 0.95, (4, 3)).astype(np.float32)
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], -1)
    plate = weights @ corners
    stripes = np.sin(2 * np.pi * (random.uniform(4, 30) * x + random.uniform(4, 30) * y))
    plate += 0.08 * stripes[..., None] * random.uniform(0, 1, 3)
    picture = plate.copy()
    for _ in range(3):
        picture = _put_shape(picture, x, y, random, time)
    noise = random.normal(0, 0.01, (2, height, width, 3))
    return _clip(plate + noise[0]), _clip(picture + noise[1])


def _put_shape(picture: F32, x: F32, y: F32, random: np.random.Generator, time: float) -> F32:
    """An ellipse or a box with its own colour, texture and soft edge, a little further on at every `time`."""
    cx, cy = random.uniform(0.2, 0.8, 2) + time * random.uniform(-0.15, 0.15, 2)
    rx, ry = random.uniform(0.06, 0.25, 2)
    u, v = (x - cx) / rx, (y - cy) / ry
    distance = np.hypot(u, v) if random.random() < 0.5 else np.maximum(np.abs(u), np.abs(v))
    alpha = np.clip((1.0 - distance) * random.uniform(5, 60) + 0.5, 0, 1)[..., None]
    texture = 1 + 0.3 * np.sin(random.uniform(2, 12) * u) * np.sin(random.uniform(2, 12) * v)
    colour = random.uniform(0, 1, 3) * texture[..., None]
    return np.asarray(picture * (1 - alpha) + colour * alpha, np.float32)


def _clip(picture: NDArray[np.floating]) -> F32:
    return np.asarray(np.clip(picture, 0, 1), np.float32)
