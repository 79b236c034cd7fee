from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from bench_example import example

from cutline.benchmarks.perfetto import trace
from cutline.benchmarks.schema import Document, FrameRecord, Span

Events = list[dict[str, Any]]


def events(document: Document) -> Events:
    return list(json.loads(trace(document))["traceEvents"])


def of_phase(found: Events, phase: str) -> Events:
    return [event for event in found if event["ph"] == phase]


def test_every_span_and_inference_is_a_slice() -> None:
    document = example()
    spans = sum(len(f.spans) for s in document.scenarios for f in s.trace)
    phases = 4 * sum(len(s.times) for s in document.scenarios)
    slices = of_phase(events(document), "X")
    assert len(slices) == spans + phases
    first = next(f for s in document.scenarios for f in s.trace)
    network = next(span for span in first.spans if span.stage == "network")
    drawn = next(e for e in slices if e["cat"] == "network" and e["args"]["frame"] == first.index)
    assert drawn["dur"] == pytest.approx(1000 * (network.end_ms - network.start_ms), abs=0.001)


def test_slices_of_a_track_do_not_overlap() -> None:
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in of_phase(events(crowded()), "X"):
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert len(tracks) == 8 + 4  # one for each frame that is in the network at once
    for spans in tracks.values():
        assert all(before[1] <= after[0] + 0.002 for before, after in pairwise(sorted(spans)))


def crowded() -> Document:
    """Five frames that are in the network together, one of them never delivered."""
    frames = []
    for i in range(5):
        stages = ("decode", "copy", "wait", "pre", "network", "post", "wait_sink", "sink")[: 6 if i == 3 else 8]
        spans, at = [], 10.0 * i - 8
        for stage in stages:
            length = 45.0 if stage == "network" else 1.0
            spans.append(Span(stage=stage, start_ms=at, end_ms=at + length))
            at += length
        frames.append(
            FrameRecord(stream=0, index=i, available_ms=spans[1].start_ms, spans=tuple(spans), dropped=i == 3)
        )
    paced = next(s for s in example().scenarios if s.trace)
    return msgspec.structs.replace(example(), scenarios=(msgspec.structs.replace(paced, trace=tuple(frames)),))


def test_stamps_begin_at_zero_although_decoding_began_before() -> None:
    stamps = [e["ts"] for e in events(crowded()) if "ts" in e]
    assert min(stamps) == 0


def test_an_arrow_leads_each_frame_from_its_first_stage_to_its_last() -> None:
    found = events(crowded())
    for index in range(5):
        steps = sorted((e for e in found if e.get("id") == f"0.{index}"), key=lambda e: e["ts"])
        assert "".join(e["ph"] for e in steps) == "s" + "t" * (4 if index == 3 else 6) + "f"
        assert steps[-1]["bp"] == "e"


def test_frames_on_the_way_are_counted_up_and_down() -> None:
    counts = [e["args"]["frames"] for e in of_phase(events(crowded()), "C")]
    assert max(counts) == 5
    assert counts[-1] == 0


def test_a_dropped_frame_is_marked_where_it_ended() -> None:
    (mark,) = of_phase(events(crowded()), "i")
    assert mark["name"] == "frame 3 dropped"


def test_every_track_has_a_name_and_a_place() -> None:
    found = events(example())
    used = {(e["pid"], e["tid"]) for e in found if e["ph"] != "M"}
    named = {(e["pid"], e["tid"]): e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert used == set(named)
    processes = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    assert set(processes) == {pid for pid, _ in used}
    assert set(processes.values()) == {s.label for s in example().scenarios if s.trace or s.times}
    assert {"decode", "network", "sink", "enqueue", "h2d", "compute", "d2h"} <= set(named.values())


def test_a_device_without_copies_shows_none() -> None:
    document = example()
    network = document.scenarios[0]
    times = tuple(
        msgspec.structs.replace(t, startH2dMs=t.startComputeMs, endH2dMs=t.startComputeMs, startD2hMs=t.endComputeMs,
                                endD2hMs=t.endComputeMs) for t in network.times
    )  # fmt: skip
    alone = msgspec.structs.replace(document, scenarios=(msgspec.structs.replace(network, times=times),))
    assert {e["cat"] for e in of_phase(events(alone), "X")} == {"enqueue", "compute"}


def test_a_result_without_frames_is_an_empty_trace() -> None:
    empty = msgspec.structs.replace(example(), scenarios=())
    document = json.loads(trace(empty))
    assert document["traceEvents"] == []
    assert document["otherData"]["machine"] == example().machine.cpu
