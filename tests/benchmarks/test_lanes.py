from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cutline.benchmarks.lanes import pack_lanes

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
