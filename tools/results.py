"""Files that a command leaves behind: each is whole or not there, and what was there before survives a failure."""

from __future__ import annotations

import errno
from pathlib import Path

from cutline.runtime.errors import OutputError, StorageError

__all__ = ["write_whole"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, data: bytes) -> None:
    """Write the file beside its name, then rename it; what was there before a failure is untouched.

    Raises:
        StorageError: the disk is full.
        OutputError: the file may not be written there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        full = error.errno in _FULL
        kind, remedy = (StorageError, "Free some space.") if full else (OutputError, "Name another folder.")
        raise kind(f"the file cannot be written: {error.strerror}", remedy=remedy, path=str(path)) from error
