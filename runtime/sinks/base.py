"""What every sink is given, what it promises, and what it can be asked for before it is opened."""

from __future__ import annotations

import io
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import InternalError, OutputError, StorageError, UsageError
from cutline.runtime.frame import Frame, FrameFormat, OnGpu, Planes

__all__ = [
    *("ENCODER", "Sink", "SinkOptions", "SinkTraits", "StreamInfo", "alpha_of", "composite_of", "creating", "reason"),
    *("storing", "write_all"),
]

ENCODER = re.compile(r"x264|nvenc(?::(\d{1,3}))?")
PRESETS = ("ultrafast", "superfast", "veryfast")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """The stream that a sink is opened for."""

    format: FrameFormat
    frame_rate: Fraction | None  # frames per second; None when it varies or nobody knows
    time_base: Fraction  # seconds; the unit of Timestamp.pts
    source_uri: str | None  # where audio is copied from; None: no audio
    name: str
    live: bool
    frames: int | None
    limit: int | None = None  # frames after which the run ends, whatever the source still has
    gpu: OnGpu | None = None  # frames have a surface there; None: they are on the host


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How frames are stored. The defaults suit two cores that a network also needs.

    transparent: the frames have no background. Formats that can, store their alpha; False stores an opaque picture.
    stdout: what `-` carries.
    encoder: of H.264: x264, or nvenc[:N], which is that of an NVIDIA GPU.
    preset, threads: of x264. crf: the quality, 0 (best) to 51, on each encoder's own scale.
    min_alpha, min_area: a pixel belongs to an item when its alpha (0..255) is at least min_alpha; regions smaller than
        min_area (a share of the frame) are no items.
    """

    transparent: bool = True
    stdout: Literal["y4m", "raw", "events"] = "y4m"
    encoder: str = "x264"
    preset: Literal["ultrafast", "superfast", "veryfast"] = "ultrafast"
    crf: int = 20
    threads: int = 2
    min_alpha: int = 128
    min_area: float = 0.0005

    def __post_init__(self) -> None:
        for name, value, good in (
            ("stdout", self.stdout, self.stdout in ("y4m", "raw", "events")),
            ("encoder", self.encoder, ENCODER.fullmatch(self.encoder)),
            ("preset", self.preset, self.preset in PRESETS),
            ("crf", self.crf, 0 <= self.crf <= 51),
            ("threads", self.threads, 1 <= self.threads <= 64),
            ("min_alpha", self.min_alpha, 1 <= self.min_alpha <= 255),
            ("min_area", self.min_area, 0 <= self.min_area < 1),
        ):
            if not good:
                raise UsageError(f"{name} is out of range", remedy="See SinkOptions for what is allowed.", given=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTraits:
    """What is known of a sink before it is opened."""

    kind: str  # "video", "pictures", "stdout", "display", "null", "events"
    wants_alpha: bool  # needs Frame.alpha
    carries_alpha: bool  # can store alpha, so its frames have no background unless one was asked for
    live: bool  # a slow one costs frames, never latency


class Sink(Protocol):
    """Where one stream's frames go. All calls come from one thread, frames in order."""

    wants_alpha: bool
    carries_alpha: bool
    live: bool
    ended: bool  # the viewer closed it: the run is over

    def write(self, frame: Frame) -> None:
        """Store or show one frame; its planes are free again when this returns.

        Raises:
            StorageError: the disk is full, the pipe is broken.
        """

    def close(self, *, complete: bool) -> None:
        """Finish what was written and give it its final name; later calls do nothing.

        Args:
            complete: the source was read to its end, and the rest of its audio follows. False: the run was interrupted;
                nothing that write() accepted is lost, but a file that was there before stays, and the new one keeps
                its part name.
        Raises:
            StorageError: the last bytes could not be written.
        """

    def report(self) -> dict[str, object]:
        """Facts for people and programs: path, frames, bytes, codec, notices (one line each)."""


@contextmanager
def creating(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong while an output is made into OutputError."""
    try:
        yield
    except (OSError, av.FFmpegError, ValueError) as error:
        raise OutputError(
            "cannot create the output",
            remedy="Choose a folder that exists and that you may write to.",
            path=str(path),
            reason=reason(error),
        ) from error


@contextmanager
def storing(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong while an output is written into StorageError."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise StorageError(
            "writing the output failed",
            remedy="Free some space or check the disk or pipe; what was written so far is kept.",
            path=str(path),
            reason=reason(error),
        ) from error


def composite_of(frame: Frame) -> Planes:
    """The frame's composite, for sinks that take it from the host.

    Raises:
        InternalError: it stays on a GPU.
    """
    if frame.composite is None:
        raise InternalError("a frame stayed on the GPU", remedy="Ask for composites on the host for this sink.")
    return frame.composite


def alpha_of(frame: Frame) -> NDArray[np.uint8]:
    """The frame's alpha, for sinks that said they want it.

    Raises:
        InternalError: it was not made.
    """
    if frame.alpha is None:
        raise InternalError("a frame came without its alpha", remedy="Ask for alpha where a sink wants it.")
    return frame.alpha


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write every byte, however little the system takes at a time; a pipe that does not block is waited for."""
    view = memoryview(data)
    while view:
        taken = file.write(view)
        if taken is None:
            select.select([], [file], [])
        else:
            view = view[taken:]


def reason(error: BaseException) -> str:
    """Say in a few words what the operating system or FFmpeg objected to."""
    text = getattr(error, "strerror", None)
    return str(text or error)
