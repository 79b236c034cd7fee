from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from cutline.benchmarks.axes import category_axis, linear_axis
from cutline.benchmarks.plot import BAR_WIDTH, HEIGHT, WIDTH, Line, Mark, Part, legend, line_chart, stacked_bar

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
