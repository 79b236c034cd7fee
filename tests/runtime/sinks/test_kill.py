"""A process that is killed at any moment leaves files that play, less than a second short."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

WRITER = """
import sys, time
from fractions import Fraction
import numpy as np
from cutline.runtime.frame import Frame, FrameFormat, Timestamp, allocate_planes
from cutline.runtime.sinks import SinkOptions, StreamInfo, open_sink

path, source, rate = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
tick = Fraction(1, 90000)
info = StreamInfo(format=FrameFormat(width=160, height=90), frame_rate=Fraction(rate), time_base=tick,
                  source_uri=source, name="kill", live=False, frames=None)
sink = open_sink(path, info)
planes = allocate_planes(160, 90)
alpha = np.full((90, 160), 255, np.uint8)
for plane in (planes.u, planes.v):
    plane[:] = 128
for index in range(100_000):
    planes.y[:] = (np.arange(160) + 3 * index) % 200 + 20
    sink.write(Frame(index=index, time=Timestamp(index * 90000 // rate, tick, 0), source=planes, composite=planes,
                     alpha=alpha, matte=np.zeros((2, 2), np.float32)))
    print(index, flush=True)
    time.sleep(0.001)
"""


def killed_after(output: Path, frames: int, *, source: str = "", rate: int = 30) -> int:
    """Kill a writer once it has written so many frames, and return how many it had then written."""
    arguments = [sys.executable, "-c", WRITER, str(output), source, str(rate)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= frames:
                break
        time.sleep(random.random() * 0.01)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    return int(rest[-1]) + 1 if rest else frames + 1


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.mov"])
@pytest.mark.parametrize("frames", [45, 110])
def test_at_most_a_second_is_lost(read: Any, tmp_path: Path, name: str, frames: int) -> None:
    written = killed_after(tmp_path / name, frames)
    assert not (tmp_path / name).exists()
    left = read((tmp_path / name).with_stem("out.part"))
    assert written - 30 <= len(left) <= written
    assert left[0].pts == 0


@pytest.mark.parametrize("rate", [3, 60])
def test_at_most_a_second_is_lost_at_any_frame_rate(read: Any, tmp_path: Path, rate: int) -> None:
    written = killed_after(tmp_path / "out.mp4", 3 * rate, rate=rate)
    assert written - rate <= len(read(tmp_path / "out.part.mp4")) <= written


@pytest.mark.parametrize(("name", "rate", "frames"), [("out.mp4", 60, 5), ("out.mp4", 25, 5), ("out.mp4", 1, 3)])
def test_the_first_frames_play_already(read: Any, tmp_path: Path, name: str, rate: int, frames: int) -> None:
    written = killed_after(tmp_path / name, frames - 1, rate=rate)
    assert 1 <= len(read((tmp_path / name).with_stem("out.part"))) <= written


def test_the_first_frames_play_with_sound_too(sounding: Any, read: Any, tmp_path: Path) -> None:
    source = sounding("in.mp4", "aac", seconds=2)
    killed_after(tmp_path / "out.mp4", 5, source=str(source))
    assert read(tmp_path / "out.part.mp4")


def test_at_most_a_second_of_picture_and_sound_is_lost(sounding: Any, read: Any, listen: Any, tmp_path: Path) -> None:
    source = sounding("in.mp4", "aac", seconds=5)
    written = killed_after(tmp_path / "out.mp4", 100, source=str(source))
    assert len(read(tmp_path / "out.part.mp4")) >= written - 30
    assert listen(tmp_path / "out.part.mp4")[-1][0] >= written / 30 - 1.05


def test_events_lose_nothing(tmp_path: Path) -> None:
    written = killed_after(tmp_path / "out.jsonl", 25)
    lines = (tmp_path / "out.part.jsonl").read_text().splitlines()
    assert len(lines) in (written, written + 1)  # the last one may be written and not yet counted
