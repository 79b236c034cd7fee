"""Puts spans that overlap on lanes beside each other, for the timeline and for Perfetto."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pack_lanes"]

TOUCHING_MS = 1e-6  # ends that are nearer to the next beginning than this do not overlap


def pack_lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Give each (start, end) the first lane, from 0, that is free; as few lanes as the spans allow.

    Returns:
        The lanes in the order of the spans.
    """
    ends: list[float] = []
    lanes = [0] * len(spans)
    for number in sorted(range(len(spans)), key=lambda i: spans[i]):
        start, end = spans[number]
        lane = next((i for i, busy in enumerate(ends) if busy <= start + TOUCHING_MS), len(ends))
        if lane == len(ends):
            ends.append(end)
        ends[lane] = max(end, ends[lane])
        lanes[number] = lane
    return lanes
