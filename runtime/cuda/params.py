"""The kernels' arguments, byte for byte as `runtime/kernels/cuda_plan.cuh` declares them.

Each kernel takes one of these structures by value. Addresses are of device memory; 0 stands for a plane that is not
there. A test compares size and offset of every field with what the C++ compiler says.
"""

from __future__ import annotations

from ctypes import Structure, c_float, c_int32, c_uint8, c_uint64
from typing import Any

__all__ = ["Blur", "Colours", "Compose", "Matte", "Picture", "Pre", "Spread", "Style"]

LEVELS = 14  # of the colour pyramid, as in plan.h
BLUR_TAPS = 13  # half a Gaussian of at most 4 cells


def _all(kind: Any, names: str) -> list[tuple[str, Any]]:
    """Fields of one kind, in order."""
    return [(name, kind) for name in names.split()]


class Matrix(Structure):
    """ColourMatrix of pixel.h."""

    _fields_ = [
        *_all(c_float, "luma_gain luma_offset chroma_gain red_cr green_cb green_cr blue_cb"),
        *_all(c_float, "kr kg kb luma_span luma_black cb_span cr_span"),
    ]


class Picture(Structure):
    """Planes of a 4:2:0 picture."""

    _fields_ = [*_all(c_uint64, "y u v"), *_all(c_int32, "luma_pitch chroma_pitch interleaved")]


class Axis(Structure):
    """Bilinear position of every output sample."""

    _fields_ = _all(c_uint64, "index frac")


class Grid(Structure):
    """Where the frame's samples lie on a low-resolution grid."""

    _fields_ = [*_all(Axis, "luma_x luma_y chroma_x chroma_y"), *_all(c_int32, "width height")]


class Resize(Structure):
    """Both axes of one plane's antialiased resize."""

    _fields_ = [
        *_all(c_uint64, "first_x weight_x first_y weight_y"),
        *_all(c_int32, "taps_x words_y fine last_row"),
    ]


class Pre(Structure):
    """cutline_pre."""

    _fields_ = [
        ("frame", Picture),
        *_all(Resize, "luma chroma"),
        *_all(c_uint64, "tensor guide"),
        ("matrix", Matrix),
        *_all(c_float * 3, "gain offset"),
        *_all(c_int32, "frame_width width height number channels_first reversed"),
    ]


class Matte(Structure):
    """cutline_decode, cutline_steady, cutline_fit and cutline_average."""

    _fields_ = [
        *_all(c_uint64, "raw decoded guide matte past_alpha past_luma matte12 slope base fit line verdict chosen nans"),
        *_all(Axis, "raw_across raw_down"),
        *_all(c_int32, "raw_width raw_height raw_resized channels channels_first reading chosen_count"),
        *_all(c_int32, "width height refine radius"),
        *_all(c_float, "temporal level_gain level_offset epsilon"),
    ]


class Colours(Structure):
    """cutline_push, cutline_top and cutline_pull."""

    _fields_ = [
        *_all(c_uint64, "guide matte tone_luma tone_chroma scene"),
        *_all(c_uint64 * LEVELS, "front behind"),
        *_all(c_int32 * LEVELS, "width height"),
        *_all(c_int32, "base_width base_height levels split scene_level"),
    ]


class Blur(Structure):
    """cutline_blur and cutline_enlarge."""

    _fields_ = [
        *_all(c_uint64, "scene blurred luma chroma"),
        *_all(c_int32 * LEVELS, "width height"),
        *_all(c_int32, "level taps"),
        ("weight", c_float * BLUR_TAPS),
    ]


class Spread(Structure):
    """cutline_spread."""

    _fields_ = [
        *_all(c_uint64, "matte wide"),
        *_all(Axis, "across down"),
        *_all(c_int32, "net_width net_height width height left right top bottom"),
    ]


class Style(Structure):
    """cutline_style."""

    _fields_ = [
        *_all(c_uint64, "style guide luma chroma"),
        *_all(Axis, "across down"),
        ("matrix", Matrix),
        *_all(c_float * 3, "gain offset"),
        *_all(c_int32, "width height style_width style_height channels_first reversed"),
    ]


class Compose(Structure):
    """cutline_post."""

    _fields_ = [
        *_all(Picture, "frame out background"),
        *_all(
            c_uint64, "alpha line verdict tone_luma tone_chroma blur_luma blur_chroma style_luma style_chroma strengths"
        ),
        *_all(Grid, "net tone blur"),
        *_all(c_int32, "width height left right top bottom alpha_pitch kind clean styled"),
        ("colour", c_uint8 * 4),
    ]
