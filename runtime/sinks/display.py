"""A window on the screen."""

from __future__ import annotations

import mmap
import os
import select
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import Frame
from cutline.runtime.sinks.base import StreamInfo, composite_of
from cutline.runtime.sinks.picture import Picture, convert, plane_rows

__all__ = ["DisplaySink"]

WINDOW = (sys.executable, str(Path(__file__).with_name("window.py")))
ANSWER_TIMEOUT_S = 20.0
REMEDY = "Run it on a machine with a desktop, or write to a file or null:// instead."


@final
class DisplaySink:
    """Owns a process with one window, and two pictures shared with it: one is filled while the other is shown.

    Closing the window, q or Esc ends the run.

    Raises:
        DeviceError: there is no screen.
    """

    wants_alpha = False
    carries_alpha = False
    live = True

    def __init__(self, info: StreamInfo) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError("there is no screen", remedy=REMEDY, DISPLAY=None)
        self.ended = False
        self._frames = 0
        self._colour = info.format.colour
        width, height = info.format.width, info.format.height
        self._picture = Picture(width, height, "yuv420p", self._colour)
        with ExitStack() as undo:
            descriptor = os.memfd_create("cutline-window")
            undo.callback(os.close, descriptor)
            os.ftruncate(descriptor, 2 * height * width * 3)
            memory = mmap.mmap(descriptor, 2 * height * width * 3)
            undo.callback(memory.close)
            self._shared: NDArray[np.uint8] = np.frombuffer(memory, np.uint8).reshape(2, height, 3 * width)
            undo.callback(self._forget)
            self._process = subprocess.Popen(
                [*WINDOW, f"Cutline: {info.name}", str(width), str(height), str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
            undo.callback(self._stop)
            self._answer()
            self._undo = undo.pop_all()

    def write(self, frame: Frame) -> None:
        """Hand one frame to the window, once it has shown the one before.

        Raises:
            DeviceError: the window's process has gone.
        """
        if self.ended:
            return
        index = self._frames % 2
        bgr = convert(self._picture.fill(composite_of(frame)), self._colour, "bgr24", full_range=True, exact=False)
        self._shared[index] = plane_rows(bgr.planes[0])[:, : 3 * bgr.width]
        if self._frames:
            self.ended = self._answer() == b"closed\n"
        if not self.ended:
            self._ask(index)
            self._frames += 1

    def close(self, *, complete: bool) -> None:  # noqa: ARG002  (the protocol's signature)
        """Close the window and end its process; later calls do nothing."""
        self._undo.close()

    def report(self) -> dict[str, object]:
        """Frames shown."""
        return {"path": "display://0", "frames": self._frames, "bytes": 0, "codec": None, "notices": []}

    def _ask(self, index: int) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % index)
        except BrokenPipeError:
            raise self._gone("the window has gone") from None

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], ANSWER_TIMEOUT_S)[0]:
            raise self._gone("the screen does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise self._gone("the screen cannot be used" if self._frames == 0 else "the window has gone")
        return line

    def _gone(self, what: str) -> DeviceError:
        """Make an error of what the process last said."""
        assert self._process.stderr is not None
        self._process.kill()
        said = [line.strip() for line in self._process.stderr.read().decode(errors="replace").splitlines()]
        told = [line for line in said if "display" in line or "Error" in line]
        reason = told[-1] if told else f"exit status {self._process.wait()}"
        return DeviceError(what, remedy=REMEDY, DISPLAY=os.environ.get("DISPLAY"), reason=reason)

    def _forget(self) -> None:
        self._shared = self._shared[:0].copy()  # memory with views on it cannot be closed

    def _stop(self) -> None:
        with self._process as process:  # closes its pipes, which ends it, and waits
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(ANSWER_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
