"""Clips made on the spot, once a session: every kind of video that the sources promise to read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.slots import SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Notice, Source, SourceOptions

PLAIN = SourceOptions()
Painter = Callable[[int, av.VideoFrame], None]


def plane_view(plane: av.video.plane.VideoPlane, dtype: type = np.uint8) -> NDArray[np.generic]:
    """The samples of a frame's plane, writable, padding cut off; for planar formats."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows.view(dtype)[: plane.height, : plane.width]


def grey_step(number: int, frame: av.VideoFrame) -> None:
    """Every frame has a luma of its own, 16 + 4 n; chroma 128."""
    deep = frame.format.components[0].bits > 8
    shift = frame.format.components[0].bits - 8
    for index, plane in enumerate(frame.planes):
        value = (16 + 4 * (number % 50)) if index == 0 else 128
        plane_view(plane, np.uint16 if deep else np.uint8)[:] = value << shift


class Clips:
    """Makes clips in one folder and remembers them by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recipes: dict[str, tuple[object, ...]] = {}

    def make(
        self,
        name: str,
        *,
        size: tuple[int, int] = (64, 48),
        frames: int = 12,
        rate: Fraction = Fraction(25),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        paint: Painter = grey_step,
        pts: list[int] | None = None,
        rotate: int | None = None,
        aspect: Fraction | None = None,
        colour: tuple[int, int] | None = None,
        audio: bool = False,
        container: str | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        """Write the clip unless it is there already. colour: (AVColorSpace, AVColorRange)."""
        path = self.folder / name
        recipe = (size, frames, rate, codec, pixels, options, paint, pts, rotate, aspect, colour, audio)
        if path.exists():
            assert self._recipes[name] == recipe, "two tests mean different clips by one name"
            return path
        self._recipes[name] = recipe
        lossless = {"libx264": {"qp": "0", "preset": "ultrafast", "bf": "0"}}.get(codec, {})
        with av.open(str(path), "w", format=container, options=container_options or {}) as out:
            stream = out.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = pixels
            stream.options = {**lossless, **(options or {})}
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if colour is not None:
                stream.codec_context.colorspace, stream.codec_context.color_range = colour
            if pts is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if rotate is not None:
                stream.set_display_rotation(rotate)
            sound = out.add_stream("aac", rate=48000) if audio else None
            for number in range(frames):
                frame = av.VideoFrame(*size, pixels)
                paint(number, frame)
                if pts is not None:
                    frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
                if colour is not None:
                    frame.colorspace, frame.color_range = colour
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
            if sound is not None:
                _write_tone(out, sound, frames / rate)
        return path

    def sound_only(self, name: str) -> Path:
        """A second of silence."""
        path = self.folder / name
        if not path.exists():
            with av.open(str(path), "w") as out:
                codec = "libmp3lame" if path.suffix == ".mp3" else "aac"
                _write_tone(out, out.add_stream(codec, rate=48000), Fraction(1))
        return path

    def picture(self, name: str, rgb: NDArray[np.uint8]) -> Path:
        """One picture file, coded by its suffix."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(rgb, path.suffix))
        return path


def encode_picture(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    """Code a picture as PNG or JPEG."""
    codec, pixels = {".png": ("png", "rgb24"), ".jpg": ("mjpeg", "yuvj420p")}[suffix]
    context = av.CodecContext.create(codec, "w")
    context.width, context.height = rgb.shape[1], rgb.shape[0]
    context.pix_fmt, context.time_base = pixels, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
    if pixels != "rgb24":
        frame = frame.reformat(format=pixels, dst_colorspace="ITU601", dst_color_range="JPEG")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode()])


def _write_tone(out: av.container.OutputContainer, stream: av.AudioStream, seconds: Fraction) -> None:
    for number in range(int(seconds * 48000 / 1024) + 1):
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 48000, number * 1024
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


class Taken:
    """What came out of a source, to the end."""

    def __init__(self) -> None:
        self.filled: list[Filled] = []
        self.notices: list[Notice] = []
        self.pictures: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.end: End | None = None
        self.frames_in = 0

    @property
    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]

    @property
    def lumas(self) -> list[int]:
        """The value in the middle of each frame's luma."""
        return [int(y[y.shape[0] // 2, y.shape[1] // 2]) for y, _, _ in self.pictures]


def children() -> set[int]:
    """Processes that this one has, dead ones that nobody buried included."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(status.parent.name))
    return found


def recycle(source: Source, pool: SlotPool, event: Filled) -> None:
    """Go through a frame's whole round and offer its slot again."""
    slot = pool.slots[event.slot_index]
    pool.add_dropped(event.skipped)
    for state in (SlotState.READY, SlotState.RUNNING, SlotState.DONE, SlotState.FREE):
        pool.move(slot, state)
    source.offer(slot)


def open_pool(source: Source, depth: int = 3) -> SlotPool:
    """Start the source with slots of its own, all offered."""
    pool = SlotPool(format=source.info.format, depth=depth, arrays={}, alpha=False)
    source.start(pool)
    for slot in pool.slots:
        source.offer(slot)
    return pool


def drain(uri: str | Path, options: SourceOptions = PLAIN, *, keep: bool = True) -> tuple[Source, Taken]:
    """Take everything that a source gives; the source is closed when this returns."""
    source = Source(str(uri), options)
    pool = open_pool(source)
    taken = Taken()
    try:
        while taken.end is None:
            event = source.take(30)
            if isinstance(event, Filled):
                taken.filled.append(event)
                if keep:
                    planes = pool.slots[event.slot_index].source
                    taken.pictures.append((planes.y.copy(), planes.u.copy(), planes.v.copy()))
                recycle(source, pool, event)
            elif isinstance(event, Notice):
                taken.notices.append(event)
            else:
                assert event is not None, "the source said nothing for 30 s"
                taken.end = event
    finally:
        source.close()
        counts = pool.counts()
        assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight
        pool.close()
    return source, taken


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
