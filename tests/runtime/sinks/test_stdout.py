"""Frames on standard output, as other programs read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutline.runtime.errors import UsageError
from cutline.runtime.frame import Colour, Matrix
from cutline.runtime.sinks import SinkOptions, describe_sink, open_sink


@pytest.fixture
def caught(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Point descriptor 1 to a file for the length of a test's block."""
    del capfd  # pytest's own capture must be of descriptors too

    def into(name: str) -> Path:
        path = tmp_path / name
        target = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.dup2(target, 1)
        os.close(target)
        return path

    saved = os.dup(1)
    yield into
    os.dup2(saved, 1)
    os.close(saved)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 63)])
def test_y4m_is_read_back_bit_by_bit(
    clip: Any, store: Any, read: Any, caught: Any, width: int, height: int, full_range: bool
) -> None:
    made = clip(width=width, height=height, count=3, colour=Colour(Matrix.BT709, full_range))
    path = caught("out.y4m")
    report = store(made, "-")
    frames = read(path)
    assert [frame.pts * frame.time_base * 30 for frame in frames] == [0, 1, 2]
    assert report["frames"] == 3
    for index, frame in enumerate(frames):
        assert (frame.width, frame.height) == (width, height)
        assert frame.color_range == (2 if full_range else 1)
        wanted = made.frame(index).composite
        for plane, source in zip(frame.planes, (wanted.y, wanted.u, wanted.v), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            assert np.array_equal(rows[: source.shape[0], : source.shape[1]], source)


def test_an_unknown_frame_rate_is_said_to_be_unknown(clip: Any, store: Any, caught: Any) -> None:
    path = caught("out.y4m")
    store(clip(count=1, rate=None), "-")
    assert b" F0:0 " in path.read_bytes().split(b"\n")[0]


def test_raw_is_the_planes_and_nothing_else(clip: Any, store: Any, caught: Any) -> None:
    made = clip(width=31, height=17, count=2)
    path = caught("out.yuv")
    store(made, "-", stdout="raw")
    expected = b""
    for frame in made.frames():
        planes = frame.composite
        expected += planes.y.tobytes() + planes.u.tobytes() + planes.v.tobytes()
    assert path.read_bytes() == expected


def test_events_go_to_stdout_when_asked(clip: Any, store: Any, caught: Any) -> None:
    path = caught("events")
    report = store(clip(count=4), "-", stdout="events")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert report["path"] == "-"
    assert describe_sink("-", SinkOptions(stdout="events")).wants_alpha
    assert not describe_sink("-").wants_alpha


def test_what_was_printed_before_comes_first() -> None:
    program = """
from fractions import Fraction
import numpy as np
from cutline.runtime.frame import Frame, FrameFormat, Timestamp, allocate_planes
from cutline.runtime.sinks import StreamInfo, open_sink
print("printed")
info = StreamInfo(format=FrameFormat(width=2, height=2), frame_rate=None, time_base=Fraction(1), source_uri=None,
                  name="", live=False, frames=None)
sink = open_sink("-", info)
planes = allocate_planes(2, 2)
sink.write(Frame(index=0, time=Timestamp(0, Fraction(1), 0), source=planes, composite=planes, alpha=None,
                 matte=np.zeros((2, 2), np.float32)))
sink.close(complete=True)
print("after")
"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=buffered)
    assert done.stdout.startswith(b"printed\nYUV4MPEG2 ")
    assert done.stdout.endswith(b"after\n")


def test_video_is_not_thrown_at_a_terminal(clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 1)
    with pytest.raises(UsageError, match="terminal"):
        open_sink("-", clip().info)


def test_a_pipe_that_does_not_block_gets_every_byte(clip: Any, store: Any, capfd: pytest.CaptureFixture[str]) -> None:
    del capfd
    made = clip(width=640, height=360, count=8)
    saved = os.dup(1)
    count = "import sys, time; time.sleep(0.2); sys.exit(len(sys.stdin.buffer.read()) != int(sys.argv[1]))"
    expected = 8 * 640 * 360 * 3 // 2
    reader = subprocess.Popen([sys.executable, "-c", count, str(expected)], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    os.dup2(reader.stdin.fileno(), 1)
    os.set_blocking(1, False)
    try:
        store(made, "-", stdout="raw")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        reader.stdin.close()
    assert reader.wait(30) == 0
