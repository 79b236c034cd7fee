"""What is put behind the product: the SPEC of the command line, turned into what the kernel reads for each frame."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Final, Protocol, final

from cutline.runtime.errors import BadInputError, CutlineError, NoInputError, UsageError
from cutline.runtime.frame import Colour, FrameFormat, Timestamp
from cutline.runtime.kernels import Background
from cutline.runtime.slots import Slot, SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Source, SourceOptions, load_picture

__all__ = ["BackgroundFeed", "check_background", "is_own", "open_background", "rgb_to_codes"]

PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
BLUR: Final = re.compile(r"blur:(\d+(?:\.\d+)?)")
SPECS: Final = "#rrggbb, an image, a video, blur:RADIUS, transparent or original"


class BackgroundFeed(Protocol):
    """Gives the background of each frame, in order."""

    pool: SlotPool | None  # whose slots hold a video's pictures; None: the background is the same for every frame

    def at(self, time: Timestamp) -> Background:
        """The background to compose with a frame of that time; borrowed until the next call."""
        ...

    def close(self) -> None:
        """Let go of files and processes. Works twice."""
        ...


def open_background(spec: str, format: FrameFormat) -> BackgroundFeed:  # noqa: A002 - the field's own word
    """Read a background SPEC for frames of one format.

    Raises:
        UsageError: the text is none of the known forms.
        NoInputError, BadInputError: the image or video is missing or cannot be read.
    """
    check_background(spec)
    if spec in ("transparent", "original"):
        return _Still(Background(kind=spec))  # type: ignore[arg-type]  # the literal is checked in the line above
    if COLOUR.fullmatch(spec):
        rgb = (int(spec[1:3], 16), int(spec[3:5], 16), int(spec[5:7], 16))
        return _Still(Background(kind="colour", colour=rgb_to_codes(rgb, format.colour)))
    if match := BLUR.fullmatch(spec):
        return _Still(Background(kind="blur", radius=_radius(float(match[1]), spec)))
    if Path(spec).suffix.lower() in PICTURES:
        return _Still(Background(kind="picture", planes=load_picture(spec, format)))
    return _Video(spec, format)


def check_background(spec: str) -> None:
    """Refuse what cannot be a background, before anything is opened. An empty SPEC is left to the output.

    Raises:
        UsageError: the text is none of the known forms.
        NoInputError: the file is missing.
    """
    known = not spec or spec in ("transparent", "original") or COLOUR.fullmatch(spec)
    if match := BLUR.fullmatch(spec):
        _radius(float(match[1]), spec)
    elif not known and not Path(spec).exists():
        if Path(spec).suffix and not spec.startswith(("#", "blur")):
            raise NoInputError("background file does not exist", remedy="Check the path.", background=spec)
        raise UsageError("unknown background", remedy=f"Give {SPECS}.", background=spec)


def is_own(spec: str) -> bool:
    """Whether what is put behind the product is the frame's own background: the only one that a style restyles."""
    return spec == "original" or BLUR.fullmatch(spec) is not None


def rgb_to_codes(rgb: tuple[int, int, int], colour: Colour) -> tuple[int, int, int]:
    """Turn one 8-bit R'G'B' colour into Y, Cb, Cr codes. Source: ITU-R BT.709-6, item 3 and 4."""
    kr, kb = colour.matrix.kr_kb
    red, green, blue = (c / 255 for c in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if colour.full_range:
        codes = (255 * luma, 128 + 255 * cb, 128 + 255 * cr)
    else:
        codes = (16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr)
    y, u, v = (min(255, max(0, int(c + 0.5))) for c in codes)
    return y, u, v


def _radius(radius: float, spec: str) -> float:
    if not 0 < radius <= 500:
        raise UsageError("blur radius is out of range", remedy="Give 1 to 500 pixels.", background=spec)
    return radius


@final
class _Still:
    """Holds a background that is the same for every frame."""

    pool: SlotPool | None = None

    def __init__(self, background: Background) -> None:
        self._background = background

    def at(self, time: Timestamp) -> Background:  # noqa: ARG002 - still
        return self._background

    def close(self) -> None:
        """Nothing is open."""


@final
class _Video:
    """Owns a looping source process and its slots; shows the newest background frame that is due."""

    def __init__(self, spec: str, format: FrameFormat) -> None:  # noqa: A002
        try:
            self._source = Source(spec, SourceOptions(policy="block", loop=True, scale_to=format))
        except BadInputError as error:
            raise BadInputError(f"background: {error.what}", remedy=error.remedy, **error.facts) from error
        self._slots = SlotPool(format=format, depth=3, arrays={}, alpha=False, composite=False)
        self.pool: SlotPool | None = self._slots
        self._period = 1 / (self._source.info.frame_rate or Fraction(25))
        self._source.start(self._slots)
        for slot in self._slots.slots:
            self._source.offer(slot)
        self._shown: Slot = self._next()
        self._shown_index = 0
        self._first: float | None = None

    def at(self, time: Timestamp) -> Background:
        self._first = time.seconds if self._first is None else self._first
        due = int((time.seconds - self._first) / float(self._period) + 1e-6)
        # one step at most for each frame composed: a background that is faster than the input skips, it never stalls it
        if due > self._shown_index:
            following = self._next()
            self._release(self._shown)
            self._shown, self._shown_index = following, max(self._shown_index + 1, due)
        return Background(kind="picture", planes=self._shown.source)

    def close(self) -> None:
        self._source.close()
        self._slots.close()

    def _next(self) -> Slot:
        while True:
            event = self._source.take(10.0)
            if isinstance(event, Filled):
                slot = self._slots.slots[event.slot_index]
                self._slots.move(slot, SlotState.READY)
                self._slots.move(slot, SlotState.RUNNING)
                return slot
            if event is None or isinstance(event, End):
                cause = event.error if isinstance(event, End) else None
                raise (
                    cause
                    if isinstance(cause, CutlineError)
                    else BadInputError(
                        "background video stopped giving frames",
                        remedy="Check that it plays.",
                        background=self._source.info.name,
                    )
                )

    def _release(self, slot: Slot) -> None:
        self._slots.move(slot, SlotState.DONE)
        self._slots.move(slot, SlotState.FREE)
        self._source.offer(slot)
