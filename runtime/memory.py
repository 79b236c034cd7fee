"""Peak resident memory of this process and of its decoders, from /proc.

getrusage would not do: Linux hands a process's peak on to the programs that it starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

__all__ = ["PeakMemory"]

EVERY: Final = 64  # frames between two looks at the decoders, which are gone when the run ends


@final
class PeakMemory:
    """Remembers the largest resident size seen, in MiB; empty where there is no /proc."""

    def __init__(self) -> None:
        self._peaks = {"process": 0.0, "decoder": 0.0}
        self._frames = 0

    def frame(self) -> None:
        """Count one frame; look at the decoders now and then."""
        if self._frames % EVERY == 0:
            self.look()
        self._frames += 1

    def look(self) -> None:
        """Read the peaks that the kernel kept for this process and its children."""
        tasks = Path("/proc/self/task")
        children = [pid for task in tasks.glob("*/children") for pid in _read(task).split()]
        sizes = [_peak_mib(Path("/proc") / pid / "status") for pid in children]
        self._peaks["process"] = max(self._peaks["process"], _peak_mib(Path("/proc/self/status")))
        self._peaks["decoder"] = max([self._peaks["decoder"], *sizes])

    def summary_mib(self) -> dict[str, float]:
        """The peaks by name: this process, and the largest of its decoders."""
        return {name: round(peak, 1) for name, peak in self._peaks.items() if peak}


def _peak_mib(status: Path) -> float:
    for line in _read(status).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # no /proc here, or the process is gone
