"""Where decoded frames come from, as the worker sees it, and the reader for whatever FFmpeg opens."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Protocol, cast, final

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.stream import VideoStream

from cutline.runtime.errors import BadInputError, DeviceError, DeviceLostError
from cutline.runtime.sources.address import Address, Kind, stable_device
from cutline.runtime.sources.look import Turn
from cutline.runtime.sources.transport import ends_torn
from cutline.runtime.sources.trouble import ON_CPU, LogTail, explain

__all__ = ["LIMITS", "MAX_PIXELS", "Lost", "Reader", "Traits", "VideoReader", "decoder_threads"]

MAX_PIXELS: Final = 1 << 27  # of a decoded picture: 16384 x 8192; FFmpeg refuses more before it takes memory
LIMITS: Final = {"max_pixels": str(MAX_PIXELS)}  # options of every demuxer and decoder
PIXELS_PER_THREAD: Final = 125_000_000  # a second that one core decodes with ease: 1080p at 60 fps
NOT_DECODED: Final = "the GPU does not decode this video"
REFUSED: Final = 8  # packets in a row from a key frame on, none of which could be decoded: not damage, but the GPU
_NO_VIDEO_FORMATS: Final = frozenset({"tty"})  # FFmpeg would render a text file as a terminal
_COVER: Final = av.stream.Disposition.attached_pic  # of an audio file
_HDR: Final = {16: "PQ", 18: "HLG"}  # AVColorTransferCharacteristic


@dataclass(frozen=True, slots=True)
class Lost:
    """One frame that could not be decoded."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a reader knows about its stream before the first frame."""

    time_base: Fraction
    rate: Fraction | None
    frames: int | None
    duration_s: float | None
    live: bool
    audio: bool
    decoder: str
    pixel_aspect: Fraction = Fraction(1)
    hdr: str | None = None  # name of a transfer function that we do not tone-map


class Reader(Protocol):
    """Gives frames until the input ends."""

    traits: Traits
    broken: str | None  # after the last frame: why the input ended before its end
    turn: Turn | None  # what sets the frame last given upright; None: it says so itself

    def __iter__(self) -> Iterator[av.VideoFrame | Lost]:
        """Begin at the beginning. Raises CutlineError when the input cannot be read at all."""
        ...

    def close(self) -> None:
        """Let go of files, cameras and connections. Works twice."""
        ...


