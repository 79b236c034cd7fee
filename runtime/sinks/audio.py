"""Audio of the source, copied packet by packet while the video is encoded."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from cutline.runtime.sinks.base import reason
from cutline.runtime.sinks.recipes import Recipe

__all__ = ["AudioCopy"]

TIMEOUT_S = 10.0
READ_AHEAD_S = Fraction(2)  # how far into the source its audio streams are looked for


@final
class AudioCopy:
    """Owns a second opening of the source, from which audio packets are read in step with the video.

    Nothing that goes wrong here stops the video: it is told in `notices`, one line each.
    """

    def __init__(self, uri: str) -> None:
        self.notices: list[str] = []
        self.must_wait = False  # the container's header needs something that only packets tell
        self._unusable = 0
        self._source: InputContainer | None = None
        self._demuxed: Iterator[Any] = iter(())
        self._queue: deque[Any] = deque()  # read, but not yet due
        self._targets: dict[int, Any] = {}  # stream of the source -> stream of the output
        self._first: dict[int, Any] = {}
        self._last: dict[int, int] = {}  # newest decoding time of each
        try:
            self._source = av.open(uri, timeout=TIMEOUT_S)
        except (OSError, av.FFmpegError) as error:
            self.notices.append(f"the audio could not be read: {reason(error)}")

    def add_streams(self, output: OutputContainer, recipe: Recipe) -> None:
        """Make one stream in the output for each audio stream that its container can hold."""
        if self._source is None:
            return
        chosen = []
        for stream in self._source.streams.audio:
            why = _refusal(stream, recipe, wait=False)
            if why is not None and _refusal(stream, recipe, wait=True) is None:
                self.must_wait, why = True, None
            if why is not None:
                name = stream.codec_context.name if stream.codec_context else "unknown codec"
                self.notices.append(f"the audio ({name}) is left out, because {recipe.title} cannot hold it: {why}")
                continue
            target = output.add_stream_from_template(stream)
            target.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
            self._targets[stream.index] = target
            chosen.append(stream)
        if chosen:
            self._demuxed = self._source.demux(*chosen)
            self._look_ahead()

    def _look_ahead(self) -> None:
        """Find the first packet of every stream, and from it what its header may lack."""
        while len(self._first) < len(self._targets) and (packet := self._read()) is not None:
            self._queue.append(packet)
            self._first.setdefault(packet.stream.index, packet)
            if (packet.dts - self._queue[0].dts) * packet.time_base > READ_AHEAD_S:
                break
        for index, packet in self._first.items():
            codec = self._targets[index].codec_context
            if codec.name.startswith("aac") and not codec.extradata and (config := _aac_config(bytes(packet))):
                codec.extradata = config

    @property
    def codecs(self) -> list[str]:
        """Names of the audio codecs that are copied."""
        return [target.codec_context.name for target in self._targets.values()]

    def starts(self) -> list[Fraction]:
        """Time of the first packet of each stream, in seconds; before zero where a decoder needs a run-in.

        A stream that has not begun within READ_AHEAD_S counts as beginning then.
        """
        found = [packet.dts * packet.time_base for packet in self._first.values()]
        return found + [max([READ_AHEAD_S, *found])] * (len(self._targets) - len(found))

    def skip_before_zero(self) -> None:
        """Leave out what comes before zero, where the container cannot hold such times."""
        kept = [packet for packet in self._queue if packet.dts >= 0]
        self._unusable += len(self._queue) - len(kept)
        self._queue = deque(kept)

    def until(self, seconds: Fraction | None) -> Iterator[Any]:
        """Yield the packets that come before this time (None: all that are left), ready to be written."""
        while self._queue or (packet := self._read()) is not None:
            if not self._queue:
                self._queue.append(packet)
            if seconds is not None and self._queue[0].dts * self._queue[0].time_base >= seconds:
                return
            due = self._queue.popleft()
            due.stream = self._targets[due.stream.index]
            yield due

    def close(self) -> None:
        """Close the source; later calls do nothing."""
        if self._unusable:
            self.notices.append(f"{self._unusable} audio packets without a usable time were left out")
            self._unusable = 0
        self._queue.clear()
        self._first.clear()
        self._demuxed = iter(())
        if self._source is not None:
            self._source.close()
            self._source = None

    def _read(self) -> Any:
        """Next packet whose time moves forward, as every container demands; None at the end."""
        try:
            for packet in self._demuxed:
                index = packet.stream.index
                if packet.size == 0:  # the demuxer's end marks
                    continue
                if packet.dts is None or packet.dts <= self._last.get(index, packet.dts - 1):
                    self._unusable += 1
                    continue
                self._last[index] = packet.dts
                return packet
        except (OSError, av.FFmpegError) as error:
            self.notices.append(f"the audio ends early: {reason(error)}")
            self._demuxed = iter(())
        return None


def _refusal(stream: AudioStream, recipe: Recipe, *, wait: bool) -> str | None:
    """Try the stream in a scratch container; say what the muxer has against it, or None."""
    settings = recipe.muxing(Fraction(1, 1000), wait=wait)
    try:
        with av.open(io.BytesIO(), "w", format=recipe.container, container_options=settings) as scratch:
            scratch.add_stream_from_template(stream)
            scratch.start_encoding()
    except (ValueError, av.FFmpegError) as error:
        return reason(error)
    return None


def _aac_config(packet: bytes) -> bytes | None:
    """AudioSpecificConfig from a packet's ADTS header; broadcast streams carry it nowhere else.

    Source: ISO/IEC 14496-3, 1.A.2.2 (ADTS) and 1.6.2.1 (AudioSpecificConfig).
    """
    if len(packet) < 7 or packet[0] != 0xFF or packet[1] & 0xF0 != 0xF0:
        return None
    object_type = (packet[2] >> 6) + 1
    rate_index = packet[2] >> 2 & 0xF
    channels = (packet[2] & 1) << 2 | packet[3] >> 6
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")
