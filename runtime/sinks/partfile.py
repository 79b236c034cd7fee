"""A file that is written beside its final name, so that what was there before survives a failure."""

from __future__ import annotations

import io
import os
import threading
from itertools import count
from pathlib import Path
from typing import final

from cutline.runtime.errors import OutputError
from cutline.runtime.sinks.base import creating, write_all

__all__ = ["PartFile"]

SYNC_S = 0.4


@final
class PartFile:
    """Owns `out.part.mp4`, open for writing, until keep(), leave() or discard(); `out.mp4` is untouched until keep().

    A part file that an earlier, killed run left behind is somebody's recording: it is never overwritten, and the next
    free name (`out.part2.mp4`) is taken. Has the methods that PyAV asks of a file, so that we close its descriptor
    whatever FFmpeg does.

    Args:
        durable: push what was written to the disk every SYNC_S seconds, in a thread, so that a power cut costs no more
            than a kill. For recordings of live sources, which cannot be made again.
    Raises:
        OutputError: the final name is a folder, a pipe or a device, or its folder does not exist, or may not be
            written to.
    """

    def __init__(self, final_path: Path, *, durable: bool = False) -> None:
        if final_path.is_dir():
            raise OutputError("the output is a folder", remedy="Name a file in it.", path=str(final_path))
        if final_path.exists() and not final_path.is_file():
            raise OutputError(
                "the output is a pipe or a device, and this kind of output needs a file",
                remedy="Name a file, or write to - and redirect it.",
                path=str(final_path),
            )
        self.final = final_path
        self.replaces = final_path.exists()
        self.size = 0  # bytes written so far, rewritten ones counted once
        self.notices: list[str] = []
        with creating(final_path):
            for number in count(1):
                mark = "part" if number == 1 else f"part{number}"
                path = final_path.with_name(f"{final_path.stem}.{mark}{final_path.suffix}")
                try:
                    self._file = io.FileIO(path, "xb")
                except FileExistsError:
                    self.notices.append(f"{path} is left from an earlier run that did not finish")
                    continue
                break
        self.path = path
        self._stop = threading.Event()
        self._sync_error: OSError | None = None
        self._syncer = threading.Thread(target=self._sync, name=f"sync {path.name}", daemon=True) if durable else None
        if self._syncer:
            self._syncer.start()

    def _sync(self) -> None:
        done = 0
        while not self._stop.wait(SYNC_S):
            if (size := self.size) != done:
                try:
                    os.fsync(self._file.fileno())
                except OSError as error:
                    self._sync_error = error
                    return
                done = size

    def _close(self) -> None:
        self._stop.set()
        if self._syncer:
            self._syncer.join()
        self._file.close()

    @property
    def name(self) -> str:
        """Path, as PyAV shows it in errors."""
        return str(self.path)

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._file.closed

    def fileno(self) -> int:
        """Descriptor of the part file."""
        return self._file.fileno()

    def write(self, data: bytes) -> int:
        """Write all of it: FFmpeg does not look at how much was taken."""
        if self._sync_error:
            raise self._sync_error
        write_all(self._file, data)
        self.size = max(self.size, self._file.tell())
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the place of the next write."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Place of the next write, in bytes."""
        return self._file.tell()

    def seekable(self) -> bool:
        """A regular file always is."""
        return True

    def writable(self) -> bool:
        """It is open for writing."""
        return True

    def cut(self, size: int) -> None:
        """Shorten it to `size` bytes: what follows is half written."""
        self._file.truncate(size)

    def keep(self) -> None:
        """Close, and give the file its final name in one step."""
        self._close()
        self.path = self.path.replace(self.final)

    def leave(self) -> None:
        """Close under the part name; what it holds plays, and what was there before stays."""
        self._close()

    def discard(self) -> None:
        """Close and remove."""
        self._close()
        self.path.unlink(missing_ok=True)
