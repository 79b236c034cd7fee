"""The GPU's own decoders and encoders through PyNvVideoCodec (extra `video`): a file's frames as surfaces on the
device, and composites from there as packets.

Both are given the stream that their copies run in, and everything here relies on its order: a surface is written by
what was queued in that stream before it was handed out, and may be written again by what is queued for the next packet.
Written from the names and signatures of PyNvVideoCodec 2.2 and NVIDIA's samples; it has not run on a GPU yet. The
library ends the process (exit code 1) where its decoder finds the driver at fault, so it belongs into one of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from cutline.runtime.cuda.driver import Driver, Stream
from cutline.runtime.cuda.planes import DevicePlanes
from cutline.runtime.errors import BadInputError, DeviceError, InternalError
from cutline.runtime.frame import FrameFormat

__all__ = ["Packet", "SurfaceDecoder", "SurfaceEncoder", "load_codec"]

MODULE: Final = "PyNvVideoCodec"
NEEDED: Final = ("CreateDecoder", "CreateDemuxer", "CreateEncoder", "FFmpegMuxer", "NV_ENC_PIC_PARAMS")  # 2.2 and later
KEY_PICTURES: Final = (2, 3)  # NV_ENC_PIC_TYPE_I and _IDR
INSTALL: Final = "Install it with `pip install 'cutline[video]'`; without it the CPU decodes and encodes."
ON_CPU: Final = "Let the CPU decode it: leave out what asks for the GPU's decoder."


class Packet(NamedTuple):
    """One encoded picture."""

    data: bytes
    pts: int
    key: bool


def load_codec() -> Any:
    """The module PyNvVideoCodec.

    Raises:
        DeviceError: it is not installed, is too old, or does not find the driver's video libraries.
    """
    try:
        module = importlib.import_module(MODULE)
    except ImportError as error:
        raise DeviceError(f"{MODULE} cannot be imported: {_line(error)}", remedy=INSTALL) from error
    except Exception as error:  # RuntimeError in 2.2: it asks the driver while it is imported
        remedy = "Update the NVIDIA driver; in a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."
        raise DeviceError(f"{MODULE} finds no video driver: {_line(error)}", remedy=remedy) from error
    if missing := [name for name in NEEDED if not hasattr(module, name)]:
        raise DeviceError(
            f"{MODULE} is too old", remedy="Install 2.2 or later.", found=module.__version__, lacks=missing[0]
        )
    return module


@final
class SurfaceDecoder:
    """Owns a demuxer and a decoder of one file, until close(); borrows the driver and a stream."""

    def __init__(self, driver: Driver, path: Path, *, stream: Stream) -> None:
        """Open the file.

        Raises:
            DeviceError: no PyNvVideoCodec, or this GPU does not decode this kind of video.
            BadInputError: the file cannot be read.
        """
        driver.attach()
        self._driver, self._codec, self._path = driver, load_codec(), path
        with _Faults(driver, self._codec, path):
            self._demuxer = self._codec.CreateDemuxer(filename=str(path))
            self._decoder = self._codec.CreateDecoder(
                gpuid=driver.device.ordinal,
                codec=self._demuxer.GetNvCodecId(),
                cudacontext=driver.context,
                cudastream=stream.handle,
                usedevicememory=True,
            )
            self.width, self.height = int(self._demuxer.Width()), int(self._demuxer.Height())
            self.time_base = Fraction(int(self._demuxer.GetTimebaseNum()), int(self._demuxer.GetTimebaseDen()))

    def __iter__(self) -> Iterator[tuple[DevicePlanes, int]]:
        """Yield each frame's surface, NV12, and its time in units of time_base, in the order in which they are shown.

        What reads a surface must be ordered before the stream's later work when the next one is asked for.

        Raises:
            DeviceError: the frames are not 8-bit 4:2:0.
            BadInputError: the decoder gave up, or the frames change their size.
        """
        with _Faults(self._driver, self._codec, self._path):
            for packet in self._demuxer:
                for frame in self._decoder.Decode(packet):
                    yield self._planes(frame), int(frame.getPTS())

    def close(self) -> None:
        """Let go of both; what was queued must have ended. Works twice."""
        self._decoder = self._demuxer = None

    def _planes(self, frame: Any) -> DevicePlanes:
        if frame.format != self._codec.Pixel_Format.NV12:
            raise DeviceError("these frames are not 8-bit 4:2:0", remedy=ON_CPU, input=str(self._path))
        luma, chroma = frame.cuda()
        rows, columns = int(luma.shape[0]), int(luma.shape[1])
        if (columns, rows) != (self.width, self.height):
            raise BadInputError(
                "the video changes its size on the way", remedy=ON_CPU, input=str(self._path), now=f"{columns}x{rows}"
            )
        y, uv = int(luma.dataptr), int(chroma.dataptr)
        pitches = int(luma.stride[0]), int(chroma.stride[0])
        return DevicePlanes(y=y, u=uv, v=uv + 1, luma_pitch=pitches[0], chroma_pitch=pitches[1], interleaved=True)


@final
class SurfaceEncoder:
    """Owns an encoder, until close(); borrows the driver and a stream."""

    def __init__(
        self,
        driver: Driver,
        frame: FrameFormat,
        *,
        stream: Stream,
        rate: Fraction,
        bits_per_s: int,
        codec: str = "h264",
    ) -> None:
        """Open an encoder without B-frames, so that packets come in the order of frames.

        Args:
            codec: h264, hevc or av1.
        Raises:
            DeviceError: no PyNvVideoCodec, or no encoder of this kind is free.
            BadInputError: a side of the frame is odd.
        """
        if frame.width % 2 or frame.height % 2:
            raise BadInputError(
                "the GPU's encoder takes even sizes only", remedy="Scale the input, or let the CPU encode.",
                width=frame.width, height=frame.height,
            )  # fmt: skip
        driver.attach()
        self._driver, self._codec, self._frame = driver, load_codec(), frame
        with _Faults(driver, self._codec, None):
            self._encoder: Any = self._codec.CreateEncoder(
                frame.width, frame.height, "NV12", False,
                gpu_id=driver.device.ordinal, cudacontext=driver.context, cudastream=stream.handle,
                codec=codec, preset="P4", tuning_info="low_latency", rc="vbr", bitrate=bits_per_s, bf=0,
                fps=round(rate), gop=round(rate),
            )  # fmt: skip

    def encode(self, planes: DevicePlanes, pts: int) -> list[Packet]:
        """Queue one frame; get the packets that are ready.

        Args:
            planes: NV12, chroma right behind luma, with one pitch: as DeviceStream leaves its composites.
        """
        if planes.u != planes.y + planes.luma_pitch * self._frame.height or planes.luma_pitch != planes.chroma_pitch:
            raise InternalError(
                "these planes are not one block of NV12", remedy="Report this.", pitch=planes.luma_pitch
            )
        params = self._codec.NV_ENC_PIC_PARAMS()
        params.inputTimeStamp = pts
        with _Faults(self._driver, self._codec, None):
            return _packets(self._encoder.Encode(_Input(planes, self._frame), params))

    def finish(self) -> list[Packet]:
        """Get the packets that are still inside."""
        with _Faults(self._driver, self._codec, None):
            return _packets(self._encoder.EndEncode())

    def close(self) -> None:
        """Let go of the encoder; what was queued must have ended. Works twice."""
        self._encoder = None


class _Plane:
    """Device memory as PyNvVideoCodec takes it: version 3 of the CUDA array interface."""

    def __init__(self, address: int, shape: tuple[int, int, int], strides: tuple[int, int, int]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "strides": strides, "typestr": "|u1", "data": (address, False), "version": 3,
        }  # fmt: skip


class _Input:
    """One NV12 picture, with the method that encoders look for."""

    def __init__(self, planes: DevicePlanes, frame: FrameFormat) -> None:
        luma = _Plane(planes.y, (frame.height, frame.width, 1), (planes.luma_pitch, 1, 1))
        shape = (frame.chroma_height, frame.chroma_width, 2)
        self._planes = [luma, _Plane(planes.u, shape, (planes.chroma_pitch, 2, 1))]

    def cuda(self) -> list[_Plane]:
        return self._planes


class _Faults:
    """Turns what PyNvVideoCodec raises into errors of ours."""

    def __init__(self, driver: Driver, codec: Any, path: Path | None) -> None:
        self._driver, self._codec = driver, codec
        self._facts = {} if path is None else {"input": str(path)}

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._codec.PyNvVCExceptionUnsupported):
            what = f"this GPU has no decoder or encoder for this: {_line(error)}"
            raise DeviceError(what, remedy="Let the CPU do it.", **self._facts) from error
        if isinstance(error, (self._codec.PyNvVCException, RuntimeError, ValueError)):
            self._driver.free_bytes()  # says so where the device was lost
            failed = f"{MODULE} failed: {_line(error)}"
            if self._facts:
                raise BadInputError(failed, remedy=ON_CPU, **self._facts) from error
            raise DeviceError(failed, remedy="Let the CPU encode; see `cutline doctor`.") from error


def _packets(given: Any) -> list[Packet]:
    return [Packet(bytes(p["data"]), int(p["timestamp"]), int(p["picture_type"]) in KEY_PICTURES) for p in given]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
