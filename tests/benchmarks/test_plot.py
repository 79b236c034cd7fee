from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutline.benchmarks.plot import (
    BAR_WIDTH,
    HEIGHT,
    WIDTH,
    Axis,
    Line,
    Mark,
    Part,
    category_axis,
    legend,
    line_chart,
    linear_axis,
    nines_axis,
    span_axis,
    stacked_bar,
)

X, Y = linear_axis([10.0], "ms"), linear_axis([100.0], "fps")


def test_points_lie_where_their_values_are() -> None:
    drawn = ET.fromstring(line_chart([Line(label="a <b>", points=[(0, 0), (5, 50), (10, 100)])], X, Y, title='"T"'))
    (way,) = [e.get("d", "") for e in drawn.iter("path") if "line0" in e.get("class", "")]
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, p.split())) for p in way[1:].split("L")]
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert 0 < x0 < x2 < WIDTH
    assert 0 < y2 < y0 < HEIGHT  # up is more
    assert drawn.get("aria-label") == '"T"'


def test_bounds_and_marks_are_drawn() -> None:
    line = Line(label="int8", points=[(0, 50)], bounds=[(0, 40, 60)], dots=True)
    text = line_chart([line], category_axis(["720p"], "size"), Y, title="t", marks=[Mark(0, "a & b")])
    drawn = ET.fromstring(text)
    kinds = [e.get("class", "") for e in drawn.iter()]
    assert "range line0" in kinds
    assert "dot line0" in kinds
    assert "mark" in kinds
    assert "a &amp; b" in text


def test_parts_of_a_bar_fill_their_share_of_it() -> None:
    parts = [Part(name="pre", value=1.0, kind="pre"), Part(name="network", value=17.0, kind="network")]
    drawn = ET.fromstring(stacked_bar(parts, title="t"))
    first, second = [(float(r.get("x", "")), float(r.get("width", ""))) for r in drawn.iter("rect")]
    assert first == (0, pytest.approx(BAR_WIDTH / 18, abs=0.01))
    assert second == (pytest.approx(first[1], abs=0.01), pytest.approx(BAR_WIDTH * 17 / 18, abs=0.01))
    assert [t.text for t in drawn.iter("text")] == ["network 17.0"]  # the other one has no room for its name


def test_a_bar_of_nothing_is_empty() -> None:
    assert re.findall(r'width="0.00"', stacked_bar([Part(name="pre", value=0.0, kind="pre")], title="t"))


def test_a_legend_names_lines_in_their_order() -> None:
    found = legend(["bf16", "<fp32>"])
    assert found.index("line0") < found.index("bf16") < found.index("line1") < found.index("&lt;fp32&gt;")


positive = st.floats(1e-6, 1e9)


def check(axis: Axis, values: list[float]) -> None:
    """Everything lies on the axis, in its order, and ticks are where their values are."""
    places = [axis.place(v) for v in sorted(values)]
    assert all(-1e-9 <= p <= 1 + 1e-9 for p in places)
    assert places == sorted(places)
    ticks = [axis.place(v) for v, _ in axis.ticks]
    assert ticks == sorted(ticks)
    assert ticks[0] >= -1e-9
    assert ticks[-1] <= 1 + 1e-9


@given(st.lists(positive, min_size=1, max_size=9))
def test_every_value_lies_on_a_linear_axis(values: list[float]) -> None:
    axis = linear_axis(values, "ms")
    check(axis, values)
    assert 3 <= len(axis.ticks) <= 12
    assert axis.place(max(values)) > 0.5  # no more room than the next round number wants
    assert axis.ticks[0] == (0.0, "0")


@given(st.lists(positive, min_size=1, max_size=9))
def test_every_value_lies_on_an_axis_over_decades(values: list[float]) -> None:
    check(span_axis(values, "ms"), values)


def test_values_far_apart_get_a_logarithmic_axis() -> None:
    axis = span_axis([1.0, 10.0, 1000.0], "ms")
    assert axis.place(10) == pytest.approx(1 / 3)
    assert [text for _, text in axis.ticks] == ["1", "10", "100", "1000"]
    assert span_axis([10.0, 20.0], "ms").place(0) == 0


def test_each_nine_is_equally_high() -> None:
    axis = nines_axis(10000, "share")
    assert [axis.place(s) for s in (0, 0.9, 0.99, 0.999, 0.9999)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert axis.place(1.0) == 1  # the slowest of all: as far as the samples reach
    assert [text for _, text in axis.ticks] == ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    check(axis, [0.0, 0.3, 0.99, 1.0])


@given(st.integers(0, 10**7))
def test_shares_beyond_the_samples_have_no_tick(n: int) -> None:
    axis = nines_axis(n, "share")
    assert all(1 - share >= 0.999 / max(n, 10) for share, _ in axis.ticks)
    assert [text for _, text in nines_axis(900, "share").ticks][-1] == "99 %"


@given(st.lists(st.text(max_size=3), min_size=1, max_size=8))
def test_categories_keep_their_order(labels: list[str]) -> None:
    check(category_axis(labels, "size"), [float(i) for i in range(len(labels))])


def test_no_values_make_an_axis_all_the_same() -> None:
    assert linear_axis([], "ms").place(0) == 0
    assert linear_axis([0.0], "ms").place(0) == 0
