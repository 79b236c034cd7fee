"""Cutline's planes as FFmpeg sees them: a reusable frame, its colour tags, conversion to RGB."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import av
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.frame import Colour, Matrix, Planes

__all__ = ["ColourTags", "Picture", "colour_tags", "convert", "plane_rows"]

U8 = NDArray[np.uint8]

# libswscale's flags (swscale.h); the fast path takes the nearest chroma sample
SWS_FAST = 0x2  # BILINEAR
SWS_EXACT = SWS_FAST | 0x2000 | 0x4000 | 0x40000  # FULL_CHR_H_INT | FULL_CHR_H_INP | ACCURATE_RND
SWS_MATRIX = {Matrix.BT601: 5, Matrix.BT709: 1, Matrix.BT2020: 9}


class ColourTags(NamedTuple):
    """Code points of ITU-T H.273, as every container stores them."""

    matrix: int
    primaries: int
    transfer: int
    range: int  # FFmpeg's own: 1 limited, 2 full


def colour_tags(colour: Colour) -> ColourTags:
    """Tags that say how to read planes of this colour.

    Source: ITU-T H.273, tables 2 to 4. BT.601 is tagged as its 525-line variant; both variants have the same matrix.
    """
    matrix, primaries, transfer = {Matrix.BT601: (6, 6, 6), Matrix.BT709: (1, 1, 1), Matrix.BT2020: (9, 9, 14)}[
        colour.matrix
    ]
    return ColourTags(matrix, primaries, transfer, 2 if colour.full_range else 1)


@final
class Picture:
    """Owns one FFmpeg frame into which planes are copied again and again.

    Encoders that still hold the last picture make FFmpeg give us another buffer (av_frame_make_writable), so reuse is
    safe with any of them and costs nothing with those that copy their input.
    """

    def __init__(self, width: int, height: int, pixel_format: str, colour: Colour) -> None:
        self.frame = av.VideoFrame(width, height, pixel_format)
        self.has_alpha = pixel_format.startswith("yuva")
        self._tags = colour_tags(colour)
        self._address = 0
        self._views: list[U8] = []

    def planes(self) -> list[U8]:
        """Writable uint8[rows, columns] views of the frame's planes, valid until the next call."""
        self.frame.make_writable()
        planes = self.frame.planes
        if planes[0].buffer_ptr != self._address:
            self._views = [plane_rows(plane)[:, : plane.width] for plane in planes]
            self._address = planes[0].buffer_ptr
        return self._views

    def fill(self, planes: Planes, alpha: U8 | None = None) -> av.VideoFrame:
        """Copy one picture in; a frame that is a column or row larger repeats the last one.

        Args:
            planes: 4:2:0, as large as the frame or one smaller where that is even.
            alpha: uint8[H, W] for frames with a fourth plane.
        """
        sources = (planes.y, planes.u, planes.v) if alpha is None else (planes.y, planes.u, planes.v, alpha)
        for target, source in zip(self.planes(), sources, strict=True):
            height, width = source.shape
            target[:height, :width] = source
            if width < target.shape[1]:
                target[:height, width:] = source[:, -1:]
            if height < target.shape[0]:
                target[height:] = target[height - 1]
        self.frame.colorspace, self.frame.color_range = self._tags.matrix, self._tags.range
        return self.frame


def plane_rows(plane: Any) -> U8:
    """Writable uint8[rows, line size] view of one plane of an FFmpeg frame, padding included."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def convert(
    frame: av.VideoFrame, colour: Colour, pixel_format: str, *, full_range: bool, exact: bool = True
) -> av.VideoFrame:
    """Convert with the frame's own matrix.

    Args:
        frame: YUV picture of the given colour.
        pixel_format: FFmpeg's name of an RGB format (then full_range is True) or of a YUV format of the same matrix.
        exact: interpolate chroma from its left siting, and round; False is 10 times faster, for the eye.
    """
    matrix = SWS_MATRIX[colour.matrix]
    other = SWS_MATRIX[Matrix.BT601 if colour.matrix is Matrix.BT709 else Matrix.BT709]
    # RGB has no matrix, but PyAV 14 ignores the source's when both are the same
    return frame.reformat(
        format=pixel_format,
        src_colorspace=matrix,
        dst_colorspace=other if pixel_format.startswith(("rgb", "bgr")) else matrix,
        src_color_range=2 if colour.full_range else 1,
        dst_color_range=2 if full_range else 1,
        interpolation=SWS_EXACT if exact else SWS_FAST,
    )
