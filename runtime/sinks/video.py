"""Video files: encoded, and muxed in fragments, so that a killed process leaves a file that plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import av

from cutline.runtime.frame import Frame
from cutline.runtime.sinks.audio import AudioCopy
from cutline.runtime.sinks.base import SinkOptions, StreamInfo, storing
from cutline.runtime.sinks.boxes import cut_to_whole_fragments
from cutline.runtime.sinks.encoder import VideoEncoder
from cutline.runtime.sinks.partfile import PartFile
from cutline.runtime.sinks.recipes import Recipe
from cutline.runtime.sinks.ticks import Ticks

__all__ = ["VideoFileSink"]

KEY_INTERVAL_S = 1
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
        self._ticks = Ticks(recipe.tick or Fraction(1, info.time_base.denominator), from_zero=info.live)
        self._frames = self._next_key = 0
        self._started = self._closed = self._failed = False
        self._notices: list[str] = []
        self._audio: AudioCopy | None = None
        self._origin = 0  # of the newest frame
        with ExitStack() as undo:
            self._file = PartFile(path, durable=info.live)
            undo.callback(self._file.discard)
            self._container = av.open(self._file, "w", format=recipe.container, buffer_size=BUFFER)
            self._encoder = VideoEncoder(self._container, info, options, recipe, self._ticks.tick, path)
            self._add_audio()
            undo.pop_all()
        self.carries_alpha = self.wants_alpha = self._encoder.alpha

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
            DeviceError: the GPU refuses the first frame; there is no file then.
            DeviceLostError: the GPU's encoder failed; what was stored before plays.
        """
        tick = self._ticks.take(frame.time)
        if self._audio and frame.time.origin != self._origin:
            self._audio.begin_again(tick * self._ticks.tick, frame.time.origin * frame.time.time_base)
        self._origin = frame.time.origin
        due = self._frames == 0 or tick >= self._next_key
        second = self._frames == 1  # a key frame too: it pushes the first one out, as a fragment that plays
        if due:
            self._next_key = tick + round(KEY_INTERVAL_S / self._ticks.tick)
        with self._storing():
            packets = self._encoder.encode(frame, tick, key=due or second)
            if not self._started:
                self._start(tick * self._ticks.tick)
            self._mux(packets)
        self._frames += 1

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
            with ExitStack() as undo:
                undo.callback(self._encoder.close)
                undo.callback(self._put_away, complete=complete)
                if self._audio:
                    self._audio.close()

    def _finish(self, *, complete: bool) -> None:
        self._mux(self._encoder.finish())
        if self._audio:
            read = complete and (self._info.limit is None or self._frames < self._info.limit)
            self._container.mux(self._audio.rest() if read else self._audio.until(self._ticks.end))
        self._container.close()

    def _put_away(self, *, complete: bool) -> None:
        if self._failed or not self._started:
            with suppress(OSError, ValueError, av.FFmpegError):  # told already; this frees what FFmpeg holds
                self._container.close()
        if not self._started:
            self._file.discard()
        elif self._failed:
            self._file.leave()
            if self._recipe.tick is None:
                cut_to_whole_fragments(self._file.path)
            self._notices.append(f"the file is incomplete and stays at {self._file.path}")
        elif complete or self._info.live or not self._file.replaces:
            with self._storing():
                self._file.keep()
        else:
            self._file.leave()
            self._notices.append(f"interrupted: {self._file.final} is as it was, the new file is {self._file.path}")

    def report(self) -> dict[str, object]:
        """Path, frames, bytes, codec, audio codecs and notices."""
        notices = [*self._file.notices, *self._encoder.notices, *self._notices]
        notices += self._audio.notices if self._audio else []
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
