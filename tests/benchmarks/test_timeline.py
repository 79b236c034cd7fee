from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from bench_example import example
from hypothesis import given
from hypothesis import strategies as st

from cutline.benchmarks.schema import FrameRecord, Span
from cutline.benchmarks.timeline import HEAD, LABEL, LANE, MOST, WIDTH, pack_lanes, timeline


def record(index: int, *spans: tuple[str, float, float], dropped: bool = False) -> FrameRecord:
    found = tuple(Span(stage=s, start_ms=a, end_ms=b) for s, a, b in spans)
    return FrameRecord(stream=0, index=index, available_ms=found[0].start_ms, spans=found, dropped=dropped)


def boxes(text: str, kind: str) -> list[tuple[float, float, float]]:
    """x, y and width of every span drawn with exactly these classes."""
    drawn = ET.fromstring(text)
    ways = [e.get("d", "") for e in drawn.iter("path") if e.get("class") == kind]
    found = [re.fullmatch(r"M([\d.]+) ([\d.]+)h([\d.]+)v\d+h-[\d.]+", part) for w in ways for part in w.split("z")[:-1]]
    assert all(found)
    return [(float(m[1]), float(m[2]), float(m[3])) for m in found if m]


def draw(*records: FrameRecord) -> str:
    return timeline(records, title="one & all")


def scale() -> float:
    return (WIDTH - LABEL - 4) / 250


def test_a_span_is_as_long_as_it_took() -> None:
    ((x, y, width),) = boxes(draw(record(0, ("network", 100.0, 150.0))), "stage network")
    assert abs(x - (LABEL + 100 * scale())) < 0.1
    assert abs(width - 50 * scale()) < 0.1
    assert y == HEAD


def test_a_span_over_the_end_of_a_row_goes_on_in_the_next() -> None:
    first, second = boxes(draw(record(0, ("network", 240.0, 260.0))), "stage network")
    assert abs(first[2] - 10 * scale()) < 0.2
    assert abs(second[2] - 10 * scale()) < 0.2
    assert second[0] == LABEL
    assert second[1] > first[1]


def test_frames_at_once_in_a_stage_lie_below_each_other_in_two_shades() -> None:
    text = draw(record(0, ("network", 0.0, 20.0)), record(1, ("network", 10.0, 30.0)))
    ((_, upper, _),) = boxes(text, "stage network")
    ((_, lower, _),) = boxes(text, "stage network odd")
    assert lower == upper + LANE


def test_a_frame_that_was_dropped_has_an_edge() -> None:
    assert boxes(draw(record(2, ("pre", 0.0, 5.0), dropped=True)), "stage pre lost")


def test_what_lies_outside_the_second_is_cut_off() -> None:
    text = draw(
        record(0, ("decode", -9.0, -1.0)), record(1, ("decode", -5.0, 5.0)), record(2, ("decode", 998.0, 1200.0))
    )
    found = boxes(text, "stage decode") + boxes(text, "stage decode odd")
    assert len(found) == 2
    assert all(x >= LABEL and x + width <= WIDTH for x, _, width in found)


def test_very_many_frames_at_once_stay_in_a_bounded_height() -> None:
    text = draw(*[record(2 * i, ("wait", 0.0, 50.0)) for i in range(40)])
    assert len({y for _, y, _ in boxes(text, "stage wait")}) == MOST


def test_the_example_is_whole() -> None:
    trace: Sequence[FrameRecord] = next(s.trace for s in example().scenarios if s.trace)
    text = timeline(trace, title="t")
    assert text.count("stage network") >= 8  # both shades in every row
    due = re.findall(r'd="([^"]*)" class="due"', text)
    assert sum(way.count("M") for way in due) == len(trace)


def test_no_frames_make_an_empty_picture() -> None:
    assert "stage" not in timeline([], title="t")


def test_frames_of_another_second_take_no_room() -> None:
    now = record(0, ("decode", 1.0, 5.0))
    later = [record(i, ("decode", 1001.0, 1100.0)) for i in (1, 2)]
    assert draw(now, *later) == draw(now)


def test_a_short_trace_has_no_empty_rows() -> None:
    height = {end: float(draw(record(0, ("pre", 0.0, end))).split('"')[1].split()[3]) for end in (200.0, 300.0, 900.0)}
    assert height[300.0] == 2 * height[200.0]
    assert height[900.0] == 4 * height[200.0]


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda s: (float(s[0]), float(s[0] + s[1]))))


@given(spans)
def test_no_two_spans_overlap_on_a_lane(found: list[tuple[float, float]]) -> None:
    lanes = pack_lanes(found)
    for lane in set(lanes):
        on_it = sorted(span for span, mine in zip(found, lanes, strict=True) if mine == lane)
        assert all(before[1] <= after[0] for before, after in pairwise(on_it))


@given(spans)
def test_there_are_no_more_lanes_than_spans_at_one_moment(found: list[tuple[float, float]]) -> None:
    long = [(start, end) for start, end in found if end > start]
    together = max((sum(a <= start < b for a, b in long) for start, _ in long), default=0)
    assert len(set(pack_lanes(long))) == together


def test_a_span_may_begin_where_another_ends() -> None:
    assert pack_lanes([(10.0, 20.0), (0.0, 10.0000000001)]) == [0, 0]
    assert pack_lanes([]) == []
