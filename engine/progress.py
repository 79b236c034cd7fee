"""How long work tells what it is doing: findings as lines, progress as a fraction of a stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Progress", "Silent", "counting"]


class Progress(Protocol):
    """Where a build reports to; called from one thread."""

    def say(self, line: str) -> None:
        """A finding that the user should read and may need later."""
        ...

    def step(self, stage: str, fraction: float | None) -> None:
        """How far a stage is, 0..1; None when that is not known. 1 ends it."""
        ...


class Silent:
    """Reports to nobody."""

    def say(self, line: str) -> None:
        """Ignore a finding."""

    def step(self, stage: str, fraction: float | None) -> None:
        """Ignore progress."""


def counting(progress: Progress, stage: str) -> Callable[[int, int | None, str], None]:
    """Turn calibration's (done, of how many, what) into steps of a stage."""

    def tell(done: int, total: int | None, what: str) -> None:
        progress.step(f"{stage}: {what}" if what else stage, done / total if total else None)

    return tell
