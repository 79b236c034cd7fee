"""Charts of the build report: inline SVG, no scripts, colours from the page's own variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "bars", "strip"]

ROW, LABEL, WIDTH, VALUE = 22, 254, 760, 130  # pixels: of a row, of its label, of the chart, of the figure at its end

LETTERS = 33  # of a label: as many as fit, 7.3 pixels each


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row: a value from 0, with a range when it was measured several times. `kind` is a CSS class."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    kind: str = ""


def bars(rows: Sequence[Bar], *, title: str) -> str:
    """A horizontal bar chart; the title is for those who do not see it."""
    top = max((row.high or row.value for row in rows), default=0.0) or 1.0
    scale = (WIDTH - LABEL - VALUE) / top
    height = ROW * len(rows) + 4
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" class="chart">']
    for number, row in enumerate(rows):
        y = number * ROW + 3
        length = max(row.value * scale, 1.0)
        label = f'<text x="{LABEL - 8}" y="{y + 13}" class="label">{escape(_short(row.label))}</text>'
        parts.append(f"<g><title>{escape(row.label)}</title>{label}</g>")
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{ROW - 6}" class="bar {row.kind}"/>')
        end = length
        if row.low is not None and row.high is not None:
            a, b, middle = LABEL + row.low * scale, LABEL + row.high * scale, y + (ROW - 6) / 2
            parts.append(f'<path d="M{a:.1f} {middle}H{b:.1f}M{a:.1f} {y + 4}v8M{b:.1f} {y + 4}v8" class="range"/>')
            end = max(length, row.high * scale)
        parts.append(f'<text x="{LABEL + end + 6:.1f}" y="{y + 13}" class="figure">{escape(row.text)}</text>')
    return "".join([*parts, "</svg>"])


def strip(kinds: Sequence[tuple[str, str]], *, title: str) -> str:
    """One cell per (name, CSS class), in order: the precision of every layer at a glance."""
    if not kinds:
        return ""
    cell = WIDTH / len(kinds)
    parts = [f'<svg viewBox="0 0 {WIDTH} 24" role="img" aria-label="{escape(title)}" class="chart">']
    for number, (name, kind) in enumerate(kinds):
        width = max(cell - 1, 0.5)
        parts.append(
            f'<rect x="{number * cell:.2f}" y="2" width="{width:.2f}" height="20" class="bar {kind}">'
            f"<title>{escape(name)}: {escape(kind)}</title></rect>"
        )
    return "".join([*parts, "</svg>"])


def _short(label: str) -> str:
    return label if len(label) <= LETTERS else f"…{label[1 - LETTERS :]}"
