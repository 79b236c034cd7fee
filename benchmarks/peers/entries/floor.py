"""PyAV and NumPy without a network: what decoding and composing cost before anything is cut out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "PyAV + NumPy, no network"
PACKAGES = ("av", "numpy")
VARIANTS = {"": "none"}
DIFFERS = "cuts out nothing: one fixed soft ellipse is its matte on every frame"
SAME_PICTURE = False


def composites(job: Job) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8[H, W, 3] RGB, one frame after the other."""
    with av.open(job.clip) as video:
        stream = video.streams.video[0]
        stream.thread_type = "AUTO"
        alpha = _ellipse(stream.width, stream.height)
        background = np.full((stream.height, stream.width, 3), job.background, np.uint8)
        while True:
            for frame in video.decode(stream):
                rgb = frame.to_ndarray(format="rgb24")
                yield (alpha * rgb + (1 - alpha) * background).astype(np.uint8)
            video.seek(0)


def _ellipse(width: int, height: int) -> NDArray[np.float32]:
    """float32[H, W, 1], 1 in the middle, 0 outside, a soft edge between."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(np.clip(4 * (0.6 - np.hypot(x, y)), 0, 1)[..., None], np.float32)
