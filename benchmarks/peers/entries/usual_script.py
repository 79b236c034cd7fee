"""The script that most people write first: OpenCV in, ONNX Runtime, NumPy composition. Kept as they write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "usual script"
PACKAGES = ("numpy", "onnxruntime", "opencv-python")
VARIANTS = {"soft mask": "fp32", "hard mask": "fp32"}
DIFFERS = "resizes without a filter, takes old background along in soft edges; the hard mask has no soft edges at all"


def composites(job: Job) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8[H, W, 3] BGR, one frame after the other."""
    session = ort.InferenceSession(job.network, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    mean, std = np.array(job.mean, np.float32), np.array(job.std, np.float32)
    for bgr in job.bgr_frames():
        small = cv2.cvtColor(cv2.resize(bgr, (job.width, job.height)), cv2.COLOR_BGR2RGB)
        tensor = ((small.astype(np.float32) / 255.0 - mean) / std).transpose(2, 0, 1)[None]
        alpha = session.run(None, {name: tensor})[0][0, 0]
        alpha = cv2.resize(alpha, (bgr.shape[1], bgr.shape[0]))[:, :, None]
        background = np.full_like(bgr, job.background[::-1])
        if job.variant == "hard mask":
            yield np.where(alpha > 0.5, bgr, background)
        else:
            yield (alpha * bgr + (1 - alpha) * background).astype(np.uint8)


def picture(composite: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As uint8[H, W, 3] RGB."""
    return composite[:, :, ::-1]
