"""A result as a trace that Perfetto and Chrome open: frames through the stages, inferences, frames in flight.

Source: Trace Event Format (Chromium). Stamps and durations are microseconds from the trace's first event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from cutline.benchmarks.schema import STAGES, Document, NetworkTime, Scenario
from cutline.benchmarks.timeline import pack_lanes

__all__ = ["trace"]

Event = dict[str, Any]
LANES: Final = 100  # thread numbers of a track
_PHASES: Final = (("enqueue", "Enq"), ("h2d", "H2d"), ("compute", "Compute"), ("d2h", "D2h"))


def trace(document: Document) -> bytes:
    """JSON with one process for each scenario that has frames or inferences, one track for each stage or phase."""
    events: list[Event] = []
    for process, scenario in enumerate(document.scenarios, 1):
        mine = [*_frames(scenario), *_inferences(scenario.times)]
        if mine:
            first = min(event["ts"] for event in mine)
            events.append(_named("process_name", scenario.label, process))
            events += [{**event, "ts": round(event["ts"] - first, 3), "pid": process} for event in mine]
            events += [
                _named("thread_name", _track_name(track), process, track)
                for track in sorted({event["tid"] for event in mine})
            ]
            events += [
                {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": track, "args": {"sort_index": track}}
                for track in sorted({event["tid"] for event in mine})
            ]
    about = {
        "created": document.created, "commit": document.commit, "command": " ".join(document.command),
        "machine": document.machine.cpu, "model": f"{document.model.name} {document.model.version}",
    }  # fmt: skip
    return msgspec.json.encode({"displayTimeUnit": "ms", "otherData": about, "traceEvents": events}) + b"\n"


def _frames(scenario: Scenario) -> Iterator[Event]:
    """Every span, arrows that lead a frame from stage to stage, and how many frames are on the way."""
    for stage_number, stage in enumerate(STAGES):
        found = [(span, frame) for frame in scenario.trace for span in frame.spans if span.stage == stage]
        lanes = pack_lanes([(span.start_ms, span.end_ms) for span, _ in found])
        for lane, (span, frame) in zip(lanes, found, strict=True):
            shared: Event = {
                "name": f"frame {frame.index}", "cat": stage, "tid": LANES * (stage_number + 1) + lane,
                "ts": 1000 * span.start_ms,
            }  # fmt: skip
            facts = {"stream": frame.stream, "frame": frame.index, "dropped": frame.dropped}
            yield {**shared, "ph": "X", "dur": round(1000 * (span.end_ms - span.start_ms), 3), "args": facts}
            if len(frame.spans) > 1:
                phase = "s" if span is frame.spans[0] else "f" if span is frame.spans[-1] else "t"
                bound = {"bp": "e"} if phase == "f" else {}
                arrow = {"ph": phase, "cat": "frame", "id": f"{frame.stream}.{frame.index}", **bound}
                yield {**shared, **arrow}
    for frame in scenario.trace:
        if frame.dropped and frame.spans:
            last = frame.spans[-1]
            track = LANES * (STAGES.index(last.stage) + 1)
            yield {"ph": "i", "s": "p", "name": f"frame {frame.index} dropped", "tid": track, "ts": 1000 * last.end_ms}
    yield from _in_flight(scenario)


def _in_flight(scenario: Scenario) -> Iterator[Event]:
    steps = sorted(
        (stamp, change)
        for frame in scenario.trace
        if frame.spans
        for stamp, change in ((frame.available_ms, 1), (max(s.end_ms for s in frame.spans), -1))
    )
    count = 0
    for stamp, change in steps:
        count += change
        yield {"ph": "C", "name": "frames on the way", "tid": 0, "ts": 1000 * stamp, "args": {"frames": count}}


def _inferences(times: Sequence[NetworkTime]) -> Iterator[Event]:
    for number, (phase, word) in enumerate(_PHASES):
        spans = [(getattr(t, f"start{word}Ms"), getattr(t, f"end{word}Ms")) for t in times]
        lanes = pack_lanes(spans)
        for index, (lane, (start, end)) in enumerate(zip(lanes, spans, strict=True)):
            if phase in ("enqueue", "compute") or end > start:  # a device without copies has none to show
                yield {
                    "ph": "X", "name": f"inference {index}", "cat": phase, "ts": 1000 * start,
                    "dur": round(1000 * (end - start), 3), "tid": LANES * (len(STAGES) + 1 + number) + lane,
                    "args": {"inference": index},
                }  # fmt: skip


def _track_name(track: int) -> str:
    if track < LANES:
        return "frames on the way"
    names = [*STAGES, *(phase for phase, _ in _PHASES)]
    lane = track % LANES
    return names[track // LANES - 1] + (f" {lane + 1}" if lane else "")


def _named(kind: str, name: str, process: int, thread: int = 0) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}
