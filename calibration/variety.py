"""Which frames are worth calibrating on: pictures and not noise, unlike one another, of every light and content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels import Pre, place

__all__ = ["DUPLICATE", "Look", "Looker", "distances", "looks_random", "spread"]

WIDTH: Final = 32  # of the thumbnail on which frames are compared
HEIGHT: Final = 18
DUPLICATE: Final = 5.0  # levels of 255: frames of which no part differs by more are the same picture
NOISE_STD: Final = 20.0  # levels: sensors are quieter, so that noise as loud as this is not from a camera
NOISE_CORRELATION: Final = 0.5  # of neighbouring pixels; photographs as lively as that have more than 0.8

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """What is remembered of a frame: thumbnail in levels of 255 (Y, Cb, Cr), whether it is noise, and its digest."""

    thumbnail: F32  # float32[3 * HEIGHT * WIDTH]
    random: bool
    digest: str  # hex of size, colour and all visible bytes


@final
class Looker:
    """Owns the scratch to look at frames of one format."""

    def __init__(self, form: FrameFormat) -> None:
        image = Image(tensor="thumbnail", width=WIDTH, height=HEIGHT)
        window = place(form.width, form.height, WIDTH, HEIGHT, mode="stretch")
        self._pre, self._format = Pre(form, image, window), form
        self._tensor = np.empty(image.shape, np.float32)
        self._guide = np.empty((3, HEIGHT, WIDTH), np.uint8)

    def look(self, planes: Planes) -> Look:
        """Take in one frame."""
        self._pre.run(planes, self._tensor, self._guide)
        return Look(self._guide.reshape(-1).astype(np.float32), looks_random(planes.y), _digest(planes, self._format))


def looks_random(luma: NDArray[np.uint8]) -> bool:
    """Whether a picture is noise: lively, though neighbouring pixels have little to do with each other.

    Args:
        luma: uint8[H, W].
    """
    rows = luma[:: max(1, luma.shape[0] // 128)].astype(np.float32)
    if rows.std() < NOISE_STD:
        return False
    left, right = rows[:, :-1] - rows[:, :-1].mean(), rows[:, 1:] - rows[:, 1:].mean()
    scale = float(np.sqrt((left**2).mean() * (right**2).mean()))
    return scale > 0 and float((left * right).mean()) / scale < NOISE_CORRELATION


def distances(one: F32, others: F32) -> F32:
    """How unlike frames are, in levels of 255: the largest difference of any part of the picture.

    The largest and not the mean: a product set down in a corner makes another picture, sensor noise does not.

    Args:
        one: float32[n]. others: float32[m, n].
    """
    largest: F32 = np.abs(others - one).max(axis=1)
    return largest


def spread(thumbnails: F32, count: int, *, seed: int) -> list[int]:
    """Choose frames that are no near-duplicates of one another.

    Half are taken farthest first, which reaches every light and every content however rare; the other half evenly from
    the rest, so that what is common stays common.

    Args:
        thumbnails: float32[m, n], in the footage's order.
        count: how many to choose; fewer come back when no more are distinct.
        seed: decides the first one and where the even half begins.
    Returns:
        Indices, ascending.
    """
    rng = np.random.default_rng(seed)
    nearest = np.full(len(thumbnails), np.inf, np.float32)
    chosen: list[int] = []

    def take(index: int) -> None:
        chosen.append(index)
        np.minimum(nearest, distances(thumbnails[index], thumbnails), out=nearest)

    take(int(rng.integers(len(thumbnails))))
    while len(chosen) < -(-count // 2) and nearest.max() > DUPLICATE:
        take(int(nearest.argmax()))
    while len(chosen) < count:
        left = np.flatnonzero(nearest > DUPLICATE)
        if not left.size:
            break
        wanted = count - len(chosen)
        step = max(left.size / wanted, 1.0)
        at = (rng.random() + np.arange(min(wanted, left.size))) * step
        for index in left[np.minimum(at.astype(int), left.size - 1)]:
            if nearest[index] > DUPLICATE:
                take(int(index))
    return sorted(chosen)


def _digest(planes: Planes, form: FrameFormat) -> str:
    digest = hashlib.blake2b(digest_size=16)
    colour = form.colour
    digest.update(f"{form.width}x{form.height};{colour.matrix.value};{colour.full_range};".encode())
    for plane in (planes.y, planes.u, planes.v):
        digest.update(plane.tobytes())
    return digest.hexdigest()
