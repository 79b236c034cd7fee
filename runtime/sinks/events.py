"""One line of JSON per frame: how much matte there is, and the items in it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import final

import cv2
import msgspec

from cutline.runtime.errors import OutputError
from cutline.runtime.frame import Frame
from cutline.runtime.sinks.base import SinkOptions, StreamInfo, alpha_of, creating, storing, write_all
from cutline.runtime.sinks.partfile import PartFile
from cutline.runtime.sinks.shapes import Item, Shapes

__all__ = ["Event", "EventSink"]


class Event(msgspec.Struct, frozen=True):
    """What happened in one frame."""

    stream: str
    index: int  # of the frame in its stream
    time_s: float
    area: float  # share of the frame that is matte, 0..1, partial alpha counted in part
    items: list[Item]


@final
class EventSink:
    """Owns the file (or a copy of stdout) that lines are written to, each in one piece as soon as its frame is done.

    A file is written beside its final name and renamed. Not so for a live source, which has no end: there, lines are
    appended to the file itself, where they can be followed, and those of earlier runs stay.

    Raises:
        OutputError: the file cannot be made.
    """

    wants_alpha = True
    carries_alpha = False
    live = False
    ended = False

    def __init__(self, path: Path | None, info: StreamInfo, options: SinkOptions) -> None:
        self._info, self._path = info, path
        self._shapes = Shapes(
            info.format.width, info.format.height, min_alpha=options.min_alpha, min_area=options.min_area
        )
        self._part: PartFile | None = None
        self._notices: list[str] = []
        self._frames = self._items = self._bytes = 0
        self._closed = self._failed = False
        if path is None and sys.stdout is None:
            raise OutputError("standard output is closed", remedy="Do not close it, or name a file.", path="-")
        if path is None:
            sys.stdout.flush()
            self._file = io.FileIO(os.dup(1), "wb")
        elif info.live or (path.exists() and not path.is_file() and not path.is_dir()):  # endless, or a pipe
            with creating(path):
                self._file = _append_to(path)
        else:
            self._part = PartFile(path)
            self._notices += self._part.notices

    def write(self, frame: Frame) -> None:
        """Write one line.

        Raises:
            StorageError: the disk is full, or the reader has gone.
        """
        alpha = alpha_of(frame)
        items = self._shapes.find(alpha)
        event = Event(
            stream=self._info.name,
            index=frame.index,
            time_s=round(frame.time.seconds, 6),
            area=round(cv2.mean(alpha)[0] / 255, 6),
            items=items,
        )
        line = msgspec.json.encode(event) + b"\n"
        try:
            with storing(self._path or "-"):
                if self._part:
                    self._part.write(line)
                else:
                    write_all(self._file, line)
        except BaseException:
            self._failed = True
            if self._part:
                self._part.cut(self._bytes)
            raise
        self._frames += 1
        self._items += len(items)
        self._bytes += len(line)

    def close(self, *, complete: bool) -> None:
        """Give the file its final name; later calls do nothing.

        Raises:
            StorageError: it cannot be renamed.
        """
        if self._closed:
            return
        self._closed = True
        if self._part is None:
            self._file.close()
        elif self._frames == 0:
            self._part.discard()
        elif not self._failed and (complete or not self._part.replaces):
            with storing(self._part.final):
                self._part.keep()
        else:
            self._part.leave()
            self._notices.append(f"unfinished: {self._part.final} is as it was, the lines are in {self._part.path}")

    def report(self) -> dict[str, object]:
        """Path, frames, items, bytes and notices."""
        path = self._part.path if self._part else self._path
        return {
            "path": "-" if path is None else str(path),
            "frames": self._frames,
            "items": self._items,
            "bytes": self._bytes,
            "codec": "jsonl",
            "notices": list(self._notices),
        }


def _append_to(path: Path) -> io.FileIO:
    """Open for appending, on a new line even if the last run was cut off within one."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            whole = file.read() == b"\n"
    else:
        whole = True
    output = io.FileIO(path, "ab")
    if not whole:
        output.write(b"\n")
    return output
