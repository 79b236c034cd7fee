"""What is measured on: the machine's facts, and what happened on it while something was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, final

from cutline.benchmarks.clocks import ClockWatch
from cutline.benchmarks.nvml import Gpu
from cutline.benchmarks.schema import Machine
from cutline.runtime.kernels import isa

__all__ = ["Conditions", "Seen", "busy_share", "cores", "describe_machine", "look", "source_commit"]

PACKAGES: Final = (
    "cutline", "openvino", "av", "numpy", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12",
    "nvidia-cuda-nvrtc-cu13", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "PyNvVideoCodec",
)  # fmt: skip
BUSY_LIMIT: Final = 0.05  # of all cores, taken by others; more than this is told
TICK: Final = os.sysconf("SC_CLK_TCK")
NO_ROOT: Final = Path("/")


def describe_machine(gpus: Sequence[Gpu], busy_before: float | None, root: Path = NO_ROOT) -> Machine:
    """Read the facts from /proc and /sys below `root`; what is not there stays empty."""
    info = _read(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", info, re.MULTILINE)
    total = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    load = _read(root / "proc/loadavg").split()
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return Machine(
        cpu=board or (name.group(1).strip() if name else platform.processor() or platform.machine()),
        cores=cores(),
        memory_mib=int(total.group(1)) // 1024 if total else 0,
        kernels=isa(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={package: found for package in PACKAGES if (found := _version(package))},
        gpus=tuple(gpu.name for gpu in gpus),
        governor=governor or None,
        virtual=" hypervisor" in info if info else None,
        load_before=float(load[0]) if load else None,
        busy_before=busy_before,
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def source_commit() -> str | None:
    """The commit of these sources, where they lie in a repository; + where they were changed since."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


@dataclass(frozen=True, slots=True)
class Seen:
    """Counters of the machine at one moment. Processor times in seconds, of all cores together."""

    at_s: float
    busy_s: float | None  # everybody's
    stolen_s: float  # by the hypervisor
    own_s: float  # of this process, its children and theirs
    throttled: int  # events so far


NOTHING: Final = Seen(at_s=0.0, busy_s=0.0, stolen_s=0.0, own_s=0.0, throttled=0)


@final
class Conditions:
    """Adds up what happened on the machine during the turns of one measurement."""

    def __init__(self, gpus: Sequence[Gpu] = (), root: Path = NO_ROOT) -> None:
        self._root = root
        self._clocks = ClockWatch(gpus, root)
        self._sum = NOTHING

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Watch while something is measured; may be entered again, for the next turn."""
        before = look(self._root)
        try:
            with self._clocks.turn():
                yield
        finally:
            self._add(before, look(self._root))

    def warnings(self) -> tuple[str, ...]:
        """What may have disturbed the measurement."""
        return (*judge(NOTHING, self._sum, cores()), *self._clocks.warnings())

    def _add(self, before: Seen, after: Seen) -> None:
        known = None not in (before.busy_s, after.busy_s, self._sum.busy_s)
        self._sum = Seen(
            at_s=self._sum.at_s + after.at_s - before.at_s,
            busy_s=(self._sum.busy_s or 0.0) + (after.busy_s or 0.0) - (before.busy_s or 0.0) if known else None,
            stolen_s=self._sum.stolen_s + after.stolen_s - before.stolen_s,
            own_s=self._sum.own_s + after.own_s - before.own_s,
            throttled=self._sum.throttled + after.throttled - before.throttled,
        )


def judge(before: Seen, after: Seen, n_cores: int) -> list[str]:
    """What two looks at the machine tell."""
    found = []
    busy = busy_share(before, after, n_cores)
    if busy is not None and busy > BUSY_LIMIT:
        found.append(f"others took {100 * busy:.0f} % of the processors")
    passed = max(1e-9, after.at_s - before.at_s)
    stolen = (after.stolen_s - before.stolen_s) / passed / n_cores
    if stolen > 0.01:
        found.append(f"the hypervisor took {100 * stolen:.0f} % of the processors")
    if after.throttled > before.throttled:
        found.append(f"the processor was throttled {after.throttled - before.throttled} times")
    return found


def busy_share(before: Seen, after: Seen, n_cores: int) -> float | None:
    """Share of all cores that others took between two looks, 0..1."""
    passed = after.at_s - before.at_s
    if before.busy_s is None or after.busy_s is None or passed <= 0:
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return min(1.0, max(0.0, others / passed / n_cores))


def look(root: Path = NO_ROOT) -> Seen:
    """Read the machine's counters."""
    fields = _read(root / "proc/stat").partition("\n")[0].split()[1:9]
    ticks = [int(field) for field in fields]
    busy = (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / TICK if len(ticks) == 8 else None  # idle, iowait, steal
    cpus = root / "sys/devices/system/cpu"
    counts = [_read(path).strip() for path in cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    return Seen(
        at_s=time.monotonic(),
        busy_s=busy,
        stolen_s=ticks[7] / TICK if len(ticks) == 8 else 0.0,
        own_s=_own_s(root),
        throttled=sum(int(count) for count in counts if count.isdigit()),
    )


def _own_s(root: Path) -> float:
    """Processor time of this process, of children that have ended, and of all descendants that live."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    waiting = [os.getpid()] if sys.platform == "linux" else []
    while waiting:
        pid = waiting.pop()
        for task in (root / "proc" / str(pid) / "task").glob("*/children"):
            for child in _read(task).split():
                fields = _read(root / "proc" / child / "stat").rpartition(")")[2].split()
                if len(fields) > 14:
                    total += sum(int(field) for field in fields[11:15]) / TICK
                    waiting.append(int(child))
    return total


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # not this kind of machine