def decoder_threads(width: int, height: int, rate: Fraction | None, cores: int) -> int:
    """Threads for the decoder: what real time needs, and a quarter of the cores for files that are read at full speed.

    On two cores that is one: a second buys 20 % of rate for 10 % more work, and takes the core that the network needs.
    """
    needed = -(-width * height * (rate or 30) // PIXELS_PER_THREAD)
    return int(min(cores, max(1, cores // 4, needed)))


@final
class VideoReader:
    """Owns one opened FFmpeg input: a file, a pipe, a camera or a URL."""

    def __init__(self, address: Address, name: str, log: LogTail, gpu: int | None = None) -> None:
        """Open the input and find its video stream.

        Args:
            gpu: decode on this one; its frames stay there. None: on the CPU.
        Raises:
            CutlineError: it is missing, unreachable, empty, or holds no video.
            DeviceError: the GPU is not there, or does not decode this kind of video.
        """
        self._address, self._name, self._log = address, name, log
        self._hwaccel: HWAccel | None = None
        kept: object = None
        if gpu is not None:
            from cutline.runtime.sources.nvdec import open_nvdec

            self._hwaccel, kept = open_nvdec(gpu, lambda: log.last)
        self.broken: str | None = None
        self.turn: Turn | None = None
        self._cut: dict[int, bool] = {}  # by stream, sound too: its last packet was not whole
        self._container, self._stream = self._open()
        del kept
        self.traits = self._traits()

    def __iter__(self) -> Iterator[av.VideoFrame | Lost]:
        if self._container is None:
            self._container, self._stream = self._open()
        packets = 0
        end_s = 0.0
        lost: Lost | None = None
        damaged = False
        began, failed, broke = False, 0, 0
        for packet in self._packets():
            packets += packet is not None and packet.size > 0
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise explain(error, self._address, self._name, self._log.last) from error
                lost = Lost(self._log.last or str(error))
                if self._hwaccel is not None:
                    failed += failed > 0 or (packet is not None and packet.is_keyframe)  # a camera is joined midway
                    broke += isinstance(error, av.ExternalError)  # the driver said no
                    if not began and failed == REFUSED:
                        raise self._refused(self._stream, self._log.first) from error
                    if began and broke == REFUSED:
                        raise DeviceLostError(
                            "the GPU's decoder failed", remedy=ON_CPU, input=self._name, reason=lost.text
                        ) from error
                yield lost
                continue
            for frame in frames:
                if self._hwaccel is not None and not began:
                    self._demand_whole(frame)
                lost, damaged, began, broke = None, frame.is_corrupt, True, 0
                end_s = frame.time or end_s
                yield frame
        if self.broken is None:
            self.broken = self._missing_end(packets, end_s, lost, damaged=damaged)
        self.close()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        """Yield the video's packets and at last one that flushes the decoder (or None), also when reading fails."""
        assert self._container is not None
        video = self._stream.index
        try:
            for packet in self._container.demux():
                if packet.size:
                    self._cut[packet.stream.index] = packet.is_corrupt
                if packet.stream.index == video:
                    yield cast("av.Packet[VideoStream]", packet)
        except av.FFmpegError as error:
            self.broken = self._log.last or str(error)
            yield None

    def _missing_end(self, packets: int, end_s: float, lost: Lost | None, *, damaged: bool) -> str | None:
        """Some demuxers end quietly where the bytes end; the header may know how much there should have been.

        Fewer packets than promised alone prove nothing: an edit list may leave some out at the beginning.
        """
        if self.traits.live or self._address.kind is Kind.CAMERA:
            return None
        if lost is not None:
            return f"the last frame cannot be decoded: {lost.text}"
        promised, duration_s = self.traits.frames, self.traits.duration_s
        period_s = float(1 / (self.traits.rate or 25))
        early = duration_s is not None and end_s + 2.5 * period_s < self._start_s + duration_s
        if early and promised and packets < promised:
            return f"{promised - packets} of {promised} frames are missing"
        if early and self._log.last.startswith("File ended prematurely"):
            return f"it ends at {end_s:.1f} s of {duration_s:.1f} s"
        if damaged or any(self._cut.values()) or self._is_torn_transport_stream():
            return "its last bytes are half a packet"
        return None

    def _is_torn_transport_stream(self) -> bool:
        assert self._container is not None
        file = self._address.kind is Kind.FILE and Path(self._address.uri).is_file()
        return file and self._container.format.name == "mpegts" and ends_torn(Path(self._address.uri))

    def _open(self) -> tuple[InputContainer | None, VideoStream]:
        with ExitStack() as undo:
            try:
                container = self._open_container()
            except (av.FFmpegError, OSError) as error:
                raise self._explain(error) from error
            except RuntimeError:  # PyAV's, where no stream can be decoded on a GPU, sound and text among them
                self._hwaccel = None
                opened, stream = self._open()  # says what it is, if that is no video
                if opened is not None:
                    undo.callback(opened.close)
                raise self._refused(stream, "FFmpeg decodes this codec on the CPU only") from None
            undo.callback(container.close)
            stream = self._pick(container)
            if self._hwaccel is not None and not stream.codec_context.is_hwaccel:
                raise self._refused(stream, "FFmpeg decodes this codec on the CPU only")
            codec = stream.codec_context
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            rate = stream.guessed_rate or stream.average_rate
            on_cpu = self._hwaccel is None  # a GPU's decoder works by itself, and threads only keep frames back
            codec.thread_count = decoder_threads(codec.width, codec.height, rate, cores) if on_cpu else 1
            codec.thread_type = "AUTO"
            codec.options = LIMITS
            undo.pop_all()
            return container, stream

    def _open_container(self) -> InputContainer:
        address = self._address
        options, name, demuxer = dict(LIMITS), address.uri, None
        if address.kind is Kind.STDIN:
            if _is_at_end(0):
                raise BadInputError("standard input is empty", remedy="Pipe a video into it.", input=self._name)
            name = "pipe:0"
        elif address.kind is Kind.CAMERA:
            name, demuxer = stable_device(name), "v4l2"
        elif address.kind is Kind.FILE:
            name = f"file:{name}"
        if address.scheme.startswith("rtsp"):
            options |= {"rtsp_transport": "tcp"}
        if address.kind is Kind.STREAM and address.looks_live:
            options |= {"analyzeduration": "2000000", "fflags": "nobuffer"}
        return av.open(name, format=demuxer, options=options, metadata_errors="replace", hwaccel=self._hwaccel)

    def _pick(self, container: InputContainer) -> VideoStream:
        if container.format.name in _NO_VIDEO_FORMATS:
            raise BadInputError("this is text, not a video", remedy="Give a video or picture file.", input=self._name)
        videos = [s for s in container.streams.video if _COVER not in s.disposition]
        if not videos:
            what = "this has sound but no picture" if container.streams.audio else "there is no video in it"
            raise BadInputError(what, remedy="Give a video or picture file.", input=self._name)
        if videos[0].codec_context is None:
            raise BadInputError("no decoder for this video", remedy="Convert it to H.264 first.", input=self._name)
        return videos[0]

    def _demand_whole(self, frame: av.VideoFrame) -> None:
        """Refuse what FFmpeg shows otherwise on a GPU: there it cuts at the right and bottom only, and evenly."""
        codec = self._stream.codec_context
        if (frame.width, frame.height) != (codec.width, codec.height):
            what = "this video cannot stay on the GPU: its size is odd, or it is cut at the left or top"
            raise BadInputError(what, remedy=ON_CPU, input=self._name, size=f"{codec.width}x{codec.height}")

    def _refused(self, stream: VideoStream, why: str) -> DeviceError:
        return DeviceError(NOT_DECODED, remedy=ON_CPU, input=self._name, codec=stream.codec_context.name, reason=why)

    def _explain(self, error: Exception) -> Exception:
        path = self._address.uri
        if self._address.kind is Kind.FILE and os.path.isfile(path) and os.path.getsize(path) == 0:  # noqa: PTH113, PTH202
            return BadInputError("the file is empty", remedy="Give a video or picture file.", input=self._name)
        return explain(error, self._address, self._name, self._log.last)

    def _traits(self) -> Traits:
        assert self._container is not None
        stream, container = self._stream, self._container
        time_base = stream.time_base or Fraction(1, 90_000)
        rate = stream.guessed_rate or stream.average_rate
        whole = None if container.duration is None else container.duration / 1e6
        duration = whole if stream.duration is None else float(stream.duration * time_base)
        if duration is not None and whole is not None and "mov" in container.format.name:
            duration = min(duration, whole)  # an edit list shows only part of what is stored
        self._start_s = float((stream.start_time or 0) * time_base)
        web = self._address.kind is Kind.STREAM and self._address.scheme not in ("tcp", "udp")
        live = self._address.looks_live and not (web and duration is not None)
        return Traits(
            time_base=time_base,
            rate=rate if rate and rate < 1000 else None,
            frames=stream.frames or None,
            duration_s=None if live else duration,
            live=live,
            audio=bool(container.streams.audio),
            decoder=stream.codec_context.name,
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            hdr=_HDR.get(int(stream.codec_context.color_trc)),
        )


def _is_at_end(fd: int) -> bool:
    """Whether a pipe, socket or file has no byte left; waits for the first one, and takes none."""
    select.select([fd], [], [])
    try:
        (left,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    except OSError:  # /dev/null and other devices do not know
        return False
    return bool(left == 0)
