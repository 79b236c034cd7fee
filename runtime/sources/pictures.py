"""Pictures: a folder or glob of them as a source, and one of them as a background."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, final

import av

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.runtime.frame import FrameFormat, Planes, allocate_planes
from cutline.runtime.sources.address import list_pictures
from cutline.runtime.sources.convert import Converter, copy_planes
from cutline.runtime.sources.exif import SEARCHED, exif_turn
from cutline.runtime.sources.look import Turn
from cutline.runtime.sources.reader import LIMITS, MAX_PIXELS, Lost, Traits
from cutline.runtime.sources.trouble import LogTail

__all__ = ["PictureReader", "load_picture"]

_CUT: Final = 0.02  # share of a whole picture that may be cut off: 1080 rows are often stored as 1088
RATE: Final = Fraction(25)  # pictures have no time of their own; FFmpeg's choice for image sequences


@final
class PictureReader:
    """Reads pictures one after the other; those that do not decode are lost frames, not errors."""

    def __init__(self, text: str, log: LogTail) -> None:
        """List the pictures.

        Raises:
            NoInputError: there are none.
        """
        self._paths = list_pictures(text)
        self._log = log
        self.broken: str | None = None
        self.turn: Turn | None = ()
        self.traits = Traits(
            time_base=1 / RATE,
            rate=RATE,
            frames=len(self._paths),
            duration_s=float(len(self._paths) / RATE),
            live=False,
            audio=False,
            decoder="pictures",
        )

    def __iter__(self) -> Iterator[av.VideoFrame | Lost]:
        for number, path in enumerate(self._paths):
            try:
                frame, self.turn = _decode(path)
            except (av.FFmpegError, OSError) as error:
                yield Lost(f"{path}: {self._log.last or error}")
                continue
            frame.pts = number
            frame.time_base = self.traits.time_base
            yield frame

    def close(self) -> None:
        """Nothing stays open between pictures."""


def load_picture(path: str | Path, format: FrameFormat, *, whole: bool = False) -> Planes:  # noqa: A002 - the field's own word
    """Read a picture into planes of that size and colour: upright, cut evenly to the shape, then scaled.

    Args:
        whole: refuse a picture of which more than a fiftieth would be cut off.
    Raises:
        NoInputError: the file is missing or may not be read.
        BadInputError: it is no picture that can be decoded, it is too large, or of another shape.
    """
    try:
        frame, turn = _decode(Path(path))
        converter = Converter(decoder="", target=format, crop=True, report=lambda kind, text: None)
        (ready,) = converter.push(frame, turn) or converter.flush()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoInputError("no such picture", remedy="Check the name.", input=str(path)) from error
    except PermissionError as error:
        raise NoInputError("the picture may not be read", remedy="Change its permissions.", input=str(path)) from error
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            "this is not a picture that can be decoded",
            remedy=f"Give a picture of at most {MAX_PIXELS // 1_000_000} megapixels.",
            input=str(path),
            reason=reason,
        ) from error
    width, height = converter.upright
    wide, high = width * format.height, height * format.width  # equal where the shapes are
    if whole and min(wide, high) < (1 - _CUT) * max(wide, high):
        raise BadInputError(
            "the picture has another shape than the frames",
            remedy="Take it with the same camera, in the same format.",
            input=str(path),
            picture=f"{width}x{height}",
            frames=f"{format.width}x{format.height}",
        )
    planes = allocate_planes(format.width, format.height)
    copy_planes(ready, planes)
    return planes


def _decode(path: Path) -> tuple[av.VideoFrame, Turn]:
    """Decode the first picture of a file, through a file object: FFmpeg would read % in a name as a pattern."""
    with path.open("rb") as file, av.open(file, "r", options=LIMITS, metadata_errors="replace") as container:
        streams = container.streams.video
        if not streams or container.format.name == "tty":
            raise BadInputError("there is no picture in it", remedy="Give a picture.", input=str(path))
        codec = streams[0].codec_context
        codec.thread_count = 1
        codec.options = LIMITS | {"err_detect": "explode"}  # FFmpeg would fill up half a JPEG with grey
        for packet in container.demux(streams[0]):
            for frame in streams[0].decode(packet):
                file.seek(0)
                return frame, exif_turn(file.read(SEARCHED))
    raise BadInputError("there is no picture in it", remedy="Give a picture.", input=str(path))
