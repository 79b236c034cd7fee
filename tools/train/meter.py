"""How far training is, and how long it will take."""

from __future__ import annotations

from types import TracebackType
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Meter"]

_SMOOTHING = 0.98  # of the loss that is shown
_PLAIN_EVERY = 100  # steps between two lines where there is no terminal


@final
class Meter:
    """Owns a progress bar while it is entered; without a terminal, prints a line now and then."""

    def __init__(self, console: Console, done: int, steps: int) -> None:
        self._console, self._steps, self._loss = console, steps, 0.0
        self._seen = 0
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._task = self._bar.add_task("", total=steps, completed=done, loss="making the first pictures")

    def update(self, step: int, loss: float) -> None:
        """Show that `step` steps are done."""
        self._seen += 1
        keep = min(_SMOOTHING, 1 - 1 / self._seen)
        self._loss = keep * self._loss + (1 - keep) * loss
        self._bar.update(self._task, completed=step, loss=f"loss {self._loss:.4f}")
        if not self._console.is_terminal and (step % _PLAIN_EVERY == 0 or step == self._steps):
            left = self._bar.tasks[0].time_remaining
            minutes = "" if left is None else f", {left / 60:.0f} min left"
            self._console.print(f"step {step} of {self._steps}, loss {self._loss:.4f}{minutes}")

    def __enter__(self) -> Meter:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
