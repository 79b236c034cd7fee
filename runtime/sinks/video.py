"""Video files: encoded, and muxed in fragments, so that a killed process leaves a file that plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import av
import numpy as np

from cutline.runtime.cuda.watchdog import Call
from cutline.runtime.errors import DeviceError, DeviceLostError, InternalError, OutputError
from cutline.runtime.frame import Frame
from cutline.runtime.sinks.audio import AudioCopy
from cutline.runtime.sinks.base import SinkOptions, StreamInfo, alpha_of, reason, storing
from cutline.runtime.sinks.boxes import cut_to_whole_fragments
from cutline.runtime.sinks.codec import explaining, said
from cutline.runtime.sinks.lent import Lender
from cutline.runtime.sinks.partfile import PartFile
from cutline.runtime.sinks.picture import Picture, colour_tags, convert, plane_rows
from cutline.runtime.sinks.recipes import NVENC, Recipe
from cutline.runtime.sinks.ticks import Ticks

__all__ = ["VideoFileSink"]

KEY_INTERVAL_S = 1
ASSUMED_RATE = Fraction(30)  # frames per second; a hint for the encoder's rate control when nobody knows better
SLOW_RATE = 8  # frames per second; below it, one frame held back by a second encoder thread is much to lose
WAIT_S = Fraction(1, 2)  # a header may wait so long for the stream that begins last; until then a kill loses everything
BUFFER = 1 << 18  # bytes between FFmpeg and the file


@final
class VideoFileSink:
    """Owns a part file, its container, its encoder and the source's audio until close().

    Raises:
        OutputError: the file cannot be made, or the encoder refuses frames of this size.
        DeviceError: there is no GPU that encodes, or it refuses these frames.
    """

    live = False
    ended = False

    def __init__(self, path: Path, info: StreamInfo, options: SinkOptions, recipe: Recipe) -> None:
        self._info, self._recipe = info, recipe
        self.carries_alpha = self.wants_alpha = recipe.transparent is not None and options.transparent
        self._ticks = Ticks(recipe.tick or Fraction(1, info.time_base.denominator), from_zero=info.live)
        self._frames = self._next_key = 0
        self._started = self._closed = self._failed = False
        self._notices: list[str] = []
        self._audio: AudioCopy | None = None
        self._lender = Lender(info.gpu, info.format) if info.gpu is not None else None
        self._origin = 0  # of the newest frame
        with ExitStack() as undo:
            self._file = PartFile(path, durable=info.live)
            undo.callback(self._file.discard)
            self._container = av.open(self._file, "w", format=recipe.container, buffer_size=BUFFER)
            self._stream = self._add_video(options)
            alpha_too = self.wants_alpha and recipe.transparent == "yuva420p"
            pixel_format = "yuva420p" if alpha_too else "yuv420p"
            self._picture = Picture(self._stream.width, self._stream.height, pixel_format, info.format.colour)
            self._add_audio()
            undo.pop_all()

    def _add_video(self, options: SinkOptions) -> av.VideoStream:
        recipe, rate = self._recipe, self._info.frame_rate or ASSUMED_RATE
        width, height = self._encoded_size()
        settings, more = recipe.settings(options, rate), dict[str, Any]()
        if self._lender is not None:
            settings["delay"] = "0"  # each call gives its frame's packet, and the slot may go back then
            more["hwaccel"] = self._lender.encoding()
        try:
            with explaining(), self._noting("opening the GPU for the encoder", opening=True):
                stream = self._container.add_stream(recipe.codec, rate=rate, options=settings, **more)
        except ValueError as error:  # FFmpeg is built without NVENC for some processors
            raise self._unencoded(options, (width, height), str(error)) from error
        except av.FFmpegError as error:
            raise self._unencoded(options, (width, height), said(error)) from error
        if not isinstance(stream, av.VideoStream):
            raise InternalError("a video codec made no video stream", remedy="Report this.", codec=recipe.codec)
        codec = stream.codec_context
        codec.width, codec.height = width, height
        codec.pix_fmt = recipe.transparent if recipe.transparent and self.wants_alpha else recipe.opaque
        if self._lender is not None:
            codec.pix_fmt = "nv12"
        codec.time_base = stream.time_base = self._ticks.tick
        codec.thread_count = options.threads if rate >= SLOW_RATE else 1
        codec.thread_type = "SLICE" if recipe.codec == "prores_ks" else "FRAME"
        codec.gop_size = 1 << 20  # keyframes are asked for by time, in write()
        tags = colour_tags(self._info.format.colour)
        codec.colorspace, codec.color_primaries, codec.color_trc = tags.matrix, tags.primaries, tags.transfer
        codec.color_range = tags.range if recipe.full_range else 1
        try:
            with explaining(), self._noting("opening the encoder", opening=True):
                codec.open()
        except (av.FFmpegError, ValueError) as error:
            raise self._unencoded(options, (width, height), said(error)) from error
        return stream

    def _unencoded(self, options: SinkOptions, size: tuple[int, int], why: str) -> DeviceError | OutputError:
        width, height = size
        if self._recipe.codec == NVENC:
            return DeviceError(
                "the GPU does not encode these frames",
                remedy="Leave --encoder out, and the processor does; `cutline doctor` says what the GPU lacks.",
                encoder=options.encoder,
                width=width,
                height=height,
                reason=why,
            )
        return OutputError(
            f"{self._recipe.title} refuses these frames",
            remedy="Choose another kind of output, or scale the input.",
            width=width,
            height=height,
            reason=why,
        )

    def _encoded_size(self) -> tuple[int, int]:
        width, height = self._info.format.width, self._info.format.height
        if not self._recipe.even or (width % 2 == 0 and height % 2 == 0):
            return width, height
        even = (width + width % 2, height + height % 2)
        self._notices.append(
            f"{self._recipe.title} cannot hold the odd size {width}x{height}: the last column or row is repeated, "
            f"the file is {even[0]}x{even[1]}"
        )
        return even

    def _add_audio(self) -> None:
        uri = self._info.source_uri
        if uri is None:
            return
        if self._info.live:
            self._notices.append("the audio of a live source is not stored")
        elif uri == "-" or (Path(uri).exists() and not Path(uri).is_file()):
            self._notices.append("the audio of a pipe is not stored, because a pipe is read only once")
        else:
            self._audio = AudioCopy(uri)
            self._audio.add_streams(self._container, self._recipe)

    def write(self, frame: Frame) -> None:
        """Encode one frame, and store what the encoder gives back.

        Raises:
            StorageError: the disk is full; what was stored before plays.
            DeviceLostError: the GPU's encoder failed; the same holds.
        """
        tick = self._ticks.take(frame.time)
        if self._audio and frame.time.origin != self._origin:
            self._audio.begin_again(tick * self._ticks.tick, frame.time.origin * frame.time.time_base)
        self._origin = frame.time.origin
        picture = self._encodable(frame)
        picture.pts, picture.time_base = tick, self._ticks.tick
        due = self._frames == 0 or tick >= self._next_key
        second = self._frames == 1  # a key frame too: it pushes the first one out, as a fragment that plays
        picture.pict_type = 1 if due or second else 0  # AV_PICTURE_TYPE_I, or the encoder's own choice
        if due:
            self._next_key = tick + round(KEY_INTERVAL_S / self._ticks.tick)
        with self._storing():
            if not self._started:
                self._start(tick * self._ticks.tick)
            self._mux(self._encode(picture))
        self._frames += 1

    def _encodable(self, frame: Frame) -> av.VideoFrame:
        if self._lender is not None and frame.surface is not None:
            return self._lender.lend(frame.surface)
        alpha = alpha_of(frame) if self.wants_alpha else None
        picture = self._picture.fill(frame.composite, alpha if self._picture.has_alpha else None)
        wanted = self._stream.codec_context.pix_fmt
        if wanted is None or wanted == picture.format.name:
            return picture
        converted = convert(picture, self._info.format.colour, wanted, full_range=False)
        if alpha is not None:
            rows = plane_rows(converted.planes[3]).view("<u2")[:, : converted.width]
            np.multiply(alpha, 4, out=rows, dtype=np.uint16)
            rows |= alpha >> 6  # 0 and 255 become exactly clear and opaque; swscale would make 1020 of 255
        return converted

    def _start(self, first_s: Fraction) -> None:
        """Write the header.

        An index that comes first lets the file play from its first fragment on. One that waits for the first fragment
        can also hold times before zero, which compressed audio often has (its decoder's run-in).
        """
        sounds = self._audio.starts() if self._audio else []
        starts = [first_s, *sounds]
        together = first_s < 0 or max(starts) <= first_s + WAIT_S
        wait = (self._audio is not None and self._audio.must_wait) or (min(starts) != 0 and together)
        if self._audio and not wait and min(sounds, default=first_s) < 0:
            self._audio.skip_before_zero()
        self._container.container_options.update(self._recipe.muxing(self._ticks.tick, wait=wait))
        self._container.start_encoding()
        self._started = True

    def _encode(self, picture: av.VideoFrame | None) -> Iterable[Any]:
        try:
            with self._noting("encoding a frame"):
                packets = self._stream.encode(picture)
        except av.FFmpegError as error:
            if self._recipe.codec != NVENC:
                raise
            raise DeviceLostError(
                "the GPU's encoder failed",
                remedy="Look for an Xid line in `dmesg`; without --encoder the processor encodes.",
                path=str(self._file.final),
                reason=reason(error),
            ) from error
        if self._lender is not None and picture is not None and len(packets) != 1:
            raise InternalError("the GPU's encoder kept a frame that was lent", remedy="Report this.", got=len(packets))
        return packets

    def _noting(self, doing: str, *, opening: bool = False) -> AbstractContextManager[None]:
        """For the watchdog, which ends a process whose GPU does not answer."""
        return Call(doing, opening=opening) if self._recipe.codec == NVENC else nullcontext()

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            if self._audio:
                self._container.mux(self._audio.until(packet.dts * packet.time_base))
            self._container.mux(packet)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            with storing(self._file.final):
                yield
        except Exception:
            self._failed = True
            raise

    def close(self, *, complete: bool) -> None:
        """Finish the file and give it its final name; see Sink.close.

        Raises:
            StorageError: the last frames could not be stored; the part file plays up to them.
            DeviceLostError: the GPU's encoder kept them; the same holds.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._started and not self._failed:
                with self._storing():
                    self._finish(complete=complete)
        finally:
            if self._audio:
                self._audio.close()
            self._put_away(complete=complete)
            self._free_encoder()

    def _finish(self, *, complete: bool) -> None:
        self._mux(self._encode(None))
        if self._audio:
            read = complete and (self._info.limit is None or self._frames < self._info.limit)
            self._container.mux(self._audio.rest() if read else self._audio.until(self._ticks.end))
        self._container.close()

    def _put_away(self, *, complete: bool) -> None:
        if self._failed:
            self._file.leave()
            with suppress(OSError, ValueError, av.FFmpegError):  # told already; this frees what FFmpeg holds
                self._container.close()
            if self._recipe.tick is None:
                cut_to_whole_fragments(self._file.path)
            self._notices.append(f"the file is incomplete and stays at {self._file.path}")
        elif not self._started:
            self._file.discard()
        elif complete or self._info.live or not self._file.replaces:
            with self._storing():
                self._file.keep()
        else:
            self._file.leave()
            self._notices.append(f"interrupted: {self._file.final} is as it was, the new file is {self._file.path}")

    def _free_encoder(self) -> None:
        """An encoder on the GPU must not outlive what it was lent."""
        if self._lender is not None:
            del self._stream, self._container, self._lender

    def report(self) -> dict[str, object]:
        """Path, frames, bytes, codec, audio codecs and notices."""
        notices = [*self._file.notices, *self._notices, *(self._audio.notices if self._audio else [])]
        if self._ticks.moved:
            notices.append(f"{self._ticks.moved} frames did not come later than the one before, and were moved")
        return {
            "path": str(self._file.path),
            "frames": self._frames,
            "bytes": self._file.size,
            "codec": self._recipe.codec,
            "audio": self._audio.codecs if self._audio else [],
            "notices": notices,
        }
