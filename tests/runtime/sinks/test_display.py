"""The window: no screen is an error, a key ends the run, a window that dies is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutline.runtime.errors import DeviceError
from cutline.runtime.sinks import display, open_sink

FAKE_OPENCV = """
import os, sys
import numpy as np
WINDOW_NORMAL = WINDOW_KEEPRATIO = WND_PROP_VISIBLE = WINDOW_GUI_NORMAL = 0
keys = eval(os.environ["FAKE_KEYS"])  # after which picture -> which key
shown = 0
windows = set()

def namedWindow(name, flags): windows.add(name)
def resizeWindow(name, width, height): assert name in windows
def imshow(name, picture):
    global shown
    assert name in windows
    np.save(os.path.join(os.environ["FAKE_SHOWN"], f"{shown}.npy"), picture)
    shown += 1
    if keys.get(shown) == "die": os._exit(3)
def waitKey(delay): return keys.get(shown, -1) if isinstance(keys.get(shown, -1), int) else -1
def getWindowProperty(name, kind): return 0.0 if keys.get(shown) == "close" else 1.0
def destroyAllWindows(): windows.clear()
"""


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, object]], Path]:
    """Give the window's process an OpenCV without a screen; tell it which keys to press, and learn what it showed."""
    modules, shown = tmp_path / "modules", tmp_path / "shown"
    modules.mkdir()
    shown.mkdir()
    (modules / "cv2.py").write_text(FAKE_OPENCV)

    def prepare(keys: dict[int, object]) -> Path:
        monkeypatch.setenv("PYTHONPATH", str(modules))
        monkeypatch.setenv("DISPLAY", ":fake")
        monkeypatch.setenv("FAKE_KEYS", repr(keys))
        monkeypatch.setenv("FAKE_SHOWN", str(shown))
        return shown

    return prepare


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there do variables name the screen")
@pytest.mark.parametrize("screen", [None, ":4711"])
def test_no_screen_is_a_device_error(clip: Any, monkeypatch: pytest.MonkeyPatch, screen: str | None) -> None:
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if screen is not None:
        monkeypatch.setenv("DISPLAY", screen)
    with pytest.raises(DeviceError, match="screen") as caught:
        open_sink("display://0", clip().info)
    assert caught.value.exit_code == 69
    assert "null://" in caught.value.remedy


def test_a_screen_that_does_not_answer_is_a_device_error(
    clip: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "silent.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("DISPLAY", ":fake")
    monkeypatch.setattr(display, "WINDOW", (sys.executable, str(tmp_path / "silent.py")))
    monkeypatch.setattr(display, "ANSWER_TIMEOUT_S", 0.3)
    with pytest.raises(DeviceError, match="does not answer"):
        open_sink("display://0", clip().info)


def test_frames_are_shown_in_their_colours(clip: Any, windows: Any) -> None:
    shown = windows({})
    made = clip(width=97, height=63, count=3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    sink = open_sink("display://0", made.info)
    for frame in made.frames():
        planes = frame.composite
        planes.y[:], planes.u[:], planes.v[:] = 63, 102, 240  # pure red, BT.709, limited range
        planes.y[0, 0] = 16 + frame.index
        sink.write(frame)
    assert sink.live
    sink.close(complete=True)
    sink.close(complete=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    pictures = [np.load(shown / f"{index}.npy").astype(int) for index in range(3)]
    for picture in pictures:
        assert picture.shape == (63, 97, 3)
        assert np.abs(picture[5:, 5:] - [0, 0, 255]).max() <= 3
    assert len({tuple(picture[0, 0]) for picture in pictures}) == 3
    assert sink.report()["frames"] == 3


@pytest.mark.parametrize("key", [ord("q"), 27, "close"])
def test_a_key_or_a_closed_window_ends_the_run(clip: Any, windows: Any, key: object) -> None:
    shown = windows({1: ord("x"), 3: key})
    made = clip(count=8)
    sink = open_sink("display://0", made.info)
    ended = []
    for frame in made.frames():
        sink.write(frame)
        ended.append(sink.ended)
    assert ended == [False] * 3 + [True] * 5
    sink.close(complete=False)
    assert len(list(shown.iterdir())) == 3


def test_a_window_whose_process_dies_is_told(clip: Any, windows: Any) -> None:
    windows({2: "die"})
    made = clip(count=8)
    sink = open_sink("display://0", made.info)
    with pytest.raises(DeviceError, match="the window has gone"):
        show_all(sink, made)
    sink.close(complete=False)


def show_all(sink: Any, clip: Any) -> None:
    for frame in clip.frames():
        sink.write(frame)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real X server without a monitor."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    reader, writer = os.pipe()
    options = ["-screen", "0", "320x240x24", "-nolisten", "tcp", "-displayfd", str(writer)]
    with subprocess.Popen(["Xvfb", *options], pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader) as numbers:
            monkeypatch.setenv("DISPLAY", f":{numbers.readline().strip()}")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield
        server.terminate()


@pytest.mark.usefixtures("screen")
def test_a_real_window_shows_frames(clip: Any) -> None:
    made = clip(count=5)
    sink = open_sink("display://0", made.info)
    for frame in made.frames():
        sink.write(frame)
        time.sleep(0.01)
    assert not sink.ended
    sink.close(complete=True)
    assert sink.report()["frames"] == 5
