"""The frames that are measured: a clip, the same at other sizes, and a few frames of it with nothing left to decode."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import av

from cutline.benchmarks.schema import Input
from cutline.runtime.errors import BadInputError, NoInputError, OutputError, StorageError, UsageError

__all__ = ["DEFAULT", "SIZES", "Clip", "clip_folder", "open_clip", "parse_size"]

DEFAULT: Final = (
    "synthetic://kiosk?split=test&seed=8&size=1920x1080&frames=30&fps=30"  # goods no network was trained on
)
SIZES: Final = {
    "480p": (854, 480),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "1440p": (2560, 1440),
    "4k": (3840, 2160),
}
LARGEST: Final = 8192  # pixels a side
# as cameras send it: 8 Mbit/s at 1080p30, a key frame a second, no frame out of order
ENCODER: Final = {"preset": "veryfast", "bf": "0", "g": "30"}
BITS_PER_PIXEL: Final = 0.13
# Tagged, and BT.601 although HD: OpenCV knows no other matrix, so other programs see the same colours.
SMPTE170M, LIMITED = 6, 1
MOST: Final = 60  # frames of a clip that is made for another size
RAW: Final = 8  # frames of one with nothing to decode

Tell = Callable[[str], None]


def clip_folder() -> Path:
    """Where clips that were made are kept: $XDG_CACHE_HOME/cutline/clips."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline" / "clips"


def parse_size(text: str) -> tuple[int, int]:
    """Read 720p, 1080p, 4k or WIDTHxHEIGHT.

    Raises:
        UsageError: it is no size.
    """
    if text.lower() in SIZES:
        return SIZES[text.lower()]
    sides = text.lower().split("x")
    if len(sides) == 2 and all(s.isascii() and s.isdigit() and 32 <= int(s[:6]) <= LARGEST for s in sides):
        width, height = int(sides[0]), int(sides[1])
        if width % 2 == height % 2 == 0:  # H.264 holds no others
            return width, height
    raise UsageError("no such size", remedy=f"Use {', '.join(SIZES)} or WIDTHxHEIGHT, both even.", size=text)


class Clip:
    """Borrows a video file; makes and keeps what is derived from it."""

    def __init__(self, path: Path, name: str, folder: Path, tell: Tell) -> None:
        """Look at the file.

        Raises:
            NoInputError: it is not there.
            BadInputError: it holds no video.
        """
        self.path, self._folder, self._tell = path, folder, tell
        if not path.is_file():
            raise NoInputError("the clip does not exist", remedy="Check the path.", input=name)
        with _reading(name), av.open(str(path)) as video:
            stream = video.streams.video[0]
            first = next(iter(video.decode(stream)))
            self.rate = Fraction(stream.average_rate or 30)
            self.info = Input(
                name=name, width=first.width, height=first.height, frames=stream.frames or None,
                decoder=stream.codec_context.name,
            )  # fmt: skip

    def at_size(self, size: tuple[int, int]) -> Path:
        """The clip's first frames at another size, encoded as a camera would; itself where it has that size."""
        if size == (self.info.width, self.info.height):
            return self.path
        width, height = size
        return self._kept(f"{width}x{height}-{ENCODER}-{BITS_PER_PIXEL}-{MOST}", ".mp4", lambda p: self._scale(p, size))

    def raw(self, size: tuple[int, int] | None = None) -> Path:
        """RAW frames of the clip that need no decoding, in a file that stays in memory: for closed loops."""
        source = self.at_size(size) if size else self.path
        return self._kept(f"raw-{size}-{RAW}", ".y4m", lambda path: _unpack(source, path))

    def still(self, size: tuple[int, int]) -> Path:
        """The first frame as a picture, for networks that take a plate: what they show then is no matter here."""
        source = self.at_size(size)
        return self._kept(f"still-{size}", ".png", lambda path: _picture(source, path))

    def _scale(self, path: str, size: tuple[int, int]) -> None:
        self._tell(f"making the clip at {size[0]}x{size[1]}, once")
        with av.open(str(self.path)) as video:
            frames = (
                f.reformat(size[0], size[1], "yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
                for f in islice(video.decode(video=0), MOST)
            )
            _encode(frames, path, size, self.rate)

    def _kept(self, recipe: str, suffix: str, make: Callable[[str], None]) -> Path:
        facts = self.path.stat()
        key = f"{self.path.resolve()} {facts.st_size} {facts.st_mtime_ns} {recipe}"
        return _keep(self._folder, key, suffix, make)


def open_clip(given: str, tell: Tell, folder: Path | None = None) -> Clip:
    """Open a file, or make a clip of a synthetic scene, which is kept.

    Raises:
        UsageError: a camera or stream, which comes at its own pace and cannot be repeated; or no such scene.
        NoInputError, BadInputError: see `Clip`.
    """
    folder = folder or clip_folder()
    if given.startswith("synthetic://"):
        from cutline.tools.scenes.source import open_scene

        if given == "synthetic://":
            given = DEFAULT
        scene = open_scene(given)
        if scene.frames is None:
            raise UsageError("an endless scene cannot be a clip", remedy="Give it frames=60, for example.", input=given)

        def make(path: str) -> None:
            tell(f"making the clip {given}, once: {scene.frames} frames")
            frames = (
                av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
                    format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG"
                )
                for rgb in scene
            )
            _encode(frames, path, (scene.width, scene.height), scene.frame_rate)

        return Clip(_keep(folder, f"{given} {ENCODER} {BITS_PER_PIXEL} {SMPTE170M}", ".mp4", make), given, folder, tell)
    if given == "-" or "://" in given or given.startswith("/dev/"):
        raise UsageError(
            "this input comes at its own pace and cannot be measured again",
            remedy="Record a clip of it with `cutline run INPUT clip.mp4 --background original`, and give that.",
            input=given,
        )
    return Clip(Path(given), Path(given).name, folder, tell)


