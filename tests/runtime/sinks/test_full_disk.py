"""A disk that fills up, a reader that goes away: an error that says so, and files that end cleanly."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cutline.runtime.errors import StorageError
from cutline.runtime.sinks import open_sink

LIMITS = {"out.mp4": 150_000, "out.mkv": 150_000, "out.webm": 150_000, "out.mov": 3_000_000}  # bytes


@contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    """Make the system refuse longer files, as a full disk would: a part is taken, then an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def top_boxes(data: bytes) -> list[bytes]:
    """Kinds of the boxes that an MP4 file is made of; fails where one is cut off."""
    kinds, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        assert position + size <= len(data)
        kinds.append(data[position + 4 : position + 8])
        position += size
    return kinds


def write_all(sink: Any, frames: Iterable[Any]) -> None:
    for frame in frames:
        sink.write(frame)


@pytest.mark.parametrize("name", LIMITS)
def test_video_ends_cleanly_on_a_full_disk(clip: Any, read: Any, tmp_path: Path, name: str) -> None:
    made = clip(width=640, height=360, count=300)
    final = tmp_path / name
    final.write_bytes(b"what was there before")
    sink = open_sink(str(final), made.info)
    with files_of_at_most(LIMITS[name]):
        with pytest.raises(StorageError, match="File too large") as caught:
            write_all(sink, made.frames())
        sink.close(complete=False)
    assert caught.value.exit_code == 74
    assert final.read_bytes() == b"what was there before"
    part = final.with_stem("out.part")
    frames = read(part)
    assert 14 < len(frames) < 300
    times = [round(float(frame.pts * frame.time_base) * 30) for frame in frames]
    assert times == list(range(len(frames)))
    assert part.stat().st_size <= LIMITS[name]
    if name in ("out.mp4", "out.mov"):
        assert top_boxes(part.read_bytes())[-2:] == [b"moof", b"mdat"]
    assert any(f"stays at {part}" in notice for notice in sink.report()["notices"])


def test_a_disk_that_is_full_at_the_very_end_is_told_at_the_end(clip: Any, tmp_path: Path) -> None:
    made = clip(count=20)  # less than a fragment: nothing but the header is written before the end
    sink = open_sink(str(tmp_path / "out.mp4"), made.info)
    for frame in made.frames():
        sink.write(frame)
    size = sink.report()["bytes"]
    assert isinstance(size, int)
    with files_of_at_most(size + 100), pytest.raises(StorageError):
        sink.close(complete=True)
    sink.close(complete=True)
    assert not (tmp_path / "out.mp4").exists()
    assert (tmp_path / "out.part.mp4").exists()


def test_events_end_with_a_whole_line_on_a_full_disk(clip: Any, tmp_path: Path) -> None:
    made = clip(count=100)
    sink = open_sink(str(tmp_path / "out.jsonl"), made.info)
    with files_of_at_most(5000):
        with pytest.raises(StorageError):
            write_all(sink, made.frames())
        sink.close(complete=False)
    text = (tmp_path / "out.part.jsonl").read_text()
    assert text.endswith("\n")
    assert [json.loads(line)["index"] for line in text.splitlines()] == list(range(text.count("\n")))
    assert text.count("\n") > 3


def test_pictures_on_a_full_disk_are_whole_or_not_there(clip: Any, read: Any, tmp_path: Path) -> None:
    made = clip(width=320, height=240, count=5)
    sink = open_sink(str(tmp_path / "out-%d.png"), made.info)
    sink.write(made.frame(0))
    with files_of_at_most(500), pytest.raises(StorageError):
        write_all(sink, map(made.frame, range(1, 5)))
    sink.close(complete=False)
    for path in tmp_path.iterdir():
        assert read(path)[0].width == 320
    assert not list(tmp_path.glob("*part*"))


WRITER = """
import sys
from fractions import Fraction
import numpy as np
from cutline.runtime.errors import CutlineError
from cutline.runtime.frame import Frame, FrameFormat, Timestamp, allocate_planes
from cutline.runtime.sinks import SinkOptions, StreamInfo, open_sink

info = StreamInfo(format=FrameFormat(width=640, height=360), frame_rate=None, time_base=Fraction(1, 30),
                  source_uri=None, name="pipe", live=False, frames=None)
planes = allocate_planes(640, 360)
try:
    sink = open_sink("-", info, SinkOptions(stdout=sys.argv[1]))
    for index in range(1000):
        sink.write(Frame(index=index, time=Timestamp(index, Fraction(1, 30), 0), source=planes, composite=planes,
                         alpha=np.full((360, 640), 255, np.uint8), matte=np.zeros((2, 2), np.float32)))
except CutlineError as error:
    print(error, file=sys.stderr)
    sink.close(complete=False)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("kind", ["y4m", "raw", "events"])
def test_a_full_device_behind_stdout_is_a_storage_error(kind: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", WRITER, kind], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 74
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["y4m", "raw", "events"])
def test_a_reader_that_goes_away_is_a_storage_error(kind: str) -> None:
    arguments = [sys.executable, "-c", WRITER, kind]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.read(100)
        writer.stdout.close()
        said = writer.stderr.read().decode()
    assert writer.returncode == 74
    assert "Broken pipe" in said
    assert "Traceback" not in said


def test_a_bug_while_the_file_is_finished_leaves_what_was_there(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the only copy")
    made = clip(count=3)
    sink = open_sink(str(path), made.info)
    for frame in made.frames():
        sink.write(frame)
    monkeypatch.setattr(sink, "_finish", lambda **_given: {}["no such key"])
    with pytest.raises(KeyError):
        sink.close(complete=True)
    assert path.read_bytes() == b"the only copy"
    assert (tmp_path / "out.part.mp4").exists()
