"""Where each frame of one stream was at what time, in memory that was taken before the first frame."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, fields
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT", "FrameStamps", "Telemetry", "percentiles_ms"]

KEPT: Final = 65536  # frames remembered: 36 minutes at 30 fps, 7 MiB


@dataclass(slots=True)
class FrameStamps:
    """One frame's way: time.monotonic_ns() at each step, 0 where it has not been.

    core: ns of processor time spent on it. clock: time.thread_time_ns() of the thread when it began with it; the
    difference between two frames, less what was spent on the first, is the thread's own.
    """

    index: int = 0  # in the stream
    decode_began: int = 0  # the decoder was asked for it
    decode_ended: int = 0
    decode_core: int = 0  # ns that all threads of the decoder worked since the frame before, counted in ticks
    available: int = 0  # see Timestamp.available_ns; of a paced frame, when it was due
    filled: int = 0  # it lay in its slot
    taken: int = 0  # by pre
    prepared: int = 0  # and handed to the network
    feed_clock: int = 0  # at `taken`
    pre_core: int = 0
    inferred: int = 0
    composed: int = 0
    finish_clock: int = 0  # at `inferred`
    post_core: int = 0
    delivered: int = 0  # to the caller; 0 for a frame that was replaced by a newer one
    released: int = 0  # by the caller
    call_clock: int = 0  # at `delivered`
    caller_core: int = 0


_TYPE: Final = np.dtype([(field.name, np.int64) for field in fields(FrameStamps)])
_ROW: Final = struct.Struct(f"={len(fields(FrameStamps))}q")  # one row: in half the time of an assignment by NumPy
_SPANS: Final = {
    "wait": ("available", "taken"),
    "pre": ("taken", "prepared"),
    "network": ("prepared", "inferred"),  # queue and inference
    "post": ("inferred", "composed"),
    "deliver": ("delivered", "released"),  # sink or caller
    "latency": ("available", "composed"),
}


def percentiles_ms(values_ns: NDArray[np.int64]) -> dict[str, float]:
    """Summarise durations in nanoseconds as milliseconds; empty input gives an empty summary."""
    if len(values_ns) == 0:
        return {}
    p50, p90, p99 = np.percentile(values_ns, (50, 90, 99)) / 1e6
    mean, largest = float(values_ns.mean()) / 1e6, float(values_ns.max()) / 1e6
    rounded = {"mean": mean, "p50": p50, "p90": p90, "p99": p99, "max": largest}
    return {name: round(float(value), 3) for name, value in rounded.items()}


@final
class Telemetry:
    """Owns the stamps of the last KEPT frames that came out of one stream. Thread-safe."""

    def __init__(self) -> None:
        self._ring = np.zeros(KEPT, _TYPE)
        self._memory = self._ring.view(np.uint8).data
        self._lock = threading.Lock()
        self.count = 0  # frames added so far

    def add(self, s: FrameStamps) -> None:
        """Remember one frame, forgetting the oldest when full."""
        with self._lock:
            _ROW.pack_into(
                self._memory, self.count % KEPT * _ROW.size,
                s.index, s.decode_began, s.decode_ended, s.decode_core, s.available, s.filled, s.taken, s.prepared,
                s.feed_clock, s.pre_core, s.inferred, s.composed, s.finish_clock, s.post_core, s.delivered, s.released,
                s.call_clock, s.caller_core,
            )  # fmt: skip
            self.count += 1

    def frames(self, since: int = 0) -> NDArray[Any]:
        """What is remembered, oldest first: a structured array with FrameStamps' fields as int64.

        Args:
            since: leave out what was added before `count` was this.
        """
        with self._lock:
            first = max(since, self.count - KEPT, 0)
            return self._ring[np.arange(first, self.count) % KEPT]

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Every stage's mean, percentiles and maximum in milliseconds; latency is from available to composed."""
        frames = self.frames()
        return {name: percentiles_ms(_span(frames, *ends)) for name, ends in _SPANS.items()}


def _span(frames: NDArray[Any], start: str, end: str) -> NDArray[np.int64]:
    been: NDArray[Any] = frames[frames[end] > 0]
    length: NDArray[np.int64] = been[end] - been[start]
    return length
