"""One second of frames drawn through the stages: a lane for each stage, more where frames overlap in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from cutline.benchmarks.schema import STAGES, FrameRecord

__all__ = ["pack_lanes", "timeline"]

ROWS: Final = 4  # the second is broken into so many
SECOND_MS: Final = 1000.0
WIDTH, LABEL, LANE, GAP, HEAD = 940, 74, 9, 3, 16  # pixels: chart, stage names, one lane, between stages, a row's scale
MOST: Final = 8  # lanes of one stage that are drawn; what overlaps more lies on the last

TOUCHING_MS: Final = 1e-6  # ends that are nearer to the next beginning than this do not overlap

Block = tuple[int, float, float, str]  # lane, start and end in ms, CSS class


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


def timeline(trace: Sequence[FrameRecord], *, title: str) -> str:
    """The frames of a trace from its beginning to one second later; other times are cut off."""
    stages = {name: _blocks(trace, name) for name in STAGES}
    stages = {name: blocks for name, blocks in stages.items() if blocks}
    lanes = {name: 1 + max(lane for lane, *_ in blocks) for name, blocks in stages.items()}
    height = HEAD + sum(LANE * n + GAP for n in lanes.values()) + 10
    last = max((end for blocks in stages.values() for _, _, end, _ in blocks), default=0.0)
    rows = min(ROWS, max(1, math.ceil(last * ROWS / SECOND_MS)))
    parts = [f'<svg viewBox="0 0 {WIDTH} {height * rows}" role="img" aria-label="{escape(title)}" class="chart">']
    for row in range(rows):
        parts += _row(row, row * height, trace, stages, lanes)
    return "".join([*parts, "</svg>"])


def _row(
    row: int, top: int, trace: Sequence[FrameRecord], stages: dict[str, list[Block]], lanes: dict[str, int]
) -> list[str]:
    length = SECOND_MS / ROWS
    begin, scale = row * length, (WIDTH - LABEL - 4) / length
    bottom = top + HEAD + sum(LANE * n + GAP for n in lanes.values())

    def across(ms: float) -> float:
        return LABEL + (min(max(ms, begin), begin + length) - begin) * scale

    parts = []
    for tick in range(int(begin), int(begin + length) + 1, 50):
        parts.append(f'<path d="M{across(tick):.1f} {top + HEAD - 3}V{bottom}" class="grid"/>')
        anchor = "end" if tick == begin + length else "middle"
        parts.append(f'<text x="{across(tick):.1f}" y="{top + 10}" class="tick" text-anchor="{anchor}">{tick}</text>')
    due = "".join(
        f"M{across(f.available_ms):.1f} {top + HEAD - 4}v5" for f in trace if begin <= f.available_ms < begin + length
    )
    parts.append(f'<path d="{due}" class="due"/>' if due else "")
    at = top + HEAD
    for name, blocks in stages.items():
        middle = at + LANE * lanes[name] / 2 + 4
        parts.append(f'<text x="{LABEL - 8}" y="{middle:.1f}" class="tick" text-anchor="end">{name}</text>')
        ways: dict[str, list[str]] = {}
        for lane, start, end, kind in blocks:
            if end > begin and start < begin + length:
                left = across(start)
                width = max(across(end) - left, 0.7)
                ways.setdefault(kind, []).append(f"M{left:.1f} {at + LANE * lane}h{width:.1f}v{LANE - 1}h-{width:.1f}z")
        parts += [f'<path d="{"".join(way)}" class="{kind}"/>' for kind, way in ways.items()]
        at += LANE * lanes[name] + GAP
    return parts


def _blocks(trace: Sequence[FrameRecord], stage: str) -> list[Block]:
    """Every frame's span in one stage that touches the second; neighbours in two shades."""
    found = [
        (span.start_ms, span.end_ms, frame)
        for frame in trace
        for span in frame.spans
        if span.stage == stage and span.end_ms > 0 and span.start_ms < SECOND_MS
    ]
    lanes = pack_lanes([(start, end) for start, end, _ in found])
    return [
        (min(lane, MOST - 1), start, end, f"stage {stage}{' odd' if frame.index % 2 else ''}{' lost' * frame.dropped}")
        for lane, (start, end, frame) in zip(lanes, found, strict=True)
    ]
