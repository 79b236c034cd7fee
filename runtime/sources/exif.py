"""How a photo's camera was held, from its Exif block.

Our own reader, because FFmpeg knows it from version 8 on only, and PyAV fails on the side data that it then puts it in.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from cutline.runtime.sources.look import Turn

__all__ = ["exif_turn"]

SEARCHED: Final = 1 << 18  # bytes from the file's beginning; JPEG puts the block first, PNG and WebP before the pixels
_BLOCK: Final = re.compile(rb"(?:Exif\0\0|eXIf|EXIF.{4}(?:Exif\0\0)?)(II\*\0|MM\0\*)", re.DOTALL)
_ORIENTATION: Final = 0x0112
_TURNS: Final[dict[int, Turn]] = {
    2: (("hflip", ""),),
    3: (("hflip", ""), ("vflip", "")),
    4: (("vflip", ""),),
    5: (("transpose", "cclock_flip"),),
    6: (("transpose", "clock"),),
    7: (("transpose", "clock_flip"),),
    8: (("transpose", "cclock"),),
}


def exif_turn(data: bytes) -> Turn:
    """Return the filters that set the picture upright; none when the file says nothing, or nothing sensible.

    Args:
        data: the beginning of a JPEG, PNG or WebP file.
    Source: Exif 2.3, section 4.6.4 A (Orientation); TIFF 6.0, section 2.
    """
    found = _BLOCK.search(data)
    if found is None:
        return ()
    tiff = data[found.start(1) :]
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(count):
            tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * number)
            if tag == _ORIENTATION:
                return _TURNS.get(value, ())
    except struct.error:
        return ()  # a torn block is no reason to refuse the picture
    return ()
