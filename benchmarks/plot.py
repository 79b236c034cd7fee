"""Charts of the benchmark report: inline SVG, no scripts, colours from the page's own variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "Axis", "Line", "Mark", "Part", "category_axis", "legend", "line_chart", "linear_axis", "nines_axis", "span_axis",
    "stacked_bar",
]  # fmt: skip

WIDTH, HEIGHT = 460, 298  # pixels of a line chart
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 20, 46  # its margins
BAR_WIDTH, BAR_HEIGHT = 940, 34
COLOURS = 6  # classes line0 ... of the style sheet, each with a dash pattern of its own
WIDE = 30.0  # greatest / least value from which on an axis is logarithmic
TICKS = 6  # about so many


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a chart."""

    title: str
    ticks: tuple[tuple[float, str], ...]  # value, text
    place: Callable[[float], float]  # value -> 0..1


def linear_axis(values: Sequence[float], title: str) -> Axis:
    """From 0 to a round number above the greatest value."""
    greatest = max(values, default=0.0)
    greatest = greatest if greatest > 0 else 1.0
    step = _step(greatest)
    count = math.ceil(greatest / step - 1e-9)
    top = step * count
    return Axis(title, tuple((step * i, f"{step * i:g}") for i in range(count + 1)), lambda v: v / top)


def span_axis(values: Sequence[float], title: str) -> Axis:
    """Linear from 0, or logarithmic where the greatest value is many times the least above 0."""
    above = [v for v in values if v > 0]
    if not above or max(above) / min(above) < WIDE:
        return linear_axis(values, title)
    low, high = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
    least = 10.0**low
    ticks = tuple((10.0**e, f"{10.0**e:g}") for e in range(low, high + 1))
    return Axis(title, ticks, lambda v: (math.log10(max(v, least)) - low) / max(1, high - low))


def nines_axis(n: int, title: str) -> Axis:
    """Shares 0..1 by their nines: 0, 90 %, 99 %, 99.9 % are equally far apart; up to what n samples can tell."""
    top = max(1.0, math.log10(n)) if n > 0 else 1.0

    def place(share: float) -> float:
        return min(top, -math.log10(max(1 - share, 10**-top))) / top

    shown = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %")]
    shown += [
        (1 - 10.0**-e, f"99{'.' if e > 2 else ''}{'9' * (e - 2)} %") for e in range(2, math.floor(top + 1e-9) + 1)
    ]
    return Axis(title, tuple(shown), place)


def category_axis(labels: Sequence[str], title: str) -> Axis:
    """Labels at equal distances; the value is a label's number."""
    last = max(1, len(labels) - 1)
    margin = 0.06
    ticks = tuple((float(i), label) for i, label in enumerate(labels))
    return Axis(title, ticks, lambda v: margin + (1 - 2 * margin) * v / last)


def _step(top: float) -> float:
    """1, 2 or 5 times a power of ten, so that about TICKS of them reach the top."""
    rough = top / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))


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
