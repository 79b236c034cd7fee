"""Opening of sources that may not be there yet, and that can be given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, final

from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, NoInputError, StorageError
from cutline.runtime.sources.address import Redactor
from cutline.runtime.sources.records import SourceOptions
from cutline.runtime.sources.source import FIRST_WAIT_S, LONGEST_WAIT_S, Source

__all__ = ["Opener"]

# What a camera, a network or a server may get over. Wrong words and our own mistakes stay what they are.
ABSENT: Final = (NoInputError, DeviceError, BadInputError, StorageError)


@final
class Opener:
    """Opens the source of one stream, from any one thread; `stop` may be called from another, or a signal handler.

    Args:
        patient: try again, at growing intervals, until the source is there.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self._stopping = threading.Event()
        self.waited_s = 0.0  # from the first failure until the source was there; 0 where it was there at once

    @property
    def stopped(self) -> bool:
        """Whether stop() was called."""
        return self._stopping.is_set()

    def open(self, uri: str, options: SourceOptions, notify: Callable[[str], None]) -> Source:
        """Open the source.

        Args:
            notify: called with one line when the source is found missing, when the reason changes, and when it came.
        Raises:
            CutlineError: as Source. Where this one is patient: a UsageError, or after stop() why it was not there.
        """
        wait_s, missing_since = FIRST_WAIT_S, 0.0
        reason: CutlineError | None = None
        while True:
            try:
                source = Source(uri, options, given_up=self._stopping.is_set)
            except ABSENT as error:
                if not self._patient:
                    raise
                missing_since = missing_since or time.monotonic()
                if not self.stopped:
                    if reason is None or error.what != reason.what:
                        notify(f"{Redactor(uri).name}: {error.what}; it is tried again until it is there")
                    reason = error
                if self._stopping.wait(wait_s):
                    self.waited_s = time.monotonic() - missing_since
                    raise (reason or error) from None
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
                continue
            if missing_since:
                self.waited_s = time.monotonic() - missing_since
                notify(f"{source.name}: there after {self.waited_s:.0f} s")
            return source

    def stop(self) -> None:
        """Give up what is being opened, and open nothing any more."""
        self._stopping.set()
