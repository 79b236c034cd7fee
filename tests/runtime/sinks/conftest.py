"""Frames made in NumPy, sources with sound, and what FFmpeg reads back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.frame import Colour, Frame, FrameFormat, Timestamp, allocate_planes
from cutline.runtime.sinks import SinkOptions, StreamInfo, open_sink

TICK = Fraction(1, 90000)


@dataclass(frozen=True)
class Clip:
    """A moving picture with smooth colours and an alpha plane of three parts: clear, opaque, a ramp."""

    width: int = 96
    height: int = 64
    count: int = 20
    times: tuple[int, ...] = ()  # in ticks; 30 frames per second when empty
    tick: Fraction = TICK
    colour: Colour = field(default_factory=Colour)
    rate: Fraction | None = Fraction(30)
    changes: dict[str, Any] = field(default_factory=dict)  # of StreamInfo

    @property
    def pts(self) -> list[int]:
        """Times of the frames, in ticks."""
        return list(self.times) or [round(index / 30 / self.tick) for index in range(self.count)]

    @property
    def info(self) -> StreamInfo:
        """The stream as a sink is told of it."""
        info = StreamInfo(
            format=FrameFormat(width=self.width, height=self.height, colour=self.colour),
            frame_rate=self.rate,
            time_base=self.tick,
            source_uri=None,
            name="test",
            live=False,
            frames=len(self.pts),
        )
        return replace(info, **self.changes)

    def frame(self, index: int) -> Frame:
        """One frame, in planes of its own."""
        planes = allocate_planes(self.width, self.height)
        low, high = (0, 255) if self.colour.full_range else (16, 235)
        ramp = (np.arange(self.width) + 2 * index) % self.width / self.width
        planes.y[:] = low + (high - low) * ramp
        planes.u[:] = np.linspace(70, 180, planes.u.shape[1])
        planes.v[:] = np.linspace(70, 180, planes.v.shape[0])[:, None]
        return Frame(
            index=index,
            time=Timestamp(self.pts[index], self.tick, 0),
            source=planes,
            composite=planes,
            alpha=self.alpha(),
            matte=np.zeros((2, 2), np.float32),
        )

    def alpha(self) -> NDArray[np.uint8]:
        """uint8[height, width]: a clear third, an opaque third, a ramp."""
        alpha = np.zeros((self.height, self.width), np.uint8)
        alpha[self.height // 3 :] = 255
        alpha[2 * self.height // 3 :] = np.linspace(0, 255, self.width)
        return alpha

    def frames(self) -> Iterator[Frame]:
        """All frames."""
        return (self.frame(index) for index in range(len(self.pts)))


@pytest.fixture
def clip() -> type[Clip]:
    return Clip


class Storing(Protocol):
    def __call__(self, clip: Clip, spec: object, **options: Any) -> dict[str, Any]: ...


@pytest.fixture
def store() -> Storing:
    """Write a whole clip and return the sink's report."""

    def storing(clip: Clip, spec: object, **options: Any) -> dict[str, Any]:
        sink = open_sink(str(spec), clip.info, SinkOptions(**options))
        for frame in clip.frames():
            sink.write(frame)
        sink.close(complete=True)
        return sink.report()

    return storing


class Reading(Protocol):
    def __call__(self, path: Path) -> list[av.VideoFrame]: ...


@pytest.fixture
def read() -> Reading:
    """Decode every video frame of a file."""

    def reading(path: Path) -> list[av.VideoFrame]:
        with av.open(str(path)) as container:
            return list(container.decode(video=0))

    return reading


class Listening(Protocol):
    def __call__(self, path: Path) -> list[tuple[float, bytes]]: ...


@pytest.fixture
def listen() -> Listening:
    """Audio packets of a file: time in seconds, payload."""

    def listening(path: Path) -> list[tuple[float, bytes]]:
        with av.open(str(path)) as container:
            packets = container.demux(audio=0)
            return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.size]

    return listening


class Sounding(Protocol):
    def __call__(self, name: str, codec: str, *, seconds: float = 1.0, sound_s: float | None = None) -> Path: ...


@pytest.fixture
def sounding(tmp_path: Path) -> Sounding:
    """Make a small file with a picture and a tone."""

    def make(name: str, codec: str, *, seconds: float = 1.0, sound_s: float | None = None) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as output:
            video = output.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            audio = output.add_stream(codec, rate=48000)
            for packet in _tone(audio, round((sound_s or seconds) * 48000)):
                output.mux(packet)
            for index in range(round(seconds * 30)):
                picture = av.VideoFrame(64, 48, "yuv420p")
                for plane in picture.planes:
                    plane.update(bytes([100 + index]) * plane.buffer_size)
                picture.pts, picture.time_base = index, Fraction(1, 30)
                output.mux(video.encode(picture))
            output.mux(video.encode(None))
        return path

    return make


def _tone(audio: Any, samples: int) -> Iterator[Any]:
    audio.codec_context.layout = "stereo"
    resampler = av.AudioResampler(format=audio.codec_context.format.name, layout="stereo", rate=48000)
    for start in range(0, samples, 960):
        wave = np.sin(np.arange(start, start + 960) * 0.06).astype(np.float32) * 0.3
        sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
        for piece in resampler.resample(sound):
            yield from audio.encode(piece)
    yield from audio.encode(None)
