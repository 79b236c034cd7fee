"""Footage for calibration: what the arguments name, read through the runtime's own sources."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

import numpy as np

from cutline.runtime.errors import BadInputError, CutlineError, NoInputError
from cutline.runtime.frame import FrameFormat, Planes, allocate_planes
from cutline.runtime.slots import SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Source, SourceOptions, is_live
from cutline.runtime.sources.address import PICTURES, Address, Redactor

__all__ = ["Clip", "Footage", "Moment", "Recording", "find_footage", "public_name", "read_uri"]

VIDEOS: Final = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".h264", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ts", ".webm", ".wmv", ".y4m"}
)
LIVE_SECONDS: Final = 60.0  # of a camera
SPOOL_BYTES: Final = 2 << 30  # of frames that a camera may leave on disk
POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a clip. The planes are borrowed until the next frame is asked for."""

    index: int
    planes: Planes
    format: FrameFormat


@dataclass(frozen=True, slots=True)
class Clip:
    """A file, a folder of pictures, or a generated scene: it can be read again, and gives the same frames."""

    uri: str
    name: str  # without credentials
    stills: bool = False  # frames that have nothing to do with each other

    def read(self) -> Generator[Moment]:
        """Every frame from the first.

        Raises:
            CutlineError: it cannot be read.
        """
        return read_uri(self.uri)


@final
class Recording:
    """Owns frames of a camera or network stream in a temporary file without a name, until close()."""

    stills = False

    def __init__(self, clip: Clip, *, most: int, seconds: float = LIVE_SECONDS) -> None:
        """Record evenly for some seconds, fewer if `most` frames have come.

        Raises:
            CutlineError: the camera cannot be opened.
        """
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cutline-")  # noqa: SIM115 - owned until close()
        self._format: FrameFormat | None = None
        self._count = 0
        self.name = clip.name
        with ExitStack() as undo:
            undo.callback(self.close)
            self._record(clip.uri, most, seconds)
            undo.pop_all()

    def _record(self, uri: str, most: int, seconds: float) -> None:
        start = due = 0.0
        moments = read_uri(uri)
        for moment in moments:
            now = time.monotonic()
            if not self._count:
                start = due = now
            if now - start > seconds or self._count >= most or self._file.tell() > SPOOL_BYTES:
                moments.close()
                return
            if now < due:
                continue
            due += seconds / most
            self._format = moment.format
            for plane in (moment.planes.y, moment.planes.u, moment.planes.v):
                self._file.write(plane.tobytes())
            self._count += 1

    def read(self) -> Generator[Moment]:
        """Every recorded frame."""
        self._file.seek(0)
        for index in range(self._count):
            assert self._format is not None
            planes = allocate_planes(self._format.width, self._format.height)
            for plane in (planes.y, planes.u, planes.v):
                plane[:] = np.frombuffer(self._file.read(plane.size), np.uint8).reshape(plane.shape)
            yield Moment(index, planes, self._format)

    def close(self) -> None:
        """Give the disk space back; later calls do nothing."""
        self._file.close()


Footage = Clip | Recording


def find_footage(inputs: Sequence[str]) -> list[Clip]:
    """Turn arguments into clips: a folder gives each of its videos, its pictures as one clip, and its subfolders.

    Raises:
        NoInputError: nothing is there.
    """
    found: list[Clip] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            clips = list(_in_folder(path))
            if not clips:
                raise NoInputError("the folder holds neither videos nor pictures", remedy="Give footage.", input=text)
            found += clips
        else:
            found.append(Clip(text, Redactor(text).name, stills=path.suffix.lower() in PICTURES))
    if not found:
        raise NoInputError("no footage was given", remedy="Give clips, folders or a camera.")
    return found


def _in_folder(folder: Path) -> Iterator[Clip]:
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    plates = {f"{p.stem}-plate" for p in entries if p.suffix.lower() in VIDEOS}  # belong to clips, and are no footage
    if any(p.suffix.lower() in PICTURES and p.is_file() and p.stem not in plates for p in entries):
        yield Clip(str(folder), str(folder), stills=True)
    for entry in entries:
        if entry.is_dir():
            yield from _in_folder(entry)
        elif entry.suffix.lower() in VIDEOS:
            yield Clip(str(entry), str(entry))


def public_name(name: str) -> str:
    """What footage is called where strangers read it, since tables travel in bundles: no folder, no host.

    A clip by its file's name, a folder as `pictures`, a URL by its scheme, a camera by its device's name.
    """
    address = Address.parse(name)
    if address.scheme:
        return address.scheme
    path = Path(address.uri)
    return "pictures" if path.is_dir() else path.name


def read_uri(uri: str) -> Generator[Moment]:
    """Read frames through a source process, every one for files, the newest for live sources.

    A clip that breaks off ends there; one of which no frame decodes is an error.

    Raises:
        CutlineError: it cannot be read at all.
    """
    with ExitStack() as owned:
        source = Source(uri, SourceOptions(policy="latest" if is_live(uri) else "block"))
        owned.callback(source.close)
        form = source.info.format
        pool = SlotPool(format=form, depth=2, arrays={}, alpha=False, composite=False)
        owned.callback(pool.close)
        source.start(pool)
        for slot in pool.slots:
            source.offer(slot)
        while True:
            event = source.take(POLL_S)
            if isinstance(event, End):
                if event.error is not None and not event.frames:
                    raise event.error
                return
            if isinstance(event, Filled):
                slot = pool.slots[event.slot_index]
                pool.move(slot, SlotState.READY)
                yield Moment(event.index, slot.source, form)
                pool.move(slot, SlotState.FREE)
                source.offer(slot)


def open_footage(clip: Clip, *, most: int) -> Footage:
    """A clip that can be read again: itself, or a recording of it where it is live."""
    return Recording(clip, most=most) if is_live(clip.uri) else clip


def first_error(errors: Sequence[CutlineError]) -> CutlineError:
    """The error to show when no clip at all could be read."""
    if len(errors) == 1:
        return errors[0]
    return BadInputError(
        f"none of {len(errors)} clips can be read; the first: {errors[0].what}", remedy=errors[0].remedy
    )
