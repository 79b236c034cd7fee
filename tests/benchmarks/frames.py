"""Rows of frames whose times are known, as a pipeline would have left them."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from cutline.benchmarks.figures import Ground
from cutline.benchmarks.load import Turn
from cutline.runtime.telemetry import FrameStamps, Telemetry

MS = 1_000_000
PARTS = {"copy": 1.0, "wait": 0.0, "pre": 2.0, "network": 10.0, "post": 4.0, "wait_sink": 0.0, "sink": 3.0}


def paced_rows(
    count: int, period_ms: float, parts: dict[str, float], *, stall: dict[int, float] | None = None, first: int = 0
) -> np.ndarray[Any, Any]:
    """A camera before a worker that does one frame at a time, first come first served, in exactly known times.

    Args:
        stall: further ms in the network, by frame.
    """
    telemetry, free_ms = Telemetry(), 0.0
    for number in range(count):
        due = 1000.0 + number * period_ms
        filled = due + parts["copy"]
        taken = max(filled + parts["wait"], free_ms)
        prepared = taken + parts["pre"]
        inferred = prepared + parts["network"] + (stall or {}).get(number, 0.0)
        composed = inferred + parts["post"]
        delivered = composed + parts["wait_sink"]
        released = delivered + parts["sink"]
        free_ms = released
        telemetry.add(
            FrameStamps(
                index=first + number, decode_began=round((due - 5) * MS), decode_ended=round(due * MS),
                decode_core=5 * MS, available=round(due * MS), filled=round(filled * MS), taken=round(taken * MS),
                prepared=round(prepared * MS), feed_clock=1 + number * 3 * MS, pre_core=2 * MS,
                inferred=round(inferred * MS), composed=round(composed * MS), finish_clock=1 + number * 5 * MS,
                post_core=4 * MS, delivered=round(delivered * MS), released=round(released * MS),
                call_clock=1 + number * 4 * MS, caller_core=3 * MS,
            )
        )  # fmt: skip
    return telemetry.frames()


def turn_of(*streams: np.ndarray[Any, Any], **changes: int) -> Turn:
    """A turn over all frames of these streams."""
    began = min(int(rows["available"].min()) for rows in streams)
    ended = max(int(rows["released"].max()) for rows in streams)
    plain = {"began": began, "ended": ended, "settled": 0, "process_core": 0}
    return Turn(frames=streams, **(plain | changes))


def without(rows: np.ndarray[Any, Any], *numbers: int) -> np.ndarray[Any, Any]:
    """The same frames, but for some that were dropped before anything came of them."""
    return rows[~np.isin(rows["index"], numbers)]


def ground(**changes: Any) -> Ground:
    """A scenario's ground."""
    return Ground(**({"device": "cpu", "precision": "fp32", "width": 64, "height": 36} | changes))


assert len(astuple(FrameStamps())) == len(Telemetry().frames().dtype.names or ())
