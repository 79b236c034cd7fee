"""The GPU's own decoder, through FFmpeg: frames stay on the device, as NV12 surfaces, and go into the slots there.

FFmpeg takes the stream apart and hands it to NVDEC picture by picture, so damage, order and times are found as on the
CPU. Its surfaces are written in the legacy default stream of the device's primary context; that is this process's own,
and nobody else's work waits for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, final

import av
from av.codec.hwaccel import HWAccel

from cutline.runtime.cuda.cuda_python import CudaPython
from cutline.runtime.cuda.driver import Stream
from cutline.runtime.errors import BadInputError, DeviceError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.slots import SurfaceLayout
from cutline.runtime.sources.look import Turn, look_of, read_turn
from cutline.runtime.sources.trouble import ON_CPU

__all__ = ["LIBRARY", "SurfaceCheck", "SurfaceSlots", "open_nvdec", "why_no_nvdec"]

LIBRARY: Final = "libnvcuvid.so.1"  # comes with the NVIDIA driver
LEGACY: Final = Stream(1)  # CU_STREAM_LEGACY, cuda.h
CONTAINER: Final = "In a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."


def open_nvdec(ordinal: int, log: Callable[[], str]) -> tuple[HWAccel, object]:
    """Make the settings by which FFmpeg decodes on a GPU, once it has been seen that it can begin to.

    The second of the two keeps the device's context, which takes long to make, until FFmpeg has it for good.

    Args:
        log: gives FFmpeg's last line, if it is known.

    Raises:
        DeviceError: no such GPU, no driver, or an FFmpeg or PyAV that cannot.
    """
    if not hasattr(av.VideoFrame, "sw_format"):
        raise DeviceError(
            "this PyAV hands out no frames that lie on the GPU",
            remedy="Install PyAV 18.1 or later.",
            found=av.__version__,
        )
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise DeviceError("the NVIDIA driver's video decoder is not there", remedy=CONTAINER, lacks=LIBRARY) from error
    settings = HWAccel("cuda", str(ordinal), allow_software_fallback=False, is_hw_owned=True)
    try:
        opened = av.CodecContext.create("h264", "r", hwaccel=settings)
    except (av.FFmpegError, OSError) as error:
        raise DeviceError(
            "the GPU cannot be opened for decoding",
            remedy="Run `cutline doctor`.",
            gpu=ordinal,
            reason=log() or str(error),
        ) from error
    if not opened.is_hwaccel:
        raise DeviceError("this FFmpeg came without NVDEC", remedy="Install PyAV's own wheel, or leave --decoder out.")
    return settings, opened


def why_no_nvdec(ordinal: int = 0) -> str:
    """Open the GPU's decoder for a moment; why it does not, or nothing."""
    try:
        open_nvdec(ordinal, lambda: "")
    except DeviceError as error:
        return str(error.facts.get("reason", error.what))
    return ""


@final
class SurfaceCheck:
    """Stands where a Converter stands, and converts nothing: frames that would need it are refused."""

    def __init__(self, *, decoder: str, target: FrameFormat | None, pixel_aspect: Fraction) -> None:
        """Set up.

        Args:
            target: size and colour that frames must have; None: those of the first.
            pixel_aspect: width over height of one stored pixel.
        """
        self.upright = (0, 0)
        self.pitch = 0  # of the surfaces, once a frame went in
        self._decoder, self._target, self._aspect = decoder, target, pixel_aspect
        self._shape: tuple[int, int, int] | None = None
        self._turn: Turn = ()

    @property
    def format(self) -> FrameFormat:
        """Size and colour of what comes out. Known once a frame went in."""
        assert self._target is not None
        return self._target

    def push(self, frame: av.VideoFrame, turn: Turn | None = None) -> list[av.VideoFrame]:  # noqa: ARG002 - of pictures
        """Look at one frame and give it back.

        Raises:
            BadInputError: it is not 8-bit 4:2:0, upright and progressive with square pixels, or not like the first.
        """
        shape = (frame.width, frame.height, frame.rotation)
        if shape != self._shape:
            self._shape, self._turn = shape, read_turn(frame)
        pixels = frame.sw_format
        if pixels is None:
            raise self._unfit("it was not decoded on the GPU")
        look = look_of(frame, pixels, self._decoder, self._turn)
        if look.pixels != "nv12":
            raise self._unfit(f"its pixels are {look.pixels}")
        if look.interlaced:
            raise self._unfit("it is interlaced")
        if look.turn:
            raise self._unfit("it is turned")
        if self._aspect != 1:
            raise self._unfit("its pixels are not square")
        seen = FrameFormat(width=look.width, height=look.height, colour=look.colour)
        pitches = {plane.line_size for plane in frame.planes}
        if len(pitches) != 1 or {self.pitch or max(pitches)} != pitches or seen != (self._target or seen):
            raise self._unfit(f"it became {look.width}x{look.height}, {look.matrix_name}")
        self.pitch, self._target, self.upright = pitches.pop(), seen, (look.width, look.height)
        return [frame]

    def flush(self) -> list[av.VideoFrame]:
        """Nothing is kept back."""
        return []

    @staticmethod
    def _unfit(why: str) -> BadInputError:
        return BadInputError(f"this video cannot stay on the GPU: {why}", remedy=ON_CPU)


@final
class SurfaceSlots:
    """Owns a driver, and the slots' surfaces in this process, for as long as the process lives."""

    def __init__(self, layout: SurfaceLayout, ordinal: int) -> None:
        """Open the surfaces.

        Raises:
            DeviceError: no cuda-bindings, or this GPU shares no memory between processes.
        """
        self._layout, self._driver = layout, CudaPython(ordinal)
        self._address = self._driver.open_shared(layout.name, layout.nbytes).address
        self._stream = self._driver.stream()
        self._decoded, self._stored = self._driver.event(waited=False), self._driver.event()

    def store(self, frame: av.VideoFrame, slot: int) -> None:
        """Copy a frame into a slot's surface, and sleep until it lies there.

        Raises:
            DeviceError: the device failed.
        """
        driver, layout, stream = self._driver, self._layout, self._stream
        planes: tuple[Any, ...] = frame.planes
        luma = self._address + slot * layout.slot_bytes
        targets = luma, luma + layout.pitch * layout.rows[0]
        driver.record(self._decoded, stream=LEGACY)
        driver.hold(self._decoded, stream=stream)
        for plane, rows, target in zip(planes, layout.rows, targets, strict=True):
            driver.copy(target, plane.buffer_ptr, layout.pitch * rows, stream=stream)
        driver.record(self._stored, stream=stream)
        driver.synchronise(self._stored)
