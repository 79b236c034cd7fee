"""What goes into a source and what comes out of it, in plain records."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import msgspec

from cutline.runtime.errors import CutlineError, UsageError
from cutline.runtime.frame import Colour, FrameFormat, Matrix, Timestamp

__all__ = ["DecodeStamps", "End", "Filled", "Notice", "Policy", "SourceInfo", "SourceOptions"]

Policy = Literal["auto", "block", "latest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source hands out its frames."""

    policy: Policy = "auto"  # auto: files wait for a slot (block), live and paced sources never wait (latest)
    pace_fps: float | None = None  # hand a recording out at this rate, as a camera would
    loop: bool = False  # begin again at the end
    scale_to: FrameFormat | None = None  # centre-crop and scale into this size and colour
    open_timeout_s: float | None = None  # until the first frame; None: streams and cameras 10, files 60, pipes never
    stall_timeout_s: float | None = None  # without a frame that was asked for; None: live 2, files 10, pipes never
    frame_limit: int | None = None  # end after so many frames of the stream, dropped ones included
    gpu: int | None = None  # decode on this GPU, into surfaces on it; None: on the CPU

    def __post_init__(self) -> None:
        for name in ("pace_fps", "open_timeout_s", "stall_timeout_s", "frame_limit"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be positive", remedy="Give a number above 0.", **{name: value})


class SourceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What opening the source found. Sizes are those of the frames handed out: upright, with square pixels."""

    name: str  # the URI without credentials
    width: int
    height: int
    matrix: Matrix
    full_range: bool
    rate: tuple[int, int] | None  # frames per second as a fraction, None when it varies or is unknown
    tick: tuple[int, int]  # seconds per unit of pts
    frames: int | None  # estimate
    duration_s: float | None
    live: bool
    audio: bool
    decoder: str
    surface_pitch: int = 0  # of frames that lie on the GPU, bytes from row to row; 0: they come to the host

    @property
    def format(self) -> FrameFormat:
        """Size and colour of every frame."""
        return FrameFormat(width=self.width, height=self.height, colour=Colour(self.matrix, self.full_range))

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second."""
        return Fraction(*self.rate) if self.rate else None

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of pts."""
        return Fraction(*self.tick)


class DecodeStamps(msgspec.Struct, frozen=True, array_like=True):
    """How a frame came to be, on the clock of time.monotonic_ns()."""

    began_ns: int  # the decoder was asked for it
    ended_ns: int
    filled_ns: int  # it lay in its slot
    core_ns: int  # that all threads of the process worked since the frame before, counted in the kernel's ticks


class Filled(msgspec.Struct, frozen=True):
    """A frame lies in the slot, which is still FILLING: the taker moves it to READY."""

    slot_index: int
    index: int  # number of the frame in the stream since start(), skipped ones included
    time: Timestamp
    skipped: int  # frames that the source itself lost since the last Filled: the taker counts them as dropped
    decode: DecodeStamps


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and that does not end the stream.

    kind: resized, corrupt, truncated, timestamps, square, hdr, reconnecting, reconnected.
    """

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class End:
    """No more frames come. An error with frames > 0: what was handed out is good, and then the input broke off."""

    error: CutlineError | None
    frames: int  # handed out since start()
    skipped: int  # lost since the last Filled
