"""What a caller may ask of `cutline bench`, and how the time is divided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from cutline.runtime.errors import UsageError
from cutline.runtime.sinks import describe_sink

__all__ = ["BenchOptions", "TimePlan"]

PACE_LIMIT: Final = 1000.0  # frames per second: timers wake up some 0.1 ms late
LEAST_S: Final = 1.0
OUTPUTS: Final = ("null", "display", "video", "events")
MOST: Final = 64  # streams, or samples of a query

# Shares of the duration. At 20 s a camera of 30 fps then gives the 368 frames that p99 needs.
ROUNDS_SHARE: Final = 0.285
PACED_SHARE: Final = 0.62
SCALING_SHARE: Final = 0.095


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """One run of the benchmark."""

    bundle: str = "cutout"
    input: str = "synthetic://"
    device: str = "auto"
    precisions: tuple[str, ...] = ("auto",)
    streams: tuple[int, ...] = (1, 2, 4)  # of the scaling curve; paced and throughput run with the first
    batch: int = 8  # samples of a query in multi stream
    sizes: tuple[tuple[int, int], ...] = ()  # of the scaling curve; all else runs with the first; none: the input's own
    pace: float = 30.0  # frames per second
    duration: float = 20.0  # seconds of measuring in all; the run takes at most twice as long
    output: str = "null://"  # where paced frames go
    allow_unsigned: bool = False

    def __post_init__(self) -> None:
        self._demand(
            math.isfinite(self.duration) and self.duration >= LEAST_S, "duration", f"{LEAST_S:g} seconds or more"
        )
        self._demand(math.isfinite(self.pace) and self.pace > 0, "pace", "frames per second, above 0")
        self._demand(self.pace <= PACE_LIMIT, "pace", f"at most {PACE_LIMIT:g}: timers cannot keep more")
        self._demand(all(1 <= n <= MOST for n in self.streams), "streams", f"numbers from 1 to {MOST}, as in 1,2,4")
        self._demand(1 <= self.batch <= MOST, "batch", f"1 to {MOST} samples")
        self._demand(describe_sink(self.output).kind in OUTPUTS, "output", "null://, display://0, .mp4, .mov or .jsonl")
        for name in ("streams", "precisions"):
            self._demand(len(getattr(self, name)) > 0, name, "at least one")

    def _demand(self, truth: bool, name: str, wanted: str) -> None:
        if not truth:
            given = getattr(self, name)
            raise UsageError(f"{name} is out of range", remedy=f"Give {wanted}.", given=given)


@dataclass(frozen=True, slots=True)
class TimePlan:
    """Seconds for each part of a run."""

    rounds: int  # half of them before the paced turn, half of them after it
    unit_s: float  # of a round; scenarios take WEIGHTS of it
    settle_s: float  # before each turn
    paced_s: float  # of each precision
    paced_settle_s: float
    point_s: float  # of each place on a scaling curve
    cold_starts: int
    warm_starts: int

    @classmethod
    def divide(cls, options: BenchOptions, *, weight: float, points: int) -> TimePlan:
        """Divide the duration.

        Args:
            weight: of all turns of one precision in one round.
            points: on all scaling curves together.
        """
        duration, precisions = options.duration, len(options.precisions)
        rounds = min(10, max(4, int(duration // 6)))
        long = duration >= 60
        return cls(
            rounds=rounds,
            unit_s=ROUNDS_SHARE * duration / rounds / precisions / weight,
            settle_s=0.3 if long else 0.05,
            paced_s=PACED_SHARE * duration / precisions,
            paced_settle_s=1.0 if long else 0.5,
            point_s=SCALING_SHARE * duration / max(1, points),
            cold_starts=3 if long else 1,
            warm_starts=5 if long else 2,
        )
