"""Audio of the source, copied packet by packet while the video is encoded."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, final

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer

from cutline.runtime.sinks.base import reason
from cutline.runtime.sinks.recipes import Recipe

__all__ = ["AudioCopy"]

TIMEOUT_S = 10.0
READ_AHEAD_S = Fraction(2)  # how far into the source its audio streams are looked for
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # channels -> what they are when the source does not say


@final
class AudioCopy:
    """Owns a second opening of the source, from which audio packets are read in step with the video.

    Nothing that goes wrong here stops the video: it is told in `notices`, one line each.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.notices: list[str] = []
        self.must_wait = False  # the container's header needs something that only packets tell
        self._unusable = 0
        self._origin = Fraction(0)  # where time zero of the source lies in the output, in seconds
        self._source: InputContainer | None = None
        self._demuxed: Iterator[Any] = iter(())
        self._queue: deque[Any] = deque()  # read, but not yet due
        self._tracks: dict[int, _Track] = {}  # by the source's stream index
        try:
            self._source = av.open(uri, timeout=TIMEOUT_S)
        except (OSError, av.FFmpegError) as error:
            self.notices.append(f"the audio could not be read: {reason(error)}")

    def add_streams(self, output: OutputContainer, recipe: Recipe) -> None:
        """Make one stream in the output for each audio stream that its container can hold."""
        if self._source is None or not self._source.streams.audio:
            return
        self._tracks = {stream.index: _Track(stream) for stream in self._source.streams.audio}
        self._look_ahead(self._source)
        for index, track in list(self._tracks.items()):
            why = track.refusal(recipe, wait=False)
            if why is not None and track.refusal(recipe, wait=True) is None:
                self.must_wait, why = True, None
            if why is not None:
                self.notices.append(f"the audio ({track.name}) is left out, {recipe.title} cannot hold it: {why}")
                del self._tracks[index]
                continue
            track.target = track.add_to(output)
        self._queue = deque(packet for packet in self._queue if packet.stream_index in self._tracks)
        if not self._tracks:
            self._demuxed = iter(())

    def _look_ahead(self, source: InputContainer) -> None:
        """Find the first packet of every stream: containers want to know more than stream headers tell."""
        video = source.streams.video[:1]
        self._demuxed = source.demux(*source.streams.audio, *video)
        start = max([Fraction(0), *(s.start_time * s.time_base for s in video if s.start_time and s.time_base)])
        while any(track.first is None for track in self._tracks.values()) and self._read_one(start + READ_AHEAD_S):
            first, newest = self._queue[0], self._queue[-1]
            if _time(newest) - _time(first) > READ_AHEAD_S:
                break

    @property
    def codecs(self) -> list[str]:
        """Names of the audio codecs that are copied."""
        return [track.name for track in self._tracks.values()]

    def starts(self) -> list[Fraction]:
        """Time of the first packet of each stream, in seconds; before zero where a decoder needs a run-in.

        A stream that has not begun within READ_AHEAD_S counts as beginning then.
        """
        firsts = [track.first for track in self._tracks.values()]
        found = [_time(packet) for packet in firsts if packet is not None]
        return found + [max([READ_AHEAD_S, *found])] * (len(firsts) - len(found))

    def skip_before_zero(self) -> None:
        """Leave out what comes before zero, where the container cannot hold such times."""
        kept = [packet for packet in self._queue if packet.dts >= 0]
        self._unusable += len(self._queue) - len(kept)
        self._queue = deque(kept)

    def until(self, seconds: Fraction) -> list[Any]:
        """Return the packets that come before this time, ready to be written."""
        due = []
        while self._queue or self._read_one(seconds + READ_AHEAD_S):
            if _time(self._queue[0]) >= seconds:
                break
            due.append(self._ready(self._queue.popleft()))
        return due

    def begin_again(self, start: Fraction, origin: Fraction) -> None:
        """Follow a source that is looped: its picture began anew.

        What is left of the round before sounds up to then; what would sound at once with it is left out.

        Args:
            start: time of the new round's first frame, in seconds of the output.
            origin: where time zero of the source lies from now on, the same.
        """
        if not self._tracks or self._source is None:
            return
        while not (self._queue and _time(self._queue[-1]) >= start) and self._read_one(start + READ_AHEAD_S):
            pass
        while self._queue and _time(self._queue[-1]) >= start:
            packet = self._queue.pop()
            self._tracks[packet.stream_index].take_back(packet)
        self._origin = origin
        self._demuxed = iter(())
        self._source.close()
        try:
            source = self._source = av.open(self._uri, timeout=TIMEOUT_S)
            for index, track in self._tracks.items():
                track.begin_again(source.streams[index])
            self._demuxed = source.demux(*source.streams.audio, *source.streams.video[:1])
        except (OSError, IndexError, av.FFmpegError) as error:
            self.notices.append(f"the audio ends before a repetition: {reason(error)}")
            self._source.close()
            self._source = None

    def rest(self) -> list[Any]:
        """Return what is left, of a source whose pictures have ended."""
        while self._read_one():
            pass
        return [self._ready(packet) for packet in self._queue]

    def _ready(self, packet: Any) -> Any:
        packet.stream = self._tracks[packet.stream_index].target
        return packet

    def _read_one(self, horizon: Fraction | None = None) -> bool:
        packet = self._read(horizon)
        if packet is not None:
            self._queue.append(packet)
        return packet is not None

    def close(self) -> None:
        """Close the source; later calls do nothing."""
        if self._unusable:
            self.notices.append(f"{self._unusable} audio packets that are damaged or out of place are left out")
            self._unusable = 0
        self._queue.clear()
        self._demuxed = iter(())
        if self._source is not None:
            self._source.close()
            self._source = None

    def _read(self, horizon: Fraction | None) -> Any:
        """Next packet whose time moves forward, as every container demands.

        None at the end, and when the source's video is past the horizon: audio that ended early is not searched for in
        the whole rest of the file.
        """
        try:
            for packet in self._demuxed:
                if packet.size == 0:  # the demuxer's end marks
                    continue
                track = self._tracks.get(packet.stream_index)
                if track is None:
                    timed = horizon is not None and packet.pts is not None
                    if timed and packet.pts * packet.time_base + self._origin > horizon:
                        return None
                    continue
                _delay(packet, self._origin)
                if track.still_sounds(packet):
                    continue
                bare = track.take(packet)
                if bare is None:
                    self._unusable += 1
                    continue
                return bare
        except (OSError, av.FFmpegError) as error:
            self.notices.append(f"the audio ends early: {reason(error)}")
            self._demuxed = iter(())
        return None


