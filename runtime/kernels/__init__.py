"""The pixel maths: pre and post, in C++, with float64 twins."""

from cutline.runtime.kernels._kernels import isa
from cutline.runtime.kernels.post import Background, BackgroundKind, Post, PostOptions, StyleOn
from cutline.runtime.kernels.pre import Pre
from cutline.runtime.kernels.window import Rect, Window, place

__all__ = [
    "Background",
    "BackgroundKind",
    "Post",
    "PostOptions",
    "Pre",
    "Rect",
    "StyleOn",
    "Window",
    "isa",
    "place",
]
