"""Time of frames: timestamps that are always there and always rise, and the schedule of a paced recording."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final, final

__all__ = ["Clock", "Pace"]

_JUMP_S: Final = 1.0  # a step back by more is a new beginning, by less a slip of one frame


@final
class Clock:
    """Turns the timestamps of decoded frames into strictly rising ones, in the unit of the output."""

    def __init__(
        self,
        time_base: Fraction,
        rate: Fraction | None,
        report: Callable[[str, str], None],
        *,
        unit: Fraction | None = None,
    ) -> None:
        """Start at no time at all.

        Args:
            time_base: seconds per unit of the pts that come in.
            rate: frames per second, for frames that have no timestamp; 25 where unknown.
            unit: seconds per unit of the pts that go out; the same where None.
        """
        self.unit = unit or time_base
        self._ratio = time_base / self.unit
        self._step = max(1, round(1 / ((rate or 25) * self.unit)))
        self._report = report
        self._last: int | None = None
        self._shift = 0
        self._begin_at: int | None = None
        self.origin = 0  # where time zero of this round, or connection, lies in the output's unit

    def begin_at(self, pts: int) -> None:
        """Make the next frame's time `pts`, in the output's unit: a new connection, whose clock began anew."""
        self._begin_at = pts

    def go_on(self) -> None:
        """Make the next frame follow the last one by a frame's length: a loop."""
        if self._last is not None:
            self._begin_at = self._last + self._step

    def stamp(self, pts: int | None) -> int:
        """Return the frame's time in the output's unit, later than every one before."""
        if pts is None:
            value = 0 if self._last is None else self._last + self._step
            value -= self._shift
            self._report("timestamps", "frames without a timestamp; they were given one")
        else:
            value = round(pts * self._ratio)
        if self._begin_at is not None:
            self._shift = self.origin = self._begin_at - value
            self._begin_at = None
        value += self._shift
        if self._last is not None and value <= self._last:
            self._report("timestamps", "timestamps run backwards; they were repaired")
            if (self._last - value) * self.unit > _JUMP_S:
                self._shift += self._last + self._step - value
                value = self._last + self._step
            else:
                value = self._last + 1
        self._last = value
        return value


@final
class Pace:
    """Absolute deadlines: frame n is due n / fps after the first, so a late one delays no other."""

    def __init__(self, fps: float, start_ns: int) -> None:
        self._fps, self._start_ns = fps, start_ns

    def due_ns(self, n: int) -> int:
        """When frame n is due, on the clock of time.monotonic_ns()."""
        return self._start_ns + round(n * 1e9 / self._fps)
