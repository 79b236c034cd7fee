"""The phase before the first frame, from input to plate."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import pytest

from cutline.runtime.contract import Image
from cutline.runtime.errors import BadInputError, NoInputError, StorageError
from cutline.runtime.frame import FrameFormat, Matrix, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.plate import read_plate
from cutline.runtime.plate_learning import learn_plate
from cutline.runtime.slots import Slot, SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Notice, Opener, SourceInfo
from cutline.runtime.sources.records import DecodeStamps

RATE = 25
IMAGE = Image(tensor="plate", width=96, height=80)
STAMPS = DecodeStamps(0, 0, 0, 0)


class Script:
    """A source whose events are given: True for a frame, or the event itself; None: nothing comes."""

    name = "script"
    info = SourceInfo(
        name="script", width=64, height=36, matrix=Matrix.BT709, full_range=False, rate=(RATE, 1), tick=(1, RATE),
        frames=None, duration_s=None, live=True, audio=False, decoder="",
    )  # fmt: skip

    def __init__(self, events: Iterator[Any]) -> None:
        self._events, self._offered, self.closed = events, list[Slot](), False

    def start(self, pool: SlotPool) -> None:
        self._pool = pool

    def offer(self, slot: Slot) -> None:
        self._pool.move(slot, SlotState.FILLING)
        self._offered.append(slot)

    def take(self, timeout_s: float) -> Any:  # noqa: ARG002
        event = next(self._events)
        if event is not True:
            return event
        return Filled(self._offered.pop(0).index, 0, Timestamp(0, Fraction(1, RATE), 0), 0, STAMPS)

    def close(self) -> None:
        self.closed = True


class ScriptOpener:
    """Opens the script."""

    def __init__(self, *events: Any) -> None:
        self.source, self.stopped = Script(self._told(events)), False

    def _told(self, events: tuple[Any, ...]) -> Iterator[Any]:
        for event in events:
            if event == "stop":
                self.stopped = True
                yield None
            else:
                yield event
        raise AssertionError("asked for more than there is")

    def open(self, *_: Any) -> Any:
        return self.source


def learn(opener: Any, told: list[str], *, seconds: float = 2.0) -> Any:
    return learn_plate(StreamOptions(input="rtsp://camera", learn_plate=seconds), IMAGE, opener, told.append)


@pytest.mark.parametrize("framing", ["fit", "fill"])
@pytest.mark.parametrize("crop", [None, (10, 40, 100, 150)])
def test_the_plate_of_a_network_of_another_shape_is_what_that_network_sees(
    tmp_path: Path, framing: Literal["fit", "fill"], crop: tuple[int, int, int, int] | None
) -> None:
    rows, columns = np.mgrid[0:240, 0:136]
    picture = np.repeat((rows / 2 + columns * 0.9)[..., None], 3, axis=-1).astype(np.uint8)  # portrait, and smooth
    cv2.imwrite(str(tmp_path / "empty.png"), picture[..., ::-1])
    with av.open(str(tmp_path / "empty.mkv"), "w") as video:
        stream = video.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 136, 240, "yuv444p"
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
    options = StreamOptions(input=str(tmp_path / "empty.mkv"), learn_plate=2.0, framing=framing, crop=crop)
    learnt = learn_plate(options, IMAGE, Opener(), [].append)
    given = read_plate(str(tmp_path / "empty.png"), options, IMAGE, FrameFormat(width=136, height=240))
    assert learnt.shape == given.shape == (3, 80, 96)
    assert np.abs(learnt[0].astype(int) - given[0]).mean() < 3


def test_silence_of_a_camera_is_waited_out_and_what_it_says_is_told() -> None:
    told: list[str] = []
    notice = Notice("camera: fell silent", "reconnecting")
    opener = ScriptOpener(*[True] * 20, notice, None, None, *[True] * 30)
    assert learn(opener, told).shape == (3, 80, 96)
    assert "camera: fell silent" in told
    assert opener.source.closed


def test_an_input_that_fails_while_it_is_learnt_says_why() -> None:
    broken = StorageError("reading failed", remedy="Check the disk.")
    with pytest.raises(StorageError, match="reading failed"):
        learn(ScriptOpener(True, End(broken, 1, 0)), [])


@pytest.mark.parametrize(
    ("events", "seconds", "remedy"),
    [((True, End(None, 1, 0)), 2.0, "Give a longer input"), ((True, True), 0.08, "Give more seconds")],
)
def test_too_little_to_learn_from_is_refused_with_what_helps(events: Any, seconds: float, remedy: str) -> None:
    with pytest.raises(BadInputError, match=remedy):
        learn(ScriptOpener(*events), [], seconds=seconds)


def test_a_learning_that_is_stopped_blames_nobody() -> None:
    with pytest.raises(NoInputError, match="stopped before the plate was learnt"):
        learn(ScriptOpener(*[True] * 45, "stop"), [])
