"""Charts of the benchmark report: inline SVG, no scripts, colours from the page's own variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cutline.benchmarks.axes import Axis

__all__ = ["Line", "Mark", "Part", "legend", "line_chart", "stacked_bar"]

WIDTH, HEIGHT = 460, 298  # pixels of a line chart
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 20, 46  # its margins
BAR_WIDTH, BAR_HEIGHT = 940, 34
COLOURS = 6  # classes line0 ... of the style sheet, each with a dash pattern of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: values on both axes, and for some of the points the bounds of y."""

    label: str
    points: Sequence[tuple[float, float]]
    bounds: Sequence[tuple[float, float, float]] = ()  # x, low, high
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A value on the x axis that means something, such as a deadline."""

    value: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a stacked bar. `kind` is a CSS class."""

    name: str
    value: float
    kind: str


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, *, title: str, marks: Sequence[Mark] = ()) -> str:
    """Lines over two axes; the title is for those who do not see it."""
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" class="chart">']
    parts += _grid(x, y)
    for mark in marks:
        at = _across(x, mark.value)
        anchor = "start" if at < WIDTH / 2 else "end"
        parts.append(f'<path d="M{at:.1f} {TOP - 6}V{HEIGHT - BOTTOM}" class="mark"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{TOP - 9}" class="tick" text-anchor="{anchor}">{escape(mark.label)}</text>'
        )
    for number, line in enumerate(lines):
        kind = f"line{number % COLOURS}"
        places = [(_across(x, a), _up(y, b)) for a, b in line.points]
        if places:
            way = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
            parts.append(f'<path d="M{way}" class="line {kind}"><title>{escape(line.label)}</title></path>')
        if line.dots:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" class="dot {kind}"/>' for a, b in places]
        for at, low, high in line.bounds:
            across = _across(x, at)
            way = f"M{across:.1f} {_up(y, low):.1f}V{_up(y, high):.1f}"
            parts.append(f'<path d="{way}" class="range {kind}"/>')
    return "".join([*parts, "</svg>"])


def legend(labels: Sequence[str]) -> str:
    """What the lines of a chart are, in their order."""
    items = "".join(
        f'<li><svg viewBox="0 0 26 8" class="key"><path d="M1 4H25" class="line line{i % COLOURS}"/></svg>'
        f"{escape(label)}</li>"
        for i, label in enumerate(labels)
    )
    return f'<ul class="legend">{items}</ul>'


def stacked_bar(parts: Sequence[Part], *, title: str) -> str:
    """Parts end to end over the whole width; a part's figure is written where it fits."""
    whole = sum(part.value for part in parts)
    drawn = [f'<svg viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" aria-label="{escape(title)}" class="chart">']
    at = 0.0
    for part in parts:
        width = BAR_WIDTH * part.value / whole if whole > 0 else 0.0
        drawn.append(
            f'<rect x="{at:.2f}" y="4" width="{width:.2f}" height="{BAR_HEIGHT - 8}" class="{part.kind}">'
            f"<title>{escape(part.name)}: {part.value:.2f} ms</title></rect>"
        )
        text = f"{part.name} {part.value:.1f}"
        if width > 7.2 * len(text) + 6:
            drawn.append(f'<text x="{at + width / 2:.1f}" y="21" class="inside {part.kind}">{escape(text)}</text>')
        at += width
    return "".join([*drawn, "</svg>"])


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    for value, text in y.ticks:
        up = _up(y, value)
        parts.append(f'<path d="M{LEFT} {up:.1f}H{WIDTH - RIGHT}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{up + 4:.1f}" class="tick" text-anchor="end">{escape(text)}</text>')
    for value, text in x.ticks:
        across = _across(x, value)
        parts.append(f'<path d="M{across:.1f} {TOP}V{HEIGHT - BOTTOM}" class="grid"/>')
        below = HEIGHT - BOTTOM + 16
        parts.append(f'<text x="{across:.1f}" y="{below}" class="tick" text-anchor="middle">{escape(text)}</text>')
    centre, bottom = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8
    parts.append(f'<text x="{centre}" y="{bottom}" class="tick" text-anchor="middle">{escape(x.title)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'transform="rotate(-90 12 {middle})"'
    parts.append(f'<text x="12" y="{middle}" class="tick" text-anchor="middle" {turned}>{escape(y.title)}</text>')
    return parts


def _across(x: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * x.place(value)


def _up(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(value)
