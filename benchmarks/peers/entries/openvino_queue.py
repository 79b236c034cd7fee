"""OpenVINO's own asynchronous queue on the network alone: the rate that nothing around that network can pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
import openvino as ov

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "OpenVINO queue, network alone"
PACKAGES = ("numpy", "opencv-python", "openvino")
VARIANTS = {"": "best"}
DIFFERS = "decodes and composes nothing: 16 frames, made into tensors before, go round"
SAME_PICTURE = False


def composites(job: Job) -> Iterator[None]:
    """Yield once for each frame that the queue has taken; it takes one when another is done."""
    compiled = ov.Core().compile_model(job.network, "CPU", job.openvino_properties)
    queue = ov.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    mean, std = np.array(job.mean, np.float32), np.array(job.std, np.float32)
    tensors = []
    for bgr in islice(job.bgr_frames(), 16):
        small = cv2.cvtColor(cv2.resize(bgr, (job.width, job.height)), cv2.COLOR_BGR2RGB)
        tensors.append(np.ascontiguousarray(((small / np.float32(255) - mean) / std).transpose(2, 0, 1)[None]))
    for tensor in cycle(tensors):
        queue.start_async({0: tensor})
        yield
