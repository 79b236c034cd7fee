"""Times OpenVINO candidates against each other on this machine, turn and turn about, so that a busy moment hits all."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cutline.calibration.runner import Feed
from cutline.engine.targets import Precision

__all__ = ["Clocks", "CpuTimes", "Timing", "busy_note", "cpu_times", "measure", "pick_fastest"]

ROUNDS = 7
ROUND_S = 0.4  # of each candidate in each round
MARGIN = 0.02  # a lower precision must be faster by this share, or the accuracy is not worth giving up
BUSY = 0.1  # share of the CPUs' time that others may take; beyond it a timing says little about this machine


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per frame at full load: as many frames in flight as the device wants."""

    median_ms: float
    low_ms: float  # of the rounds
    high_ms: float
    in_flight: int
    frames: int  # timed in all
    others: float  # share of the CPUs' time that other processes and the hypervisor took meanwhile; NaN: not known

    @property
    def calm(self) -> bool:
        """Whether the machine was free for it, so that it will hold tomorrow."""
        return self.others <= BUSY


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds since some moment, over the CPUs that this process may use."""

    passed: float
    others: float  # of these, spent by anything but this process


def cpu_times(stat: Path = Path("/proc/stat")) -> CpuTimes:
    """Read the kernel's counters (proc(5): user, nice, system, idle, iowait, irq, softirq, steal); NaN without them."""
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    own = time.process_time()
    try:
        rows = [line.split() for line in stat.read_text().splitlines()]
        ticks = [[int(value) for value in row[1:9]] for row in rows if row and row[0] in names]
        passed = sum(map(sum, ticks))
        idle = sum(row[3] + row[4] for row in ticks)
    except (OSError, ValueError, IndexError):
        return CpuTimes(float("nan"), float("nan"))
    second = os.sysconf("SC_CLK_TCK")
    return CpuTimes(passed / second, (passed - idle) / second - own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What time is read from."""

    wall: Callable[[], float] = time.perf_counter  # seconds
    cpus: Callable[[], CpuTimes] = cpu_times


@dataclass(slots=True)
class _Rounds:
    times: list[float] = field(default_factory=list)  # ms per frame, by round
    frames: int = 0
    passed: float = 0.0
    others: float = 0.0

    def timing(self, in_flight: int) -> Timing:
        return Timing(
            median_ms=statistics.median(self.times),
            low_ms=min(self.times),
            high_ms=max(self.times),
            in_flight=in_flight,
            frames=self.frames,
            others=max(self.others, 0.0) / self.passed if self.passed else float("nan"),
        )


def measure(
    compiled: Mapping[str, Any],
    feeds: Feed,
    *,
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
    clocks: Clocks = Clocks(),
    tell: Callable[[float], None] | None = None,
) -> dict[str, Timing]:
    """Time compiled OpenVINO models of one contract.

    Args:
        compiled: openvino.CompiledModel by name.
        feeds: one frame's tensors for every input, states included.
        round_s: seconds of each candidate in each round.
        tell: called with the fraction done.
    """
    import openvino

    queues = {name: openvino.AsyncInferQueue(model, 0) for name, model in compiled.items()}
    kept = {name: _Rounds() for name in compiled}
    for queue in queues.values():
        _run_for(queue, feeds, round_s / 2, clocks.wall)  # first calls allocate and compile
    for turn in range(rounds):
        for name, queue in queues.items():
            before = clocks.cpus()
            frames, seconds = _run_for(queue, feeds, round_s, clocks.wall)
            after, found = clocks.cpus(), kept[name]
            found.times.append(1000 * seconds / frames)
            found.frames += frames
            found.passed += after.passed - before.passed
            found.others += after.others - before.others
        if tell is not None:
            tell((turn + 1) / rounds)
    return {name: found.timing(len(queues[name])) for name, found in kept.items()}


def _run_for(queue: Any, feeds: Feed, seconds: float, wall: Callable[[], float]) -> tuple[int, float]:
    """(frames, seconds) of a queue kept full for about `seconds`."""
    inputs = dict(feeds)
    started, frames = wall(), 0
    while frames < 2 * len(queue) or wall() - started < seconds:
        queue.start_async(inputs)
        frames += 1
    queue.wait_all()
    return frames, wall() - started


def busy_note(timings: Mapping[Precision, Timing]) -> str | None:
    """What must be said of timings that were disturbed; None when the machine was free."""
    if all(timing.calm for timing in timings.values()):
        return None
    others = max(timing.others for timing in timings.values())
    taken = "an unknown share" if others != others else f"{others:.0%}"
    return (
        f"openvino: while candidates were timed, other programs took {taken} of the CPUs; "
        "the times are not kept, and the next build times again"
    )


def pick_fastest(timings: Mapping[Precision, Timing], order: tuple[Precision, ...]) -> Precision:
    """The candidate to ship: the fastest, unless one of higher precision comes within MARGIN of it.

    Args:
        order: candidates that passed the gate, most precise first.
    """
    best = order[0]
    for name in order[1:]:
        if timings[name].median_ms < timings[best].median_ms * (1 - MARGIN):
            best = name
    return best
