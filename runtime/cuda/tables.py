"""What is computed once per stream and uploaded once: resize filters, bilinear positions, the colour matrix.

The same definitions as runtime/kernels/plans.cpp, in float64, laid out for the GPU. A test holds the two to the
same results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.cuda import params
from cutline.runtime.cuda.launch import ALIGNMENT
from cutline.runtime.frame import Colour, FrameFormat
from cutline.runtime.kernels.window import Rect, Window

__all__ = ["Steps", "TableSpace", "axis", "centred", "grid", "matrix", "resize", "spread", "whole_frame"]

PAD: Final = 32  # axes are padded to whole blocks of samples
ROW_TAPS: Final = 16  # up to which rows are weighed in 128ths: 2 * MAX_PAIRS of plan.h
F64 = NDArray[np.float64]


@final
class TableSpace:
    """Owns tables until they are uploaded as one block; addresses are offsets until then."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, table: NDArray[Any]) -> int:
        """Append a table. Returns its offset in bytes."""
        offset = self._size
        data = np.ascontiguousarray(table).tobytes()
        padding = -len(data) % ALIGNMENT
        self._parts.append(data + bytes(padding))
        self._size += len(data) + padding
        return offset

    def joined(self) -> bytes:
        """All tables in one block."""
        return b"".join(self._parts) or bytes(ALIGNMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Frame pixels per network pixel, and where network pixels lie in the frame."""

    window: Window

    @property
    def x(self) -> float:
        return self.window.source.width / self.window.target.width

    @property
    def y(self) -> float:
        return self.window.source.height / self.window.target.height

    def columns(self) -> F64:
        """Luma column of every network column."""
        return self.window.source.x + (_ramp(self.window.width) + 0.5 - self.window.target.x) * self.x - 0.5

    def rows(self) -> F64:
        """Luma row of every network row."""
        return self.window.source.y + (_ramp(self.window.height) + 0.5 - self.window.target.y) * self.y - 0.5


def whole_frame(frame: FrameFormat) -> Window:
    """A small picture of the whole frame: what a blurred scene is made of when the window leaves parts of it out."""
    width = min(max(frame.width // 4, min(frame.width, 16)), 640)
    height = max(1, math.floor(width * frame.height / frame.width + 0.5))
    source = Rect(x=0, y=0, width=frame.width, height=frame.height)
    return Window(source=source, target=Rect(x=0, y=0, width=width, height=height), width=width, height=height)


def matrix(colour: Colour) -> params.Matrix:
    """ColourMatrix of pixel.h. Source: BT.601-7, BT.709-6, BT.2020-2."""
    kr, kb = colour.matrix.kr_kb
    kg = 1.0 - kr - kb
    luma_span, black, chroma_span = (255.0, 0.0, 255.0) if colour.full_range else (219.0, 16.0, 224.0)
    return params.Matrix(
        luma_gain=1.0 / luma_span,
        luma_offset=-black / luma_span,
        chroma_gain=1.0 / chroma_span,
        red_cr=2.0 * (1.0 - kr),
        green_cb=2.0 * kb * (1.0 - kb) / kg,
        green_cr=2.0 * kr * (1.0 - kr) / kg,
        blue_cb=2.0 * (1.0 - kb),
        kr=kr,
        kg=kg,
        kb=kb,
        luma_span=luma_span,
        luma_black=black,
        cb_span=chroma_span / (2.0 * (1.0 - kb)),
        cr_span=chroma_span / (2.0 * (1.0 - kr)),
    )


# Resize


def resize(space: TableSpace, frame: FrameFormat, window: Window) -> tuple[params.Resize, params.Resize]:
    """Tables of the luma and of the chroma resize; their addresses are offsets."""
    source, steps = window.source, Steps(window=window)
    left, right = _span(source.x, source.width, frame.width)
    top, bottom = _span(source.y, source.height, frame.height)
    columns, rows = steps.columns(), steps.rows()
    luma = _resize(space, (columns, steps.x, left, right), (rows, steps.y, top, bottom))
    # left siting: chroma sample i lies on luma column 2 i, and between luma rows 2 i and 2 i + 1
    across = (columns / 2, steps.x / 2, left // 2, right // 2)
    down = ((rows - 0.5) / 2, steps.y / 2, top // 2, bottom // 2)
    return luma, _resize(space, across, down)


def _span(start: float, length: float, limit: int) -> tuple[int, int]:
    low = min(max(math.floor(start), 0), limit - 1)
    return low, min(max(math.ceil(start + length) - 1, low), limit - 1)


def _resize(space: TableSpace, across: tuple[F64, float, int, int], down: tuple[F64, float, int, int]) -> params.Resize:
    first_x, weight_x = _triangles(*across)
    first_y, weight_y = _triangles(*down)
    columns = _quantised(weight_x, 16384).astype(np.int16)
    words = (weight_y.shape[1] + 3) // 4
    padded = np.zeros((len(first_y), 4 * words))
    padded[:, : weight_y.shape[1]] = weight_y
    fine = weight_y.shape[1] > ROW_TAPS
    if fine:
        whole = np.minimum(_quantised(padded, 65536), 65535)
        rows = np.stack([whole & 255, whole >> 8], axis=1)
    else:
        rows = _quantised(padded, 128)
    return params.Resize(
        first_x=space.add(first_x),
        weight_x=space.add(columns.T),
        first_y=space.add(first_y),
        weight_y=space.add(rows.astype(np.uint8)),
        taps_x=columns.shape[1],
        words_y=words,
        fine=int(fine),
        last_row=down[3],
    )


def _triangles(positions: F64, step: float, low: int, high: int) -> tuple[NDArray[np.int32], F64]:
    """First sample and weights [outputs, taps] of each output: a triangle as wide as the step, edges repeated."""
    reach = max(1.0, step)
    centre = np.clip(positions, low - reach, high + reach)
    start, end = np.ceil(centre - reach).astype(np.int64), np.floor(centre + reach).astype(np.int64)
    k = start[:, None] + np.arange(int((end - start).max()) + 1)
    weights = np.where(k <= end[:, None], np.maximum(0.0, 1.0 - abs(k - centre[:, None]) / reach), 0.0)
    sums = np.add.accumulate(weights, axis=1)[:, -1:]  # in the order of plans.cpp
    first = np.clip(start, low, high)
    folded = np.zeros_like(weights)
    np.add.at(folded, (np.arange(len(k))[:, None], np.clip(k, low, high) - first[:, None]), weights)
    folded[sums[:, 0] <= 0, 0] = 1.0  # only edge samples of zero weight: any of them is the edge
    folded /= np.where(sums <= 0, 1.0, sums)
    begin = (folded > 0).argmax(axis=1)
    taps = folded.shape[1] - (folded[:, ::-1] > 0).argmax(axis=1) - begin
    at = np.minimum(begin[:, None] + np.arange(int(taps.max())), folded.shape[1] - 1)
    kept = np.take_along_axis(folded, at, axis=1) * (np.arange(int(taps.max())) < taps[:, None])
    return (first + begin).astype(np.int32), kept


def _quantised(weights: F64, one: int) -> NDArray[np.int64]:
    """Integers that sum to `one` per output; the largest takes the rounding, halves go down."""
    whole = np.floor(weights * one + 0.5 - 1e-9).astype(np.int64)
    whole[np.arange(len(whole)), whole.argmax(axis=1)] += one - whole.sum(axis=1)
    return whole


# Enlargement


def grid(space: TableSpace, frame: FrameFormat, window: Window, shrink: int) -> params.Grid:
    """Where the frame's samples lie on a grid that shows `window`, `shrink` times smaller than the network's."""
    width, height = -(-window.width // shrink), -(-window.height // shrink)
    s, t = window.source, window.target
    scale_x, scale_y = t.width / s.width, t.height / s.height

    def across(edges: F64) -> F64:
        return (t.x + (edges - s.x) * scale_x) / shrink - 0.5

    def down(edges: F64) -> F64:
        return (t.y + (edges - s.y) * scale_y) / shrink - 0.5

    return params.Grid(
        luma_x=axis(space, across(_ramp(frame.width) + 0.5), width),
        luma_y=axis(space, down(_ramp(frame.height) + 0.5), height),
        chroma_x=axis(space, across(2 * _ramp(frame.chroma_width) + 0.5), width),
        chroma_y=axis(space, down(2 * _ramp(frame.chroma_height) + 1.0), height),
        width=width,
        height=height,
    )


def axis(space: TableSpace, positions: F64, source: int) -> params.Axis:
    """Index and fraction of every output in a row of `source` samples."""
    padded = np.pad(positions, (0, -len(positions) % PAD), mode="edge")
    index = np.clip(np.floor(padded), 0.0, max(0.0, source - 2.0)).astype(np.int32)
    frac = np.clip(padded - index, 0.0, 1.0) if source > 1 else np.zeros_like(padded)
    return params.Axis(index=space.add(index), frac=space.add(frac.astype(np.float32)))


def _ramp(count: int) -> F64:
    return np.arange(count, dtype=np.float64)


def centred(space: TableSpace, count: int, source: int) -> params.Axis:
    """`count` samples laid evenly over `source` samples."""
    ratio = source / count
    return axis(space, (_ramp(count) + 0.5) * ratio - 0.5, source)


def spread(space: TableSpace, frame: FrameFormat, window: Window, whole: Window) -> tuple[params.Axis, params.Axis]:
    """Where the pixels of `whole`, a small picture of the frame, lie on the network's grid."""
    fx, fy, s, t = frame.width / whole.width, frame.height / whole.height, window.source, window.target
    columns = t.x + ((_ramp(whole.width) + 0.5) * fx - s.x) * (t.width / s.width) - 0.5
    rows = t.y + ((_ramp(whole.height) + 0.5) * fy - s.y) * (t.height / s.height) - 0.5
    return axis(space, columns, window.width), axis(space, rows, window.height)
