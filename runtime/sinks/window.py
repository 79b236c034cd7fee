"""The process that owns the window: `python window.py TITLE WIDTH HEIGHT DESCRIPTOR`.

A process of its own, that never imports PyAV: its wheel and OpenCV's both bring an X11 library, and the first call that
opens a window then hangs (PyAV issues 978 and 1050). A screen that goes away also takes only this process with it.

The descriptor is that of shared memory for two BGR pictures. A line "0" or "1" on standard input asks for that picture
to be shown; each is answered by "shown", or by "closed" once the viewer has closed the window. "ready" comes first.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

QUIT_KEYS = (ord("q"), 27)  # q, Esc
IDLE_S = 0.02  # between two looks at the keyboard while no frames come


def main(title: str, width: int, height: int, descriptor: int) -> None:
    """Show what is asked for until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    memory = mmap.mmap(descriptor, 2 * height * width * 3)
    pictures: NDArray[np.uint8] = np.frombuffer(memory, np.uint8).reshape(2, height, width, 3)
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    cv2.resizeWindow(title, width, height)
    cv2.waitKey(1)
    answer("ready")
    closed = False
    while True:
        asked = os.read(0, 2) if select.select([0], [], [], IDLE_S)[0] else None
        if asked == b"":
            return
        if asked and not closed:
            cv2.imshow(title, pictures[int(asked)])
        if not closed:
            closed = cv2.waitKey(1) & 0xFF in QUIT_KEYS or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1
            if closed:
                cv2.destroyAllWindows()
        if asked:
            answer("closed" if closed else "shown")


def answer(word: str) -> None:
    """Tell the parent; one that has gone is noticed at the next read."""
    print(word, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
