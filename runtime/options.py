"""What a caller may ask of one stream. The command line, site.toml and the Python API use the same names."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from cutline.runtime.errors import CutlineError, NoInputError, OutputError, UsageError
from cutline.runtime.printable import printable
from cutline.runtime.sinks.base import ENCODER
from cutline.runtime.sources.address import Address, Kind, list_pictures

__all__ = ["StreamOptions"]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream: where frames come from, what happens to them, where they go."""

    input: str  # file, folder, glob, "-", /dev/video0, rtsp://..., synthetic://...
    output: str = "null://"
    name: str = ""  # shown in reports and events; the input's name when empty
    background: str = ""  # #rrggbb, image, video, blur:RADIUS, transparent, original; empty: by output
    framing: Literal["fit", "fill"] = "fit"  # how the picture meets the network's shape
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height in pixels: only here are products looked for
    plate: str | None = None  # picture of the empty scene, for networks that take one
    learn_plate: float | None = None  # seconds from which the plate is learnt before the first frame
    style: str | None = None  # name or path of a style bundle
    style_on: Literal["product", "background", "all"] = "all"
    style_strength: float = 1.0  # 0..1
    refine: bool = True  # follow the frame's own edges when the matte is enlarged
    decontaminate: bool = True  # take the old background's colour out of soft edges
    smooth: bool = True  # temporal filter of the matte
    policy: Literal["auto", "block", "latest"] = "auto"  # auto: files wait, cameras keep the newest frame
    pace: float | None = None  # hand a file out at this many frames per second, as a camera would
    loop: bool = False  # start a file again when it ends
    frames: int | None = None  # stop after so many frames
    audio: bool = True  # copy the input's sound where the output can hold it
    stdout: Literal["y4m", "raw", "events"] = "y4m"  # what the output "-" carries
    decoder: Literal["cpu", "nvdec"] = "cpu"  # nvdec: the decoder of the NVIDIA GPU that the network runs on
    encoder: str = "x264"  # of .mp4 and .mkv: x264, or nvenc[:N], the encoder of an NVIDIA GPU

    def __post_init__(self) -> None:
        self._demand(bool(self.input), "input", "an input")
        self._demand(bool(self.output), "output", "an output")
        for path, error in ((self.input, NoInputError), (self.output, OutputError)):
            longest = max((len(os.fsencode(part)) for part in Path(path).parts), default=0)
            if "://" not in path and (longest > 255 or len(path) > 4000):
                raise error("the name is longer than any file's", remedy="Check the name.", name=f"{path[:60]}...")
        self._demand(
            self.crop is None or (min(self.crop[2:]) >= 2 and min(self.crop[:2]) >= 0), "crop", "x,y,width,height"
        )
        self._demand(self._positive(self.pace), "pace", "a number of frames per second above 0")
        self._demand(self._positive(self.learn_plate), "learn_plate", "a number of seconds above 0")
        self._demand(self.frames is None or self.frames > 0, "frames", "a number above 0")
        self._demand(bool(ENCODER.fullmatch(self.encoder)), "encoder", "x264, nvenc or nvenc:N")
        self._demand(0 <= self.style_strength <= 1, "style_strength", "a number from 0 to 1")
        if self.plate is not None and self.learn_plate is not None:
            raise UsageError("a plate is given and is to be learnt", remedy="Give --plate or --learn-plate, not both.")
        same = self.output != "-" and "://" not in self.output and Path(self.output) == Path(self.input)
        for what, name in (("input", self.input), ("background", self.background), ("plate", self.plate)):
            if (same and what == "input") or _same_file(name, self.output):
                raise UsageError(
                    f"output is the same file as {what}", remedy="Choose another output name.", output=self.output
                )

        if taken := _taken_picture(self.input, self.output):
            raise UsageError(
                "the output would write over a picture that is read",
                remedy="Choose another folder or another name.",
                picture=str(taken),
            )

    @property
    def shown_name(self) -> str:
        """The name in reports."""
        return printable(self.name or Path(self.input).name or self.input)

    def _demand(self, truth: bool, field: str, wanted: str) -> None:
        if not truth:
            raise UsageError(
                f"{field.replace('_', '-')} is out of range", remedy=f"Give {wanted}.", given=getattr(self, field)
            )

    @staticmethod
    def _positive(value: float | None) -> bool:
        return value is None or (math.isfinite(value) and value > 0)


def _taken_picture(source: str, output: str) -> Path | None:
    """A picture of the input whose name a numbered output would take too."""
    pattern = Path(output) / "%05d.png" if output.endswith("/") or Path(output).is_dir() else Path(output)
    before, number, after = re.split(r"(%0?\d*d)", pattern.name, maxsplit=1) if "%" in pattern.name else ("", "", "")
    try:
        if not number or Address.parse(source).kind is not Kind.PICTURES:
            return None
        pictures = list_pictures(source)
    except (CutlineError, OSError):
        return None  # whoever opens it says what is wrong
    name, folder = re.compile(re.escape(before) + r"\d+" + re.escape(after)), pattern.parent.resolve()
    return next((p for p in pictures if name.fullmatch(p.name) and p.parent.resolve() == folder), None)


def _same_file(first: str | None, second: str) -> bool:
    try:
        return first is not None and Path(first).samefile(second) and not Path(first).is_dir()
    except OSError:
        return False  # one of the two does not exist (yet), or is no path at all
