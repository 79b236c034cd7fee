"""From a frame to the network's input."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image
from cutline.runtime.errors import ContractError
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels._kernels import PrePlan
from cutline.runtime.kernels.window import Window

__all__ = ["Pre", "demand_window", "placement"]

NUMBERS = ("float32", "float16", "bfloat16", "int8", "uint8")  # as in plan.h
Quad = tuple[float, float, float, float]


def placement(
    frame: FrameFormat, window: Window
) -> tuple[tuple[int, int], Quad, Quad, tuple[int, int], tuple[float, float, bool]]:
    """Turn frame format and window into the plans' first five arguments."""
    source, target = window.source, window.target
    return (
        (frame.width, frame.height),
        (source.x, source.y, source.width, source.height),
        (target.x, target.y, target.width, target.height),
        (window.width, window.height),
        (*frame.colour.matrix.kr_kb, frame.colour.full_range),
    )


@final
class Pre:
    """Owns the resize tables and scratch rows of one stream; `run` allocates nothing and releases the GIL.

    One thread at a time: a second one that enters `run` gets an InternalError.

    Raises:
        ContractError: image and window differ in size.
    """

    __slots__ = ("_run",)

    def __init__(self, frame: FrameFormat, image: Image, window: Window) -> None:
        demand_window(image, window)
        tensor = (
            image.layout == "NCHW",
            image.order == "BGR",
            image.mean,
            image.std,
            NUMBERS.index(image.dtype),
            image.scale,
            float(image.zero_point),
        )
        self._run = PrePlan(*placement(frame, window), tensor).run

    def run(self, planes: Planes, tensor: NDArray[Any], guide: NDArray[np.uint8] | None) -> None:
        """Fill `tensor`, and `guide` when given.

        Args:
            planes: the frame, of the plan's size, I420 or NV12 by strides.
            tensor: image.shape in image.dtype, C-contiguous; bfloat16 travels as uint16.
            guide: uint8[3, h, w] = Y, Cb, Cr of the resized picture, C-contiguous.
        Raises:
            ContractError: an array has another shape, type or layout.
            InternalError: another thread is running the same plan.
        Twin: reference.pre
        """
        self._run(planes.y, planes.u, planes.v, tensor, guide)


def demand_window(image: Image, window: Window) -> None:
    """Raise ContractError when the window was not made for this network input."""
    if (image.width, image.height) != (window.width, window.height):
        raise ContractError(
            "the window was made for another network input",
            remedy="Make it with place() for the image's size.",
            window=(window.width, window.height),
            image=(image.width, image.height),
        )
