"""What a picture is inside Cutline: 8-bit YUV 4:2:0 planes by strides, with their matrix and range."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import ContractError

__all__ = ["Colour", "Frame", "FrameFormat", "Matrix", "OnGpu", "Planes", "Surface", "Timestamp", "allocate_planes"]

U8 = NDArray[np.uint8]

MAX_SIDE = 16384  # pixels; larger pictures are refused before memory is taken
MIN_SIDE = 2


class Matrix(enum.Enum):
    """YCbCr matrix coefficients (Kr, Kb). Sources: ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance)."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"

    @property
    def kr_kb(self) -> tuple[float, float]:
        """Luma weights of red and of blue."""
        return {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[self.value]


@dataclass(frozen=True, slots=True)
class Colour:
    """How 8-bit Y, Cb, Cr values map to R'G'B'."""

    matrix: Matrix = Matrix.BT709
    full_range: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFormat:
    """Size in pixels (odd sizes allowed, chroma is rounded up) and colour of every frame of a stream."""

    width: int
    height: int
    colour: Colour = Colour()

    def __post_init__(self) -> None:
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise ContractError(
                "frame size is out of range",
                remedy=f"Use frames of {MIN_SIDE} to {MAX_SIDE} pixels a side.",
                width=self.width,
                height=self.height,
            )

    @property
    def chroma_width(self) -> int:
        """Columns of the Cb and Cr planes."""
        return (self.width + 1) // 2

    @property
    def chroma_height(self) -> int:
        """Rows of the Cb and Cr planes."""
        return (self.height + 1) // 2


@dataclass(frozen=True, slots=True)
class Planes:
    """Borrows three uint8 views of one 4:2:0 picture.

    y: uint8[H, W]; u and v: uint8[ceil(H/2), ceil(W/2)]. Rows may be padded (stride 0 is the pitch in bytes). I420 has
    chroma views with a pixel step of 1, NV12 the same views with a pixel step of 2; nothing else distinguishes them.
    Chroma is sited left (MPEG-2): horizontally at even luma columns, vertically between two luma rows.
    """

    y: U8
    u: U8
    v: U8

    def __post_init__(self) -> None:
        height, width = self.y.shape
        chroma = ((height + 1) // 2, (width + 1) // 2)
        if self.u.shape != chroma or self.v.shape != chroma:
            raise ContractError(
                "chroma planes do not fit the luma plane",
                remedy="Give u and v half the luma size, rounded up.",
                y=self.y.shape,
                u=self.u.shape,
                v=self.v.shape,
            )

    @property
    def width(self) -> int:
        """Luma columns."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Luma rows."""
        return int(self.y.shape[0])


def allocate_planes(width: int, height: int) -> Planes:
    """Allocate one I420 picture, uninitialised, rows padded to 64 bytes."""
    chroma_width, chroma_height = (width + 1) // 2, (height + 1) // 2

    def plane(rows: int, columns: int) -> U8:
        return np.empty((rows, (columns + 63) // 64 * 64), np.uint8)[:, :columns]

    return Planes(plane(height, width), plane(chroma_height, chroma_width), plane(chroma_height, chroma_width))


class Timestamp(msgspec.Struct, frozen=True):
    """When a frame is shown and when it reached us."""

    pts: int  # presentation time in units of time_base
    time_base: Fraction  # seconds
    available_ns: int  # time.monotonic_ns() at which the decoded frame was available to the pipeline
    origin: int = 0  # pts of the source's own time zero: a file that is looped begins again, later each time

    @property
    def seconds(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


class OnGpu(NamedTuple):
    """Where composites lie that stay on a GPU."""

    ordinal: int
    attach: Callable[[], None]  # makes the context of their memory current in the calling thread


class Surface(NamedTuple):
    """Borrows one NV12 picture on a GPU, chroma right behind luma."""

    luma: int  # addresses there
    chroma: int
    pitch: int  # bytes from row to row, of both


class Frame(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Borrows one slot's pictures until the next frame is taken: copy what must live longer.

    index counts frames of the stream from 0, dropped ones included.
    """

    index: int
    time: Timestamp
    source: Planes | None  # None where the GPU decodes: it never was here
    composite: Planes | None  # None where it was asked to stay on the GPU: `surface` is it then
    alpha: U8 | None  # uint8[H, W], 0..255, full size; None when nobody asked for it
    matte: NDArray[np.float32]  # float32[h, w], 0..1, at the network's size, after the temporal filter
    surface: Surface | None = None
