"""What a decoded frame is: size, pixel format, matrix, range, orientation, in the words that libswscale needs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import av
from av.sidedata.sidedata import SideData

from cutline.runtime.errors import BadInputError
from cutline.runtime.frame import Colour, Matrix

__all__ = ["Look", "Turn", "look_at", "look_of", "read_turn"]

Turn = tuple[tuple[str, str], ...]  # filters and their arguments that set a picture upright

# AVColorSpace -> (libswscale's name, the matrix we keep it in). The two odd ones are converted to BT.709.
# Source: ITU-T H.273, table 4.
_MATRICES: Final = {
    1: ("bt709", Matrix.BT709),
    4: ("fcc", Matrix.BT709),
    5: ("smpte170m", Matrix.BT601),  # BT.470 BG: the same numbers under a name that not every FFmpeg knows
    6: ("smpte170m", Matrix.BT601),
    7: ("smpte240m", Matrix.BT709),
    9: ("bt2020", Matrix.BT2020),
}
_UNSPECIFIED: Final = frozenset({0, 2, 3})  # RGB on a YUV frame is a lie; 3 is reserved
_FULL: Final = 2  # AVCOL_RANGE_JPEG
_LIMITED: Final = 1  # AVCOL_RANGE_MPEG
_ROTATIONS: Final[dict[int, Turn]] = {  # by degrees counterclockwise
    90: (("transpose", "cclock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "clock"),),
}
_HD: Final = 720  # lines; below, an unspecified matrix means BT.601
_VIDEO_CODECS: Final = frozenset({"av1", "h264", "hevc", "libdav1d", "mpeg2video", "mpeg4", "vp8", "vp9", "vvc"})


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about a frame that decides how it is converted; equal looks share a filter graph."""

    width: int
    height: int
    pixels: str  # FFmpeg's name of the pixel format
    rgb: bool
    grey: bool
    matrix_name: str  # libswscale's name of the matrix that the codes are in
    colour: Colour  # what the frame becomes when nothing else is asked for
    full_range: bool  # of the codes
    turn: Turn
    interlaced: bool

    @property
    def turned(self) -> bool:
        """Whether width and height change places."""
        return any(name == "transpose" for name, _ in self.turn)

    @property
    def plain(self) -> bool:
        """Whether the codes are 8-bit 4:2:0 already, so that the planes can be copied as they are."""
        return self.pixels in ("yuv420p", "yuvj420p") and self.colour.matrix.value == _short(self.matrix_name)


def look_at(frame: av.VideoFrame, decoder: str, turn: Turn) -> Look:
    """Find out what a frame is.

    Args:
        decoder: name of the codec; where nothing is stated, monochrome video is limited range, pictures are full.
        turn: what read_turn says of this frame or of those before.
    Raises:
        BadInputError: its matrix is one that libswscale cannot convert.
    """
    return look_of(frame, frame.format, decoder, turn)


def look_of(frame: av.VideoFrame, pixels: av.VideoFormat, decoder: str, turn: Turn) -> Look:
    """The same of a frame whose pixels may lie elsewhere: its format says so then, and `pixels` are what lies there."""
    name = pixels.name
    rgb = pixels.is_rgb or pixels.has_palette or pixels.is_bayer
    grey = not rgb and name.startswith(("gray", "ya8", "ya16", "mono"))
    if rgb:
        full, matrix_name, colour = True, "bt709", Colour(Matrix.BT709, full_range=False)
    else:
        space, stated = int(frame.colorspace), int(frame.color_range)
        full = stated == _FULL or name.startswith("yuvj")
        if grey and stated not in (_FULL, _LIMITED):
            full = decoder not in _VIDEO_CODECS
        matrix_name, matrix = _matrix(space, frame.height)
        colour = Colour(matrix, full)
    return Look(frame.width, frame.height, name, rgb, grey, matrix_name, colour, full, turn, frame.interlaced_frame)


def _matrix(space: int, height: int) -> tuple[str, Matrix]:
    if space in _UNSPECIFIED:
        space = 6 if height < _HD else 1
    if space not in _MATRICES:
        raise BadInputError(
            "the video's colour matrix is not supported",
            remedy="Convert it to BT.709 first.",
            colorspace=space,
        )
    return _MATRICES[space]


def _short(matrix_name: str) -> str:
    return "bt601" if matrix_name == "smpte170m" else matrix_name


def read_turn(frame: av.VideoFrame) -> Turn:
    """Read the display matrix: filters for the eight ways to lay a rectangle; angles between are ignored.

    Not for every frame of a stream: PyAV ties a frame whose side data was read into a reference cycle, so that its
    memory stays until the collector runs.

    Source: FFmpeg, libavutil/display.h: x' = a x + c y, y' = b x + d y, 16.16 fixed point, y downwards.
    """
    try:
        side = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists all side data at once, and fails on kinds that are newer than itself
        return _ROTATIONS.get(frame.rotation % 360, ())
    if not isinstance(side, SideData):
        return ()
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side))
    if abs(a) + abs(d) > 16 * (abs(b) + abs(c)):
        return (*((("hflip", ""),) if a < 0 else ()), *((("vflip", ""),) if d < 0 else ()))
    if abs(b) + abs(c) > 16 * (abs(a) + abs(d)):
        kinds = {
            (True, True): "cclock_flip",
            (False, True): "clock",
            (True, False): "cclock",
            (False, False): "clock_flip",
        }
        return (("transpose", kinds[c > 0, b > 0]),)
    return ()
