"""The window: no screen is an error, a key ends the run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from cutline.runtime.errors import DeviceError
from cutline.runtime.sinks import display as module
from cutline.runtime.sinks import open_sink


class FakeWindows:
    """Stands in for OpenCV's window functions: remembers what was shown, gives the keys it was told to."""

    WINDOW_NORMAL, WINDOW_KEEPRATIO, WND_PROP_VISIBLE = 0, 0, 4

    def __init__(self, keys: list[int]) -> None:
        self.keys, self.shown, self.windows = keys, [], set[str]()  # type: ignore[var-annotated]
        self.closed_by_user = False

    def namedWindow(self, name: str, _flags: int) -> None:  # noqa: N802
        self.windows.add(name)

    def resizeWindow(self, name: str, width: int, height: int) -> None:  # noqa: N802
        assert name in self.windows
        assert (width, height) == (96, 64)

    def imshow(self, name: str, picture: Any) -> None:
        assert name in self.windows
        self.shown.append(picture.copy())

    def waitKey(self, _delay: int) -> int:  # noqa: N802
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, name: str, _property: int) -> float:  # noqa: N802
        return 0.0 if self.closed_by_user or name not in self.windows else 1.0

    def destroyWindow(self, name: str) -> None:  # noqa: N802
        self.windows.remove(name)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> FakeWindows:
    fake = FakeWindows([])
    monkeypatch.setattr(module, "cv2", fake)
    monkeypatch.setattr(module, "_demand_screen", lambda: None)
    return fake


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there do variables name the screen")
@pytest.mark.parametrize("display", [None, ":4711"])
def test_no_screen_is_a_device_error(clip: Any, monkeypatch: pytest.MonkeyPatch, display: str | None) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    if display is None:
        monkeypatch.delenv("DISPLAY", raising=False)
    else:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(DeviceError, match="screen") as caught:
        open_sink("display://0", clip().info)
    assert caught.value.exit_code == 69
    assert "null://" in caught.value.remedy


def test_a_screen_that_does_not_answer_is_a_device_error(clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("python", 20)

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(DeviceError, match="does not answer"):
        open_sink("display://0", clip().info)


def test_frames_are_shown_in_their_colours(clip: Any, windows: FakeWindows) -> None:
    made = clip(count=3)
    sink = open_sink("display://0", made.info)
    for frame in made.frames():
        planes = frame.composite
        planes.y[:], planes.u[:], planes.v[:] = 63, 102, 240  # pure red, BT.709, limited range
        sink.write(frame)
    assert sink.live
    assert len(windows.shown) == 3
    assert windows.shown[0].shape == (64, 96, 3)
    assert np.abs(windows.shown[0].astype(int) - [0, 0, 255]).max() <= 3
    sink.close(complete=True)
    sink.close(complete=True)
    assert windows.windows == set()
    assert sink.report()["frames"] == 3


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_a_key_ends_the_run(clip: Any, windows: FakeWindows, key: int) -> None:
    windows.keys = [-1, ord("x"), key, -1]
    made = clip(count=6)
    sink = open_sink("display://0", made.info)
    ended = []
    for frame in made.frames():
        sink.write(frame)
        ended.append(sink.ended)
    assert ended == [False, False, True, True, True, True]
    assert len(windows.shown) == 3
    sink.close(complete=False)


def test_closing_the_window_ends_the_run(clip: Any, windows: FakeWindows) -> None:
    made = clip(count=2)
    sink = open_sink("display://0", made.info)
    sink.write(made.frame(0))
    windows.closed_by_user = True
    sink.write(made.frame(1))
    assert sink.ended
    sink.close(complete=True)
