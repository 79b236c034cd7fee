"""What FFmpeg's codecs say when they refuse: a GPU's encoder has one error number for whatever it lacks."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Final

import av
import av.logging

from cutline.runtime.errors import InternalError
from cutline.runtime.sinks.base import reason
from cutline.runtime.sinks.recipes import NVENC

__all__ = ["ENCODING", "explaining", "is_there", "said", "why_no_nvenc"]

ENCODING: Final = "libnvidia-encode.so.1"  # comes with the NVIDIA driver
_LEVEL: Final = threading.Lock()  # FFmpeg has one level for all threads


@contextmanager
def explaining() -> Iterator[None]:
    """Let the errors that come out of here keep what the codec said."""
    with _LEVEL:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        try:
            with av.logging.Capture():  # or it would be printed
                yield
        finally:
            av.logging.set_level(level)


def said(error: BaseException) -> str:
    """What the codec said, or else what FFmpeg calls the error."""
    last = getattr(error, "log", None)
    words = str(last[2]).strip() if last else reason(error)
    if "minimum required" in words and not is_there(ENCODING):  # said of a missing library as of an old one
        return f"{ENCODING} is not there (a container has it where NVIDIA_DRIVER_CAPABILITIES names video)"
    return words


def is_there(library: str) -> bool:
    """Whether a library of the driver loads, by its name."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def why_no_nvenc() -> str:
    """Open the GPU's encoder for a moment; why it does not, or nothing."""
    try:
        codec = av.CodecContext.create(NVENC, "w")
    except ValueError:
        return f"this FFmpeg came without {NVENC}"
    if not isinstance(codec, av.VideoCodecContext):
        raise InternalError("a video codec made no video codec", remedy="Report this.", codec=NVENC)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 640, 360, "yuv420p", Fraction(1, 30)
    try:
        with explaining():
            codec.open()
    except (av.FFmpegError, ValueError) as error:
        return said(error)
    return ""
