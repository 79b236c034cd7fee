"""rembg: `remove()` with a session of its class for custom models, our network in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rembg import remove
from rembg.sessions.u2net_custom import U2netCustomSession

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "rembg"
PACKAGES = ("numpy", "onnxruntime", "opencv-python", "pillow", "rembg")
VARIANTS = {"": "fp32"}
DIFFERS = (
    "its class for custom models, told our network's size and normalisation, the rest its own: divides a frame by its "
    "brightest value, stretches every matte to 0..1, composes alpha twice so that soft edges darken"
)


class Session(U2netCustomSession):  # type: ignore[misc]  # rembg has no types here
    """rembg's custom session, but for the size and the normalisation that it fixes to those of U2-Net."""

    def __init__(self, job: Job) -> None:
        self._job = job
        os.environ["U2NET_HOME"] = str(Path(job.network).parent)  # it takes models from its home only
        super().__init__("u2net_custom", ort.SessionOptions(), model_path=job.network)

    def normalize(self, img: Any, *_: Any) -> Any:
        """Ours in the place of what predict() asks for."""
        job = self._job
        return super().normalize(img, tuple(job.mean), tuple(job.std), (job.width, job.height))


def composites(job: Job) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8[H, W, 4] RGBA, one frame after the other."""
    session = Session(job)
    for bgr in job.bgr_frames():
        yield remove(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), session=session, bgcolor=(*job.background, 255))


def picture(composite: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As uint8[H, W, 3] RGB."""
    return composite[:, :, :3]
