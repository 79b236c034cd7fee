"""Per-frame durations of one stream, in memory that was taken before the first frame."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["STAGES", "Durations", "Telemetry", "percentiles_ms"]

KEPT: Final = 65536  # frames remembered: 36 minutes at 30 fps, 512 KiB a stage
STAGES: Final = ("wait", "pre", "network", "post", "deliver", "latency")
"""wait: available to pre. network: queue and inference. deliver: sink or caller. latency: available to composed."""


def percentiles_ms(values_ns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, float]:
    """Summarise durations in nanoseconds as milliseconds; empty input gives an empty summary."""
    if len(values_ns) == 0:
        return {}
    p50, p90, p99 = np.percentile(values_ns, (50, 90, 99)) / 1e6
    mean, largest = float(values_ns.mean()) / 1e6, float(values_ns.max()) / 1e6
    rounded = {"mean": mean, "p50": p50, "p90": p90, "p99": p99, "max": largest}
    return {name: round(float(value), 3) for name, value in rounded.items()}


class Durations:
    """Owns a ring of the last KEPT durations in nanoseconds. One thread writes."""

    def __init__(self) -> None:
        self._ring = np.zeros(KEPT, np.int64)
        self._count = 0

    def add(self, nanoseconds: int) -> None:
        """Remember one duration, forgetting the oldest when full."""
        self._ring[self._count % KEPT] = nanoseconds
        self._count += 1

    def values(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """What is remembered, in no order that matters."""
        return self._ring[: min(self._count, KEPT)].copy()

    def summary_ms(self) -> dict[str, float]:
        """Mean, percentiles and maximum in milliseconds."""
        return percentiles_ms(self.values())


class Telemetry:
    """Owns the durations of every stage of one stream."""

    def __init__(self) -> None:
        self.stages = {name: Durations() for name in STAGES}

    def summary_ms(self) -> dict[str, dict[str, float]]:
        """Every stage's summary in milliseconds."""
        return {name: stage.summary_ms() for name, stage in self.stages.items()}
