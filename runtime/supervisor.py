"""Keeps one child process working: where the device is lost, only another process can use it again.

The child ends with RESTART when it lost its device, or is ended by a signal that nobody here sent (a crash in the
driver, the kernel's memory killer), or falls silent and is killed (it was stopped, or hangs where no thread of its own
can see it). Each starts another child, at most LIMIT times within WINDOW_S; any other end is the end.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, final

from cutline.runtime.errors import DeviceError

__all__ = ["LIMIT", "OPENING", "RESTART", "WINDOW_S", "WORKING", "Child", "Supervisor"]

RESTART: Final = 75  # sysexits.h, EX_TEMPFAIL: seen by the supervisor alone
LIMIT: Final = 5  # restarts
WINDOW_S: Final = 60.0
PAUSE_S: Final = 0.5  # between two children: a driver that resets a GPU needs a moment
OPENING: Final = b"o"  # a beat of a child that loads libraries and engines; a child beats every second
WORKING: Final = b"."  # a beat of one whose frames flow
# seconds without another beat; a library of gigabytes may hold the interpreter while it comes from a slow card
SILENT_S: Final = {OPENING: 180.0, WORKING: 20.0}
ENDING_S: Final = 10.0  # until a killed process is gone, unless the kernel itself waits for the device


class Child(NamedTuple):
    """A process, and our ends of two pipes, which the supervisor closes."""

    process: subprocess.Popen[bytes]
    pulse: int  # the child writes into it while it is well
    lifeline: int  # the child ends in order when it closes: with this process, however that ends


@final
class Supervisor:
    """Owns the child process that is at work."""

    def __init__(
        self,
        start: Callable[[], Child],
        notify: Callable[[str], None],
        *,
        once: str = "",
        clock: Callable[[], float] = time.monotonic,
        pause_s: float = PAUSE_S,
        silent_s: Mapping[bytes, float] = SILENT_S,
        ending_s: float = ENDING_S,
    ) -> None:
        """Prepare.

        Args:
            start: starts a child.
            notify: called with one line for each restart.
            once: why no other child may be started; empty: one may.
            silent_s: how long a child may be silent after each kind of beat.
        """
        self._start, self._notify, self._clock, self._pause_s = start, notify, clock, pause_s
        self._once = once
        self._silent_s, self._ending_s = silent_s, ending_s
        self._restarts: deque[float] = deque()  # when they were
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._silent: float | None = None  # seconds that the last child said nothing, if that was its end

    def run(self) -> int:
        """Return the exit code of the child that ended for good.

        Raises:
            DeviceError: children kept losing the device, or no other may be started, or one cannot be ended.
        """
        while True:
            child = self._start()
            self._child = child.process
            if self._stopping.is_set():  # the signal came while the child was made
                child.process.terminate()
            code = self._wait(child)
            if code >= 0 and code != RESTART:
                return code
            unfinished = DeviceError.exit_code if code == RESTART else 128 - code
            if self._stopping.is_set():
                return unfinished
            self._count(code)
            self._notify(f"{self._reason(code)}: starting again ({len(self._restarts)} of {LIMIT} times in a minute)")
            if self._stopping.wait(self._pause_s):
                return unfinished

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Let the child end in order, and start no other. Safe in a signal handler."""
        self._stopping.set()
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def _wait(self, child: Child) -> int:
        """Wait for the child's end, and bring it about when it falls silent; its exit code."""
        patience_s: float | None = None  # it says nothing while it imports
        self._silent = None
        try:
            while select.select([child.pulse], [], [], patience_s)[0]:
                beats = os.read(child.pulse, 1 << 16)
                if not beats:
                    return child.process.wait()  # it has ended, or is about to
                patience_s = self._silent_s[beats[-1:]]
        finally:
            os.close(child.pulse)
            os.close(child.lifeline)
        self._silent = patience_s
        child.process.kill()
        try:
            return child.process.wait(self._ending_s)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                "the process that uses the device hangs and cannot be ended",
                remedy="Restart the machine; look for an Xid line in `dmesg`.",
                pid=child.process.pid,
            ) from error

    def _count(self, code: int) -> None:
        if self._once:
            raise DeviceError(f"{self._reason(code)}, and {self._once}", remedy="Run the command once more.")
        now = self._clock()
        while self._restarts and now - self._restarts[0] > WINDOW_S:
            self._restarts.popleft()
        if len(self._restarts) >= LIMIT:
            raise DeviceError(
                f"{self._reason(code)}, the {LIMIT + 1}th time within a minute",
                remedy="Look for an Xid line in `dmesg`, run `cutline doctor`, or use --device cpu.",
            )
        self._restarts.append(now)

    def _reason(self, code: int) -> str:
        if code == RESTART:
            return "the device was lost"
        if self._silent is not None:
            return f"the process that uses the device said nothing for {self._silent:g} s"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the process that uses the device was ended by {name}"
