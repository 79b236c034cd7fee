"""Brings decoded frames of any kind to the stream's one format: 8-bit YUV 4:2:0, upright, square pixels, one size."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final, final

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError
from cutline.runtime.frame import MAX_SIDE, MIN_SIDE, FrameFormat, Matrix, Planes
from cutline.runtime.sources.look import Look, Turn, look_at, read_turn

__all__ = ["Converter", "copy_planes"]

_SWS_NAMES: Final = {Matrix.BT601: "smpte170m", Matrix.BT709: "bt709", Matrix.BT2020: "bt2020"}
_TICK: Final = Fraction(1, 1_000_000)  # the graph passes pts through; their unit does not matter to it
_ODDEST_PIXEL: Final = 4  # times as wide as high or the reverse; beyond, the file's aspect ratio is taken for a mistake


@final
class Converter:
    """Owns the filter graph of one stream. The first frame decides the format, unless one is given.

    Frames come out in order, one for each that went in, though an interlaced stream keeps one back until the next
    comes or flush() is called.
    """

    def __init__(
        self,
        *,
        decoder: str,
        target: FrameFormat | None = None,
        crop: bool = False,
        pixel_aspect: Fraction = Fraction(1),
        report: Callable[[str, str], None],
    ) -> None:
        """Set up; nothing is allocated before the first frame.

        Args:
            target: the format to bring frames to; None: that of the first frame.
            crop: reach the target's shape by cutting evenly, instead of scaling each axis on its own.
            pixel_aspect: width over height of one stored pixel.
            report: called with kind and text of a notice.
        """
        self.upright = (0, 0)  # width and height of what came in last, in square pixels
        self.pitch = 0  # of surfaces: these frames are on the host
        self._decoder, self._crop, self._report = decoder, crop, report
        self._given = target is not None
        self._target = target
        sane = Fraction(1, _ODDEST_PIXEL) <= pixel_aspect <= _ODDEST_PIXEL
        self._aspect = pixel_aspect if sane else Fraction(1)
        self._deinterlace = False
        self._shape: tuple[int, int, int] | None = None
        self._turn: Turn = ()
        self._look: Look | None = None
        self._graph: Graph | None = None

    @property
    def format(self) -> FrameFormat:
        """Size and colour of what comes out. Known once a frame went in."""
        assert self._target is not None
        return self._target

    def push(self, frame: av.VideoFrame, turn: Turn | None = None) -> list[av.VideoFrame]:
        """Convert one frame; returns those that are ready, as yuv420p or yuvj420p in the format.

        Args:
            turn: filters that set it upright; None: what its display matrix says.
        Raises:
            BadInputError: the frame's size or colour cannot be handled.
        """
        shape = (frame.width, frame.height, frame.rotation)
        if turn is None and shape != self._shape:
            self._shape, self._turn = shape, read_turn(frame)
        look = look_at(frame, self._decoder, self._turn if turn is None else turn)
        ready: list[av.VideoFrame] = []
        if look.interlaced and not self._deinterlace:
            self._deinterlace, self._look = True, None
        if look != self._look and not self._only_interlace_differs(look):
            ready = self.flush()
            self._settle(look)
            self._look = look
        if self._graph is None:
            return [*ready, frame]
        self._graph.vpush(frame)
        return ready + self._pull(self._graph)

    def flush(self) -> list[av.VideoFrame]:
        """Return what the filters still hold, and let go of them."""
        graph, self._graph, self._look = self._graph, None, None
        if graph is None:
            return []
        graph.vpush(None)
        return self._pull(graph)

    def _only_interlace_differs(self, look: Look) -> bool:
        """Once fields were seen, the deinterlacer stays and lets whole frames through."""
        if self._look is None or not self._deinterlace:
            return False
        return _without_interlace(look) == _without_interlace(self._look)

    def _settle(self, look: Look) -> None:
        """Decide the format by the first frame, and build the graph that this look needs to reach it."""
        upright = self.upright = _upright_size(look, self._aspect)
        if self._target is None:
            if not (min(upright) >= MIN_SIDE and max(upright) <= MAX_SIDE):
                raise BadInputError(
                    "the picture's size is out of range",
                    remedy=f"Give pictures of {MIN_SIDE} to {MAX_SIDE} pixels a side.",
                    width=upright[0],
                    height=upright[1],
                )
            self._target = FrameFormat(width=upright[0], height=upright[1], colour=look.colour)
        self._tell(upright)
        target = self._target
        same = (look.width, look.height) == (target.width, target.height) and look.colour == target.colour
        if look.plain and same and not look.turn and not self._deinterlace:
            self._graph = None
        else:
            self._graph = _build(look, upright, target, crop=self._crop, deinterlace=self._deinterlace)

    def _tell(self, upright: tuple[int, int]) -> None:
        if self._crop:
            return  # a background: any size will do
        size = (self.format.width, self.format.height)
        if upright != size:
            now, first = f"{upright[0]}x{upright[1]}", f"{size[0]}x{size[1]}"
            self._report("resized", f"the picture became {now}; scaled to {first}, the first size")
        elif self._aspect != 1 and not self._given:
            self._report("square", f"pixels are not square; scaled to {upright[0]}x{upright[1]}")

    @staticmethod
    def _pull(graph: Graph) -> list[av.VideoFrame]:
        ready: list[av.VideoFrame] = []
        while True:
            try:
                frame = graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return ready
            if frame.pts is not None and frame.time_base is not None:  # a deinterlacer counts in halves
                frame.pts = round(frame.pts * frame.time_base / _TICK)
            ready.append(frame)


def copy_planes(frame: av.VideoFrame, planes: Planes) -> None:
    """Copy a yuv420p or yuvj420p frame of the same size into the planes."""
    for plane, out in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
        rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        out[:] = rows[: out.shape[0], : out.shape[1]]


def _without_interlace(look: Look) -> tuple[object, ...]:
    return (look.width, look.height, look.pixels, look.matrix_name, look.full_range, look.turn)


def _upright_size(look: Look, aspect: Fraction) -> tuple[int, int]:
    """Size once the pixels are square and the picture stands upright; no pixel is lost: the shorter side grows."""
    width, height = look.width, look.height
    if aspect > 1:
        width = round(width * aspect)
    elif aspect < 1:
        height = round(height / aspect)
    return (height, width) if look.turned else (width, height)


def _build(look: Look, upright: tuple[int, int], target: FrameFormat, *, crop: bool, deinterlace: bool) -> Graph:
    graph = Graph()
    if hasattr(graph, "threads"):  # PyAV 15 and later; the cores belong to the network
        graph.threads = 1
    chain = [
        graph.add_buffer(width=look.width, height=look.height, format=av.VideoFormat(look.pixels), time_base=_TICK)
    ]
    if deinterlace:
        chain.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
    chain += [graph.add(name, argument or None) for name, argument in look.turn]
    if crop:
        chain.append(graph.add("crop", _crop_to(look, upright, target)))
    if look.grey:  # libswscale takes every grey for full range: told so, it leaves the codes as they are
        chain += [graph.add("scale", "in_range=full:out_range=full"), graph.add("format", "yuv420p")]
    chain.append(graph.add("scale", _scale_arguments(look, target)))
    chain += [graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*chain).configure()
    return graph


def _scale_arguments(look: Look, target: FrameFormat) -> str:
    """Spell everything out: what libswscale guesses from the frame or its size would be wrong somewhere."""

    def extent(full: bool) -> str:
        return "full" if full else "limited"

    centred = look.full_range and look.pixels.startswith(
        "yuvj"
    )  # JPEG puts chroma between two columns, MPEG on the left one
    subsampled = not look.rgb and not look.grey and "444" not in look.pixels and "440" not in look.pixels
    return ":".join(
        (
            f"{target.width}:{target.height}",
            "flags=bicubic+accurate_rnd+full_chroma_inp",
            f"in_color_matrix={look.matrix_name}",
            f"in_range={extent(look.full_range)}",
            f"out_color_matrix={_SWS_NAMES[target.colour.matrix]}",
            f"out_range={extent(target.colour.full_range)}",
            *(("in_h_chr_pos=0",) if subsampled and not centred else ()),
            "out_h_chr_pos=0",
            "out_v_chr_pos=128",
        )
    )


def _crop_to(look: Look, upright: tuple[int, int], target: FrameFormat) -> str:
    """Cut evenly to the target's shape, in stored pixels that stand upright already."""
    stored = (look.height, look.width) if look.turned else (look.width, look.height)
    scale = max(target.width / upright[0], target.height / upright[1])
    width = min(stored[0], max(1, round(target.width / scale * stored[0] / upright[0])))
    height = min(stored[1], max(1, round(target.height / scale * stored[1] / upright[1])))
    return f"{width}:{height}:{(stored[0] - width) // 2}:{(stored[1] - height) // 2}"