@final
class _Track:
    """Borrows one audio stream of the source and, once it has been added, its twin in the output."""

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream
        self.name = stream.codec_context.name if stream.codec_context else "unknown codec"
        self.first: Any = None
        self.target: Any = None
        self._last: int | None = None  # decoding time of the newest packet
        self._end: int | None = None  # when it has sounded
        self._seam = False  # the next packet is the first of a round
        self._config: bytes | None = None
        self._unwrap: BitStreamFilterContext | None = None

    def take(self, packet: Any) -> Any:
        """Return the packet as files hold it, or None when its time does not move forward or it is damaged."""
        if packet.dts is None or (self._last is not None and packet.dts <= self._last):
            return None
        self._last, self._end = packet.dts, packet.dts + (packet.duration or 0)
        if self.first is None and self.name.startswith("aac") and not self.stream.codec_context.extradata:
            self._config = _aac_config(bytes(packet))
            if self._config is not None:
                self._unwrap = BitStreamFilterContext("aac_adtstoasc", self.stream)
        if self._unwrap is not None:
            time_base = packet.time_base
            try:
                (packet,) = self._unwrap.filter(packet)
            except (ValueError, av.FFmpegError):
                return None
            packet.time_base = time_base
        if self.first is None:
            self.first = packet
        return packet

    def take_back(self, packet: Any) -> None:
        """Forget the newest packet: it is not used."""
        self._last, self._end = packet.dts - 1, packet.dts

    def begin_again(self, stream: Any) -> None:
        """Expect the first packet of a new round, from the stream of a new opening."""
        self.stream, self._seam = stream, True

    def still_sounds(self, packet: Any) -> bool:
        """Whether the end of the round before sounds for more than half of this packet, which is of the new one."""
        if not self._seam or self._last is None or self._end is None or packet.dts is None:
            return False
        self._seam = packet.dts <= self._last or packet.dts + (packet.duration or 0) // 2 < self._end
        return self._seam

    def add_to(self, output: OutputContainer) -> Any:
        """Add the same stream to the output, with what the source left unsaid."""
        target = output.add_stream_from_template(self.stream)
        target.metadata.update({k: v for k, v in self.stream.metadata.items() if k in ("language", "title")})
        layout = target.codec_context.layout
        if layout.name.endswith("channels") and layout.nb_channels in USUAL_LAYOUTS:
            target.codec_context.layout = USUAL_LAYOUTS[layout.nb_channels]
        if self._config is not None:
            target.codec_context.extradata = self._config
        return target

    def refusal(self, recipe: Recipe, *, wait: bool) -> str | None:
        """Say what the container has against the stream, or None.

        Some muxers write a broken header rather than refuse, so a scratch file with one packet is written and read.
        """
        settings = recipe.muxing(Fraction(1, 1000), wait=wait)
        file = io.BytesIO()
        try:
            with av.open(file, "w", format=recipe.container, container_options=settings) as scratch:
                target = self.add_to(scratch)
                scratch.start_encoding()
                if self.first is not None:
                    packet = av.Packet(bytes(self.first))
                    packet.stream, packet.pts, packet.dts, packet.time_base = target, 0, 0, self.first.time_base
                    scratch.mux(packet)
            if self.first is not None:
                file.seek(0)
                with av.open(file) as written:
                    return None if written.streams.audio else "it cannot be read back"
        except (ValueError, OSError, av.FFmpegError) as error:
            return reason(error)
        return None


def _time(packet: Any) -> Fraction:
    """When it is due, in seconds."""
    return Fraction(packet.dts * packet.time_base)


def _delay(packet: Any, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base) if seconds else 0
    if ticks and packet.dts is not None:
        packet.dts += ticks
    if ticks and packet.pts is not None:
        packet.pts += ticks


def _aac_config(packet: bytes) -> bytes | None:
    """AudioSpecificConfig from a packet's ADTS header; broadcast streams carry it nowhere else.

    Source: ISO/IEC 14496-3, 1.A.2.2 (ADTS) and 1.6.2.1 (AudioSpecificConfig).
    """
    if len(packet) < 7 or packet[0] != 0xFF or packet[1] & 0xF0 != 0xF0:
        return None
    object_type = (packet[2] >> 6) + 1
    rate_index = (packet[2] >> 2) & 0xF
    channels = ((packet[2] & 1) << 2) | (packet[3] >> 6)
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")
