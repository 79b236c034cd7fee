"""Sees when the GPU does not answer: a thread inside the driver cannot be called back, so its process has to end.

Every call into the driver is noted while it lasts, and a thread of its own looks at these notes once a second. What it
counts is looks and not time: a process that was stopped, or a machine that slept, has not waited for its GPU meanwhile.
Nothing is added to what a frame waits for, and the thread that looks never calls the driver itself: where one call
hangs, the others may hang on the same lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, final

from cutline.runtime.errors import DeviceLostError

__all__ = ["ANSWER", "OPENING", "Call", "Watchdog"]

LOOK_S: Final = 1.0
ANSWER: Final = 10  # looks that one call may last; a frame takes milliseconds, eight busy streams tens of them
OPENING: Final = 60  # the same of calls that start driver and context: seconds per GPU, if no daemon keeps them awake
REMEDY: Final = "Look for an Xid line in `dmesg`; reset the GPU (nvidia-smi --gpu-reset), or restart the machine."

_NOW: Final[dict[int, Call]] = {}  # by thread


@final
class Call:
    """Notes one call into the driver while it lasts. They do not nest."""

    __slots__ = ("doing", "limit", "looks")

    def __init__(self, doing: str, *, opening: bool = False) -> None:
        self.doing, self.limit, self.looks = doing, OPENING if opening else ANSWER, 0

    def __enter__(self) -> None:
        _NOW[threading.get_ident()] = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del _NOW[threading.get_ident()]


@final
class Watchdog:
    """Owns the thread that looks, from construction until close(). One for a process."""

    def __init__(
        self,
        on_hung: Callable[[DeviceLostError], None],
        *,
        on_look: Callable[[], None] = lambda: None,
        look_s: float = LOOK_S,
    ) -> None:
        """Begin to look.

        Args:
            on_look: called with every look: a sign of life for whoever watches the process from outside.
            on_hung: called once for each call that lasts too long, from the watchdog's thread. It should end the
                process: the thread that made the call will not come back, nor will others that need the device.
        """
        self._on_hung, self._on_look, self._look_s = on_hung, on_look, look_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Count one more look at every call that lasts, and tell of those that were seen too often."""
        for call in _NOW.copy().values():
            call.looks += 1
            if call.looks == call.limit + 1:  # the first look may come right after the call began
                waited = f"{call.limit * self._look_s:g} s"
                said = f"the GPU has not answered for {waited} while {call.doing}"
                self._on_hung(DeviceLostError(said, remedy=REMEDY))

    def close(self) -> None:
        """End the thread. Works twice."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closing.wait(self._look_s):
            self._on_look()
            self.look()
