"""A window on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, final

import cv2
import numpy as np

from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import Frame
from cutline.runtime.sinks.base import StreamInfo
from cutline.runtime.sinks.picture import Picture, convert, plane_rows

__all__ = ["DisplaySink"]

QUIT_KEYS = (ord("q"), 27)  # q, Esc
PROBE = "import cv2; cv2.namedWindow('cutline'); cv2.waitKey(1); cv2.destroyAllWindows()"
PROBE_TIMEOUT_S = 20


@final
class DisplaySink:
    """Owns one window, from the first frame until close(). Closing it, q or Esc ends the run.

    Raises:
        DeviceError: there is no screen.
    """

    wants_alpha = False
    carries_alpha = False
    live = True

    def __init__(self, info: StreamInfo) -> None:
        _demand_screen()
        self.ended = False
        self._title = f"Cutline: {info.name}"
        self._colour = info.format.colour
        self._picture = Picture(info.format.width, info.format.height, "yuv420p", self._colour)
        self._size = (info.format.width, info.format.height)
        self._frames = 0
        self._open = False

    def write(self, frame: Frame) -> None:
        """Show one frame, and look for a key."""
        if self.ended:
            return
        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, *self._size)
            self._open = True
        bgr = convert(self._picture.fill(frame.composite), self._colour, "bgr24", full_range=True, exact=False)
        cv2.imshow(self._title, _pixels(bgr))
        self._frames += 1
        pressed = cv2.waitKey(1) & 0xFF in QUIT_KEYS
        self.ended = pressed or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1

    def close(self, *, complete: bool) -> None:  # noqa: ARG002  (the protocol's signature)
        """Close the window; later calls do nothing."""
        if self._open:
            self._open = False
            if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1:
                cv2.destroyWindow(self._title)
                cv2.waitKey(1)

    def report(self) -> dict[str, object]:
        """Frames shown."""
        return {"path": "display://0", "frames": self._frames, "bytes": 0, "codec": None, "notices": []}


def _pixels(frame: Any) -> Any:
    rows = plane_rows(frame.planes[0])[:, : 3 * frame.width]
    return np.ascontiguousarray(rows).reshape(frame.height, frame.width, 3)


def _demand_screen() -> None:
    """Open a window in another process first: without a screen, OpenCV's window library aborts the one that asks."""
    remedy = "Run it on a machine with a desktop, or write to a file or null:// instead."
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise DeviceError("there is no screen", remedy=remedy, DISPLAY=None)
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError("the screen does not answer", remedy=remedy, waited_s=PROBE_TIMEOUT_S) from error
    if probe.returncode:
        said = [line for line in probe.stderr.splitlines() if line.strip()]
        raise DeviceError("the screen cannot be used", remedy=remedy, reason=said[0] if said else probe.returncode)
