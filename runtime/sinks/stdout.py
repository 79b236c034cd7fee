"""Uncompressed frames on standard output, for other programs."""

from __future__ import annotations

import io
import os
import sys
from typing import final

import numpy as np

from cutline.runtime.errors import OutputError, UsageError
from cutline.runtime.frame import Frame, Planes
from cutline.runtime.sinks.base import SinkOptions, StreamInfo, composite_of, storing, write_all

__all__ = ["StdoutSink"]


@final
class StdoutSink:
    """Owns a copy of standard output and one packed picture.

    y4m has a header and a mark before each frame; raw is the planes alone (Y, Cb, Cr, rows without padding). Neither
    carries times: a constant frame rate is assumed by whoever reads it.

    Raises:
        UsageError: standard output is a terminal.
        OutputError: it is closed.
    """

    wants_alpha = False
    carries_alpha = False
    live = False
    ended = False

    def __init__(self, info: StreamInfo, options: SinkOptions) -> None:
        if sys.stdout is None:  # and descriptor 1 may be any file that was opened since
            raise OutputError("standard output is closed", remedy="Do not close it, or name a file.", path="-")
        if os.isatty(1):
            raise UsageError("video does not go to a terminal", remedy="Pipe it into a program or a file.")
        self._kind = options.stdout
        mark, self._header = (b"FRAME\n", _y4m_header(info)) if self._kind == "y4m" else (b"", b"")
        picture = info.format
        sizes = [picture.width * picture.height, *[picture.chroma_width * picture.chroma_height] * 2]
        self._packed = np.empty(len(mark) + sum(sizes), np.uint8)
        self._packed[: len(mark)] = np.frombuffer(mark, np.uint8)
        y, u, v = np.split(self._packed[len(mark) :], np.cumsum(sizes)[:2])
        chroma = (picture.chroma_height, picture.chroma_width)
        self._planes = Planes(y.reshape(picture.height, picture.width), u.reshape(chroma), v.reshape(chroma))
        self._frames = self._bytes = 0
        sys.stdout.flush()  # what was printed before comes first
        self._file = io.FileIO(os.dup(1), "wb")

    def write(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            StorageError: the reader has gone, or the disk is full.
        """
        packed, planes = self._planes, composite_of(frame)
        packed.y[:], packed.u[:], packed.v[:] = planes.y, planes.u, planes.v
        with storing("-"):
            if self._frames == 0:
                write_all(self._file, self._header)
            write_all(self._file, self._packed.data)
        self._frames += 1
        self._bytes += self._packed.nbytes

    def close(self, *, complete: bool) -> None:  # noqa: ARG002  (the protocol's signature)
        """Close our copy of standard output; later calls do nothing."""
        self._file.close()

    def report(self) -> dict[str, object]:
        """Frames and bytes."""
        return {"path": "-", "frames": self._frames, "bytes": self._bytes, "codec": self._kind, "notices": []}


def _y4m_header(info: StreamInfo) -> bytes:
    """Stream header of YUV4MPEG2; an unknown frame rate is 0:0, chroma sited left is 420mpeg2. Source: yuv4mpeg(5)."""
    rate = "0:0" if info.frame_rate is None else f"{info.frame_rate.numerator}:{info.frame_rate.denominator}"
    colour_range = "FULL" if info.format.colour.full_range else "LIMITED"
    size = f"W{info.format.width} H{info.format.height}"
    return f"YUV4MPEG2 {size} F{rate} Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE={colour_range}\n".encode()
