"""Clock frequencies while something runs. At rest they say nothing: an idle processor is slow, and then it is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from cutline.benchmarks.nvml import MEMORY_CLOCK, SM_CLOCK, Gpu

__all__ = ["ClockWatch"]

FIRST_S: Final = 0.05  # after the beginning of a turn: by then it is busy
PERIOD_S: Final = 0.25
LIMIT: Final = 0.05  # between the slowest and the fastest look
ROOT: Final = Path("/")
CLOCKS: Final = {SM_CLOCK: "SM", MEMORY_CLOCK: "memory"}


@final
class ClockWatch:
    """Owns a thread during each turn, where there are clocks to be read."""

    def __init__(self, gpus: Sequence[Gpu] = (), root: Path = ROOT) -> None:
        self._gpus = gpus
        self._files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._mhz: dict[str, list[float]] = {}
        self._throttled: dict[str, None] = {}  # reasons, in the order in which they were seen
        self._shared: dict[str, None] = {}
        self._stopped = threading.Event()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Watch while something is measured; may be entered again, for the next turn."""
        if not self._files and not self._gpus:
            yield
            return
        self._stopped.clear()
        thread = threading.Thread(target=self._watch, name="clocks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def warnings(self) -> list[str]:
        """What was seen in all turns."""
        moved = [
            f"{name} clocks between {min(seen):.0f} and {max(seen):.0f} MHz"
            for name, seen in self._mhz.items()
            if max(seen) > (1 + LIMIT) * min(seen)
        ]
        return [*moved, *self._throttled, *self._shared]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest MHz in all turns: of `processor`, and of each GPU's SM and memory clock."""
        return {name: (min(seen), max(seen)) for name, seen in self._mhz.items()}

    def throttled(self) -> list[str]:
        """Why GPUs were slower than they could be, if they were."""
        return list(self._throttled)

    def _watch(self) -> None:
        wait_s = FIRST_S
        while not self._stopped.wait(wait_s):
            self.look()
            wait_s = PERIOD_S

    def look(self) -> None:
        """Read every clock once."""
        cores = [int(text) / 1000 for path in self._files if (text := _read(path)).isdigit()]
        if cores:
            self._mhz.setdefault("processor", []).append(sum(cores) / len(cores))
        for gpu in self._gpus:
            for kind, name in CLOCKS.items():
                if clock := gpu.clock_mhz(kind):
                    self._mhz.setdefault(f"{gpu.name} {name}", []).append(clock)
            if reason := gpu.throttle_reason():
                self._throttled[f"{gpu.name}: throttled ({reason})"] = None
            if others := gpu.other_processes():
                self._shared[f"{gpu.name}: {others} other process{'es' if others > 1 else ''} on the device"] = None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""  # the core was switched off
