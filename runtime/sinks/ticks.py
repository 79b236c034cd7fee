"""Time stamps in the container's units."""

from __future__ import annotations

from fractions import Fraction
from typing import final

from cutline.runtime.frame import Timestamp

__all__ = ["Ticks"]


@final
class Ticks:
    """Turns time stamps into ticks: exactly where the tick allows it, and always forwards.

    Args:
        tick: the container's unit of time, in seconds.
        from_zero: a recording of a live source starts at zero, not at the camera's uptime.
    """

    def __init__(self, tick: Fraction, *, from_zero: bool) -> None:
        self.tick = tick
        self.moved = 0  # frames whose time stamp did not move forwards, and was moved
        self._last: int | None = None
        self._step = 1
        self._zero: Fraction | None = None if from_zero else Fraction(0)

    def take(self, time: Timestamp) -> int:
        """Time of the next frame, in ticks."""
        seconds = time.pts * time.time_base
        if self._zero is None:
            self._zero = seconds
        now = round((seconds - self._zero) / self.tick)
        if self._last is not None:
            if now <= self._last:
                now = self._last + 1
                self.moved += 1
            self._step = now - self._last
        self._last = now
        return now

    @property
    def end(self) -> Fraction:
        """When the last frame ends, in seconds, if it is shown as long as the one before."""
        return ((self._last or 0) + self._step) * self.tick
