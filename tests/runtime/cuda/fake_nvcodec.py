"""A module with PyNvVideoCodec 2.2's names and signatures, whose decoder and encoder queue their work on a fake driver.

The decoder has two surfaces and writes them again with every packet; what it writes, FFmpeg decoded on the host. The
encoder's packets are the pictures' own bytes, read when its stream comes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from small_device import octets

from cutline.runtime.cuda.driver import Memory, Stream
from cutline.runtime.cuda.fake import FakeDriver

__all__ = ["FakeCodec", "PyNvVCException", "PyNvVCExceptionUnsupported"]


class PyNvVCException(Exception):
    pass


class PyNvVCExceptionUnsupported(Exception):
    pass


class FakeCodec:
    """The module."""

    __version__ = "2.2.4"
    Pixel_Format = SimpleNamespace(NV12="NV12", P016="P016")
    PyNvVCException, PyNvVCExceptionUnsupported = PyNvVCException, PyNvVCExceptionUnsupported
    FFmpegMuxer = NV_ENC_PIC_PARAMS = SimpleNamespace

    def __init__(self, driver: FakeDriver, *, pixel_format: str = "NV12", rows_more: int = 0) -> None:
        self.driver, self.pixel_format, self.rows_more = driver, pixel_format, rows_more
        self.encoders: list[PyNvEncoder] = []

    def CreateDemuxer(self, filename: str) -> PyNvDemuxer:  # noqa: N802 - the module's names
        return PyNvDemuxer(filename)

    def CreateDecoder(  # noqa: N802
        self, gpuid: int = 0, codec: str = "H264", cudacontext: int = 0, cudastream: int = 0,
        usedevicememory: bool = False,
    ) -> PyNvDecoder:  # fmt: skip
        assert (gpuid, cudacontext, usedevicememory) == (0, FakeDriver.context, True)
        if codec != "h264":
            raise PyNvVCExceptionUnsupported("Codec not supported on this GPU\nand more")
        return PyNvDecoder(self, Stream(cudastream))

    def CreateEncoder(  # noqa: N802
        self, width: int, height: int, fmt: str, usecpuinputbuffer: bool, **settings: Any
    ) -> PyNvEncoder:
        assert (fmt, usecpuinputbuffer) == ("NV12", False)
        known = {"gpu_id", "cudacontext", "cudastream", "codec", "preset", "tuning_info", "rc", "bitrate", "bf", "fps"}
        assert set(settings) == known | {"gop"}
        if settings["codec"] == "av1":
            raise PyNvVCExceptionUnsupported("Codec not supported")
        self.encoders.append(PyNvEncoder(self.driver, width, height, Stream(settings["cudastream"])))
        return self.encoders[-1]


class PyNvDemuxer:
    def __init__(self, filename: str) -> None:
        try:
            self._container = av.open(filename)
        except (OSError, av.FFmpegError) as error:
            raise PyNvVCException(f"CreateFormatContext : \nError code : -2\nError Type : {error}\nat F.h") from error
        self._stream = self._container.streams.video[0]

    def GetNvCodecId(self) -> str:  # noqa: N802
        return self._stream.codec_context.name

    def Width(self) -> int:  # noqa: N802
        return self._stream.codec_context.width

    def Height(self) -> int:  # noqa: N802
        return self._stream.codec_context.height

    def GetTimebaseNum(self) -> int:  # noqa: N802
        return self._stream.time_base.numerator  # type: ignore[union-attr]

    def GetTimebaseDen(self) -> int:  # noqa: N802
        return self._stream.time_base.denominator  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Any]:
        return self._container.demux(self._stream)


class PyNvDecoder:
    def __init__(self, module: FakeCodec, stream: Stream) -> None:
        self._module, self._stream = module, stream
        self._pool: list[Memory] = []

    def Decode(self, packet: Any) -> list[Any]:  # noqa: N802
        pictures = packet.decode()
        return [self._surface(index, picture) for index, picture in enumerate(pictures)]

    def _surface(self, index: int, picture: av.VideoFrame) -> Any:
        height, width = picture.height, picture.width
        pitch = -(-width // 64) * 64
        data = nv12(picture, pitch)
        if index == len(self._pool):
            self._pool.append(self._module.driver.alloc(data.nbytes))
        memory = self._pool[index]

        def write() -> None:
            octets(memory.address, data.nbytes)[:] = data.reshape(-1)

        self._module.driver.host_work(self._stream, "decoder", write)
        shape = (height + self._module.rows_more, width, 1)
        luma = SimpleNamespace(dataptr=memory.address, shape=shape, stride=(pitch, 1, 1))
        chroma = SimpleNamespace(dataptr=memory.address + pitch * height, stride=(pitch, 2, 1))
        return SimpleNamespace(
            format=self._module.pixel_format, cuda=lambda: [luma, chroma], getPTS=lambda: picture.pts
        )


class PyNvEncoder:
    def __init__(self, driver: FakeDriver, width: int, height: int, stream: Stream) -> None:
        self._driver, self._size, self._stream = driver, (height, width), stream
        self.seen: list[NDArray[np.uint8]] = []  # pictures, when the stream came to them
        self._waiting: list[dict[str, Any]] = []

    def Encode(self, frame: Any, picParams: Any) -> list[dict[str, Any]]:  # noqa: N802, N803
        luma, chroma = (view.__cuda_array_interface__ for view in frame.cuda())
        (height, width), pitch = self._size, luma["strides"][0]
        assert luma["shape"] == (height, width, 1)
        assert chroma["shape"] == (height // 2, width // 2, 2)
        assert chroma["strides"] == (pitch, 2, 1)
        address = luma["data"][0]
        assert chroma["data"][0] == address + pitch * height, "u plane must follow yplane"

        def read() -> None:
            rows = octets(address, pitch * height * 3 // 2).reshape(-1, pitch)
            self.seen.append(rows[:, :width].copy())

        self._driver.host_work(self._stream, "encoder", read)
        kind = 3 if not self._waiting and not self.seen else 0
        ready, self._waiting = self._waiting, []  # one frame behind, as real ones are
        stamp = picParams.inputTimeStamp
        self._waiting.append({"data": f"packet {stamp}".encode(), "timestamp": stamp, "picture_type": kind})
        return ready

    def EndEncode(self) -> list[dict[str, Any]]:  # noqa: N802
        ready, self._waiting = self._waiting, []
        return ready


def nv12(picture: av.VideoFrame, pitch: int) -> NDArray[np.uint8]:
    """The picture's rows as a decoder leaves them: uint8[3 * H / 2, pitch]."""
    rows = np.zeros((picture.height * 3 // 2, pitch), np.uint8)
    rows[:, : picture.width] = picture.reformat(format="nv12").to_ndarray()
    return rows
