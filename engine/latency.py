"""Times OpenVINO candidates against each other on this machine, turn and turn about, so that a busy moment hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cutline.calibration.runner import Feed
from cutline.engine.targets import Precision

__all__ = ["Timing", "measure", "pick_fastest"]

ROUNDS = 7
ROUND_S = 0.4  # of each candidate in each round
MARGIN = 0.02  # a lower precision must be faster by this share, or the accuracy is not worth giving up


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per frame at full load: as many frames in flight as the device wants."""

    median_ms: float
    low_ms: float  # of the rounds
    high_ms: float
    in_flight: int
    frames: int  # timed in all


def measure(
    compiled: Mapping[str, Any],
    feeds: Feed,
    *,
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
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
    kept: dict[str, list[float]] = {name: [] for name in compiled}
    counts = dict.fromkeys(compiled, 0)
    for queue in queues.values():
        _run_for(queue, feeds, round_s / 2)  # first calls allocate and compile
    for turn in range(rounds):
        for name, queue in queues.items():
            frames, seconds = _run_for(queue, feeds, round_s)
            kept[name].append(1000 * seconds / frames)
            counts[name] += frames
        if tell is not None:
            tell((turn + 1) / rounds)
    return {
        name: Timing(
            median_ms=statistics.median(times),
            low_ms=min(times),
            high_ms=max(times),
            in_flight=len(queues[name]),
            frames=counts[name],
        )
        for name, times in kept.items()
    }


def _run_for(queue: Any, feeds: Feed, seconds: float) -> tuple[int, float]:
    """(frames, seconds) of a queue kept full for about `seconds`."""
    inputs = dict(feeds)
    started, frames = time.perf_counter(), 0
    while frames < 2 * len(queue) or time.perf_counter() - started < seconds:
        queue.start_async(inputs)
        frames += 1
    queue.wait_all()
    return frames, time.perf_counter() - started


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
