"""A file that is written beside its final name, so that what was there before survives a failure."""

from __future__ import annotations

import io
import os
from itertools import count
from pathlib import Path
from typing import final

from cutline.runtime.errors import OutputError
from cutline.runtime.sinks.base import creating

__all__ = ["PartFile"]


@final
class PartFile:
    """Owns `out.part.mp4`, open for writing, until keep(), leave() or discard(); `out.mp4` is untouched until keep().

    A part file that an earlier, killed run left behind is somebody's recording: it is never overwritten, and the next
    free name (`out.part2.mp4`) is taken. Has the methods that PyAV asks of a file, so that we close its descriptor
    whatever FFmpeg does.

    Raises:
        OutputError: the final name is a folder, or its folder does not exist or may not be written to.
    """

    def __init__(self, final_path: Path) -> None:
        if final_path.is_dir():
            raise OutputError("the output is a folder", remedy="Name a file in it.", path=str(final_path))
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
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
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

    def keep(self) -> None:
        """Close, and give the file its final name in one step."""
        self._file.close()
        self.path = self.path.replace(self.final)

    def leave(self) -> None:
        """Close under the part name; what it holds plays, and what was there before stays."""
        self._file.close()

    def discard(self) -> None:
        """Close and remove."""
        self._file.close()
        self.path.unlink(missing_ok=True)
