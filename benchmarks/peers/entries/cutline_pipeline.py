"""Cutline itself: the pipeline that `cutline run` and `from cutline.runtime import Pipeline` give, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.runtime import Pipeline, StreamOptions, open_bundle
from cutline.runtime.frame import Frame, FrameFormat
from cutline.runtime.sessions import EngineOptions, open_engine
from cutline.tools.demo import rgb_of

if TYPE_CHECKING:
    from cutline.benchmarks.peers.worker import Job

NAME = "Cutline"
PACKAGES = ("cutline", "av", "numpy", "openvino")
VARIANTS = {"": "best", "fp32": "fp32"}
DIFFERS = (
    "filters when it resizes, follows the frame's edges, takes old background out of soft edges and steadies the matte "
    "over time, which the others do not; stays in YUV 4:2:0"
)


def composites(job: Job) -> Iterator[tuple[FrameFormat, Frame]]:
    """Yield frames as the pipeline gives them, with their format."""
    with open_bundle(job.bundle) as bundle:
        engine = open_engine(bundle, msgspec.convert({"precision": job.precision}, EngineOptions))
    colour = "#{:02x}{:02x}{:02x}".format(*job.background)
    with Pipeline(engine, StreamOptions(input=job.clip, background=colour, loop=True), alpha=False) as pipeline:
        for frame in pipeline:
            yield pipeline.format, frame


def picture(composite: tuple[FrameFormat, Frame]) -> NDArray[np.uint8]:
    """As uint8[H, W, 3] RGB."""
    frame_format, frame = composite
    assert frame.composite is not None  # nobody asked for it to stay on a GPU
    return rgb_of(frame.composite, frame_format.colour.matrix)
