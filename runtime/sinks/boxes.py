"""The box structure of MP4 and QuickTime files, as far as it takes to cut off a half-written fragment."""

from __future__ import annotations

import os
import struct
from pathlib import Path

__all__ = ["cut_to_whole_fragments"]


def cut_to_whole_fragments(path: Path) -> int:
    """Shorten a fragmented file to its last whole fragment, and return its size in bytes.

    A full disk leaves a fragment whose index is there and whose pictures are not: players show an error at its end.
    Source: ISO/IEC 14496-12, 4.2 (box header).
    """
    good = position = 0
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while position + 8 <= end:
            file.seek(position)
            size, kind = struct.unpack(">I4s", file.read(8))
            if size == 1 and position + 16 <= end:
                (size,) = struct.unpack(">Q", file.read(8))
            position += size
            if size < 8 or position > end:
                break
            if kind in (b"moov", b"mdat"):
                good = position
        file.truncate(good)
    return good