def _encode(frames: Iterator[av.VideoFrame], path: str, size: tuple[int, int], rate: Fraction) -> None:
    with av.open(path, "w", format="mp4") as video:
        stream = video.add_stream("libx264", rate, options=ENCODER)
        stream.codec_context.colorspace, stream.codec_context.color_range = SMPTE170M, LIMITED
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        stream.bit_rate = int(BITS_PER_PIXEL * size[0] * size[1] * rate)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, av.video.frame.PictureType.NONE
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))


def _unpack(source: Path, path: str) -> None:
    with av.open(str(source)) as video, av.open(path, "w", format="yuv4mpegpipe") as raw:
        decoded = [frame.reformat(format="yuv420p") for frame in islice(video.decode(video=0), RAW)]
        stream: Any = raw.add_stream("wrapped_avframe", 30)
        stream.width, stream.height, stream.pix_fmt = decoded[0].width, decoded[0].height, "yuv420p"
        for number, frame in enumerate(islice(cycle(decoded), RAW)):
            frame.pts, frame.time_base = number, Fraction(1, 30)
            raw.mux(stream.encode(frame))


def _picture(source: Path, path: str) -> None:
    with av.open(str(source)) as video, av.open(path, "w", format="image2") as picture:
        first = next(iter(video.decode(video=0))).reformat(format="rgb24")
        stream: Any = picture.add_stream("png", 1)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "rgb24"
        first.pts, first.time_base = 0, Fraction(1)
        picture.mux(stream.encode(first))
        picture.mux(stream.encode(None))


def _keep(folder: Path, key: str, suffix: str, make: Callable[[str], None]) -> Path:
    """A file that was made before under this key, or made now, beside its place and renamed."""
    kept = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}{suffix}"
    if not kept.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=folder, suffix=suffix)
        except OSError as error:
            remedy = "Set XDG_CACHE_HOME to a folder of yours."
            raise OutputError("no place for the clip", remedy=remedy, path=str(folder), reason=str(error)) from error
        os.close(handle)
        try:
            make(part)
            Path(part).replace(kept)
        except (av.FFmpegError, OSError) as error:
            raise StorageError(
                "the clip cannot be made",
                remedy="Free some space, or give another input or size.",
                path=str(kept),
                reason=str(error),
            ) from error
        finally:
            Path(part).unlink(missing_ok=True)
    return kept


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, IndexError, StopIteration, OSError) as error:
        raise BadInputError(
            "the clip holds no video that can be decoded", remedy="Give a video file.", input=name, reason=str(error)
        ) from error
