"""OpenVINO as its manual advises: PrePostProcessor in the graph, as many requests as it wants, OpenCV to compose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import ColorFormat, PrePostProcessor, ResizeAlgorithm

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "OpenVINO with PrePostProcessor"
PACKAGES = ("numpy", "opencv-python", "openvino")
VARIANTS = {"": "best"}
DIFFERS = "resizes without a filter, takes old background along in soft edges"


def composites(job: Job) -> Iterator[NDArray[np.uint8]]:
    """Yield uint8[H, W, 3] BGR, in order; the frames after it are in the network meanwhile."""
    frames = job.bgr_frames()
    first = next(frames)
    compiled = _compile(job, first.shape[0], first.shape[1])
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    free = deque(compiled.create_infer_request() for _ in range(count))
    running: deque[tuple[ov.InferRequest, NDArray[np.uint8]]] = deque()
    background = np.full_like(first, job.background[::-1])
    bgr = first
    while True:
        request = free.popleft()
        request.set_input_tensor(ov.Tensor(bgr[None], shared_memory=True))
        request.start_async()
        running.append((request, bgr))
        if not free:
            done, frame = running.popleft()
            done.wait()
            alpha = cv2.resize(done.get_output_tensor().data[0, 0], (frame.shape[1], frame.shape[0]))
            free.append(done)
            yield cv2.blendLinear(frame, background, alpha, 1 - alpha)
        bgr = next(frames)


def picture(composite: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As uint8[H, W, 3] RGB."""
    return composite[:, :, ::-1]


def _compile(job: Job, height: int, width: int) -> ov.CompiledModel:
    steps = PrePostProcessor(ov.Core().read_model(job.network))
    image = steps.input(0)
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.BGR)
    image.tensor().set_shape([1, height, width, 3])
    image.preprocess().resize(ResizeAlgorithm.RESIZE_LINEAR).convert_element_type(ov.Type.f32)
    image.preprocess().convert_color(ColorFormat.RGB)
    image.preprocess().mean([255 * m for m in job.mean]).scale([255 * s for s in job.std])
    image.model().set_layout(ov.Layout("NCHW"))
    return ov.Core().compile_model(steps.build(), "CPU", job.openvino_properties)
