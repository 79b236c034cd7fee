"""Random frames, windows and network outputs for the kernels' tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutline.runtime.frame import Colour, FrameFormat, Matrix, Planes
from cutline.runtime.kernels import Rect, Window, place

U8 = NDArray[np.uint8]

colours = st.builds(Colour, st.sampled_from(Matrix), st.booleans())
seeds = st.integers(0, 2**32 - 1)


def formats(largest: int = 90) -> st.SearchStrategy[FrameFormat]:
    side = st.integers(2, largest)
    return st.builds(FrameFormat, width=side, height=side, colour=colours)


def guarded(rows: int, columns: int, step: int, margin: int) -> tuple[U8, U8]:
    """A plane inside a larger buffer of 77s: (buffer, plane). Nothing but the plane may change."""
    buffer = np.full((rows + 2, columns * step + 2 * margin + step), 77, np.uint8)
    return buffer, buffer[1:-1, margin : margin + (columns - 1) * step + 1 : step]


class Canvas:
    """A frame in guarded memory: I420 with rows padded at random, or NV12 (`interleaved`)."""

    def __init__(self, form: FrameFormat, rng: np.random.Generator, *, interleaved: bool) -> None:
        height, width = form.chroma_height, form.chroma_width
        luma, y = guarded(form.height, form.width, 1, int(rng.integers(0, 9)))
        if interleaved:
            shared = np.full((height + 2, 2 * width + 10), 77, np.uint8)
            u, v = shared[1:-1, 4 : 4 + 2 * width : 2], shared[1:-1, 5 : 5 + 2 * width : 2]
            self.buffers = [luma, shared]
        else:
            first, u = guarded(height, width, 1, int(rng.integers(0, 9)))
            second, v = guarded(height, width, 1, int(rng.integers(0, 9)))
            self.buffers = [luma, first, second]
        self.planes = Planes(y, u, v)

    @property
    def arrays(self) -> tuple[U8, U8, U8]:
        return self.planes.y, self.planes.u, self.planes.v

    def intact(self) -> bool:
        """Whether all bytes around the planes still are 77."""
        kept = [plane.copy() for plane in self.arrays]
        for plane in self.arrays:
            plane[:] = 77
        truth = all((buffer == 77).all() for buffer in self.buffers)
        for plane, copy in zip(self.arrays, kept, strict=True):
            plane[:] = copy
        return truth


def blobs(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """A picture in 0..1 that is smooth here, noisy there and flat elsewhere."""
    y, x = np.mgrid[0:rows, 0:columns]
    wave = np.sin(x * rng.uniform(0.02, 1.5) + rng.uniform(0, 6)) * np.cos(y * rng.uniform(0.02, 1.5))
    picture = 0.5 + rng.uniform(0.3, 1.5) * wave + rng.normal(0, rng.choice([0.0, 0.02, 0.3]), (rows, columns))
    return np.asarray(np.clip(picture, 0, 1))


def draw_frame(form: FrameFormat, rng: np.random.Generator, *, interleaved: bool = False) -> Canvas:
    canvas = Canvas(form, rng, interleaved=interleaved)
    for plane in canvas.arrays:
        plane[:] = np.round(blobs(rng, *plane.shape) * 255)
    return canvas


@st.composite
def windows(draw: st.DrawFn, form: FrameFormat, largest: int = 48) -> Window:
    width, height = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    crop = None
    if draw(st.booleans()):
        left, top = draw(st.floats(0, form.width - 1)), draw(st.floats(0, form.height - 1))
        crop = Rect(
            x=left,
            y=top,
            width=draw(st.floats(0.5, form.width - left)),
            height=draw(st.floats(0.5, form.height - top)),
        )
    mode = draw(st.sampled_from(["fit", "fill", "stretch"]))
    return place(form.width, form.height, width, height, mode=mode, crop=crop)
