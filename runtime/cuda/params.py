"""The kernels' arguments, byte for byte as `runtime/kernels/cuda_plan.cuh` declares them.

Each kernel takes one of these structures by value. Addresses are of device memory; 0 stands for a plane that is not
there. A test compares size and offset of every field with what the C++ compiler says.
"""

from __future__ import annotations

from ctypes import Structure, c_float, c_int32, c_uint8, c_uint64
from typing import Any, ClassVar

__all__ = ["Blur", "Colours", "Compose", "Matte", "Picture", "Pre", "Spread", "Style"]

LEVELS = 14  # of the colour pyramid, as in plan.h
BLUR_TAPS = 13  # half a Gaussian of at most 4 cells

Fields = list[tuple[str, Any]]


class _Record(Structure):
    def as_bytes(self) -> bytes:
        """The structure as the kernel reads it."""
        return bytes(self)


class Matrix(_Record):
    """ColourMatrix of pixel.h."""

    _fields_: ClassVar[Fields] = [
        (name, c_float)
        for name in (
            *("luma_gain", "luma_offset", "chroma_gain", "red_cr", "green_cb", "green_cr", "blue_cb"),
            *("kr", "kg", "kb", "luma_span", "luma_black", "cb_span", "cr_span"),
        )
    ]


class Picture(_Record):
    """Planes of a 4:2:0 picture."""

    _fields_: ClassVar[Fields] = [
        ("y", c_uint64),
        ("u", c_uint64),
        ("v", c_uint64),
        ("luma_pitch", c_int32),
        ("chroma_pitch", c_int32),
        ("interleaved", c_int32),
    ]


class Axis(_Record):
    """Bilinear position of every output sample."""

    _fields_: ClassVar[Fields] = [("index", c_uint64), ("frac", c_uint64)]


class Grid(_Record):
    """Where the frame's samples lie on a low-resolution grid."""

    _fields_: ClassVar[Fields] = [
        ("luma_x", Axis),
        ("luma_y", Axis),
        ("chroma_x", Axis),
        ("chroma_y", Axis),
        ("width", c_int32),
        ("height", c_int32),
    ]


class Resize(_Record):
    """Both axes of one plane's antialiased resize."""

    _fields_: ClassVar[Fields] = [
        ("first_x", c_uint64),
        ("weight_x", c_uint64),
        ("first_y", c_uint64),
        ("weight_y", c_uint64),
        ("taps_x", c_int32),
        ("words_y", c_int32),
        ("fine", c_int32),
        ("last_row", c_int32),
    ]


class Pre(_Record):
    """cutline_pre."""

    _fields_: ClassVar[Fields] = [
        ("frame", Picture),
        ("luma", Resize),
        ("chroma", Resize),
        ("tensor", c_uint64),
        ("guide", c_uint64),
        ("matrix", Matrix),
        ("gain", c_float * 3),
        ("offset", c_float * 3),
        ("frame_width", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("number", c_int32),
        ("channels_first", c_int32),
        ("reversed", c_int32),
    ]


class Matte(_Record):
    """cutline_decode, cutline_steady, cutline_fit and cutline_average."""

    _fields_: ClassVar[Fields] = [
        ("raw", c_uint64),
        ("decoded", c_uint64),
        ("guide", c_uint64),
        ("matte", c_uint64),
        ("past_alpha", c_uint64),
        ("past_luma", c_uint64),
        ("matte12", c_uint64),
        ("slope", c_uint64),
        ("base", c_uint64),
        ("fit", c_uint64),
        ("line", c_uint64),
        ("verdict", c_uint64),
        ("chosen", c_uint64),
        ("nans", c_uint64),
        ("raw_across", Axis),
        ("raw_down", Axis),
        ("raw_width", c_int32),
        ("raw_height", c_int32),
        ("raw_resized", c_int32),
        ("channels", c_int32),
        ("channels_first", c_int32),
        ("reading", c_int32),
        ("chosen_count", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("refine", c_int32),
        ("radius", c_int32),
        ("temporal", c_float),
        ("level_gain", c_float),
        ("level_offset", c_float),
        ("epsilon", c_float),
    ]


class Colours(_Record):
    """cutline_push, cutline_top and cutline_pull."""

    _fields_: ClassVar[Fields] = [
        ("guide", c_uint64),
        ("matte", c_uint64),
        ("tone_luma", c_uint64),
        ("tone_chroma", c_uint64),
        ("scene", c_uint64),
        ("front", c_uint64 * LEVELS),
        ("behind", c_uint64 * LEVELS),
        ("width", c_int32 * LEVELS),
        ("height", c_int32 * LEVELS),
        ("base_width", c_int32),
        ("base_height", c_int32),
        ("levels", c_int32),
        ("split", c_int32),
        ("scene_level", c_int32),
    ]


class Blur(_Record):
    """cutline_blur and cutline_enlarge."""

    _fields_: ClassVar[Fields] = [
        ("scene", c_uint64),
        ("blurred", c_uint64),
        ("luma", c_uint64),
        ("chroma", c_uint64),
        ("width", c_int32 * LEVELS),
        ("height", c_int32 * LEVELS),
        ("level", c_int32),
        ("taps", c_int32),
        ("weight", c_float * BLUR_TAPS),
    ]


class Spread(_Record):
    """cutline_spread."""

    _fields_: ClassVar[Fields] = [
        ("matte", c_uint64),
        ("wide", c_uint64),
        ("across", Axis),
        ("down", Axis),
        ("net_width", c_int32),
        ("net_height", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("left", c_int32),
        ("right", c_int32),
        ("top", c_int32),
        ("bottom", c_int32),
    ]


class Style(_Record):
    """cutline_style."""

    _fields_: ClassVar[Fields] = [
        ("style", c_uint64),
        ("guide", c_uint64),
        ("luma", c_uint64),
        ("chroma", c_uint64),
        ("across", Axis),
        ("down", Axis),
        ("matrix", Matrix),
        ("gain", c_float * 3),
        ("offset", c_float * 3),
        ("width", c_int32),
        ("height", c_int32),
        ("style_width", c_int32),
        ("style_height", c_int32),
        ("channels_first", c_int32),
        ("reversed", c_int32),
    ]


class Compose(_Record):
    """cutline_post."""

    _fields_: ClassVar[Fields] = [
        ("frame", Picture),
        ("out", Picture),
        ("background", Picture),
        ("alpha", c_uint64),
        ("line", c_uint64),
        ("verdict", c_uint64),
        ("tone_luma", c_uint64),
        ("tone_chroma", c_uint64),
        ("blur_luma", c_uint64),
        ("blur_chroma", c_uint64),
        ("style_luma", c_uint64),
        ("style_chroma", c_uint64),
        ("strengths", c_uint64),
        ("net", Grid),
        ("tone", Grid),
        ("blur", Grid),
        ("width", c_int32),
        ("height", c_int32),
        ("left", c_int32),
        ("right", c_int32),
        ("top", c_int32),
        ("bottom", c_int32),
        ("alpha_pitch", c_int32),
        ("kind", c_int32),
        ("clean", c_int32),
        ("styled", c_int32),
        ("colour", c_uint8 * 4),
    ]
