"""The one document that a program asked for, on standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cutline.runtime.errors import StorageError

__all__ = ["arrived", "write_document"]


def write_document(text: str) -> None:
    """Write it, and a line end.

    Raises:
        StorageError: not all of it could be written.
    """
    try:
        sys.stdout.write(text + "\n")
    except OSError as error:
        raise _lost(error) from error
    arrived()


def arrived() -> None:
    """See that what was printed has arrived.

    Raises:
        StorageError: it has not.
    """
    try:
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except OSError as error:
        raise _lost(error) from error


def _lost(error: OSError) -> StorageError:
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # or Python would try once more when it ends, and say so
    return StorageError(
        "writing the output failed", remedy="Check the disk or pipe.", path="-", reason=error.strerror or str(error)
    )
