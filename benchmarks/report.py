"""report.html of `cutline bench`: figures, distributions, stages, one second of frames, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cutline.benchmarks.plot import (
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
from cutline.benchmarks.report_style import STYLE
from cutline.benchmarks.report_text import bounded, figure_rows, machine_rows
from cutline.benchmarks.schema import STAGES, Cdf, Curve, Document, Scenario
from cutline.benchmarks.statistics import number
from cutline.benchmarks.timeline import timeline
from cutline.engine.page import page, table

__all__ = ["report"]

_CDFS = {"latency": "available to composite", "sink": "available to sink done"}
# where it does not begin when a frame was available
_LATENCY_OF = {"network": "one inference", "single stream": "taken by pre to composite", "multi stream": "one query"}
_CURVES = {"fps": "frames per second, all streams", "per_stream": "frames per second of a stream"}
_OVER = {"streams": "streams", "size": "frame size", "cores": "cores"}


def report(document: Document) -> str:
    """The whole page. Figures that were not measured have no section."""
    title = f"{document.model.name} {document.model.version} on {document.machine.cpu}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _lead(document),
        _warnings(_said(document)),
        "<h2>Figures</h2>" + _figures(document),
        _distributions(document.scenarios),
        _stages(document.scenarios),
        _timelines(document.scenarios),
        _scaling(document.scaling),
        "<h2>Setting</h2>" + table(["what", "value"], machine_rows(document)),
    ]
    return page(f"{title}: benchmark", body, STYLE)


def _lead(document: Document) -> str:
    command = " ".join(["cutline", "bench", *document.command])
    commit = f" at commit {escape(document.commit)}" if document.commit else ""
    return (
        f'<p class="lead"><code>{escape(command)}</code><br>{escape(document.created)}{commit}, '
        f"{document.seconds:.0f} s, {escape(document.input.name)} at {document.input.width}×{document.input.height}, "
        f"{document.machine.cores} cores.</p>"
    )


def _said(document: Document) -> list[str]:
    """The run's own warnings."""
    interrupted = [] if document.complete else ["interrupted: what was measured until then is here"]
    return [*interrupted, *document.warnings]


def _warnings(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="warn">{items}</ul>' if items else ""


def _figures(document: Document) -> str:
    note = (
        "<p>Bounds hold the true value with 95 % confidence unless another is given. CV is the variation between "
        "repeats. A figure in red may be noise; why stands beside it.</p>"
    )
    head = ["figure", "value", "bounds", "n", "CV", "warnings"]
    return note + table(head, [row for scenario in document.scenarios for row in figure_rows(scenario)])


def _section(title: str, note: str, parts: Iterable[str]) -> str:
    """A heading, a paragraph and what there is; nothing at all where there is nothing."""
    body = "".join(parts)
    return f"<h2>{title}</h2><p>{note}</p>{body}" if body else ""


def _distributions(scenarios: Sequence[Scenario]) -> str:
    """One chart for each kind of scenario: within it, everything that was measured on the same terms."""
    kinds = dict.fromkeys(s.kind for s in scenarios)
    charts = "".join(_distribution([s for s in scenarios if s.kind == kind], kind) for kind in kinds)
    note = (
        "The share of frames that were no slower than so many milliseconds. Every nine has the same height, so that "
        "the slowest can be seen. A line ends where its samples do; frames that never came keep it down."
    )
    return _section("Latency", note, [f'<div class="two">{charts}</div>'] if charts else [])


def _distribution(scenarios: Sequence[Scenario], kind: str) -> str:
    found = [(s, name, cdf) for s in scenarios for name, cdf in s.cdfs.items() if cdf.unit == "ms" and cdf.n > 0]
    if not found:
        return ""
    names = _distinct([s for s, *_ in found])
    lines = [
        Line(
            label=", ".join(part for part in (name, _meaning(s, key)) if part),
            points=_points(s, cdf),
        )
        for name, (s, key, cdf) in zip(names, found, strict=True)
    ]
    periods = sorted({1000 / s.pace_fps for s in scenarios if s.pace_fps})
    marks = [Mark(period, f"one period, {number(period)} ms") for period in periods]
    values = [value for line in lines for value, _ in line.points]
    x, y = span_axis([*values, *periods], "ms"), nines_axis(max(cdf.n for *_, cdf in found), "share")
    chart = line_chart(lines, x, y, title=f"Latency, {kind}", marks=marks)
    return f"<figure><h3>{escape(kind)}</h3>{chart}{legend([line.label for line in lines])}</figure>"


def _points(scenario: Scenario, cdf: Cdf) -> list[tuple[float, float]]:
    """Milliseconds and share of all frames that were due; the distribution is of those alone that came."""
    missed = scenario.figures.get("missed")
    came = min(1.0, cdf.n / missed.n) if missed is not None and missed.n else 1.0
    return [(value, min(came * share, 1 - 1 / cdf.n)) for value, share in zip(cdf.values, cdf.shares, strict=True)]


def _meaning(scenario: Scenario, key: str) -> str:
    return (_LATENCY_OF.get(scenario.kind) if key == "latency" else None) or _CDFS.get(key, key)


def _distinct(scenarios: Sequence[Scenario]) -> list[str]:
    """Labels without the parts that all of them have."""
    parts = [scenario.label.split(", ") for scenario in scenarios]
    shared = set[str](parts[0]).intersection(*parts)
    return [", ".join(part for part in mine if part not in shared) for mine in parts]


def _stages(scenarios: Sequence[Scenario]) -> str:
    note = (
        "Mean milliseconds of a frame from the moment at which it was available to the moment at which the sink was "
        "done with it; each bar is one such time, and of closed loops only what the loop measures. Decoding runs "
        "before that, in a process of its own, and is in the table alone. Core time is what a stage takes from the "
        "processor, wall time what a frame waits for it."
    )
    colours = "".join(
        f'<li><svg viewBox="0 0 10 10" class="swatch"><rect width="10" height="10" class="{name}"/></svg>{name}</li>'
        for name in STAGES[1:]
    )
    tables = [_stage_table(s) for s in scenarios if s.stages]
    return _section("Stages", note, [f'<ul class="legend">{colours}</ul>', *tables] if tables else [])


def _stage_table(scenario: Scenario) -> str:
    rows = [
        [
            stage.name,
            *bounded(stage.wall_ms),
            f"{stage.mean_ms:.2f}",
            "" if stage.share is None else f"{stage.share:.1%}",
            "" if stage.core_ms is None else f"{stage.core_ms:.2f}",
            "" if stage.bytes is None else f"{stage.bytes / 1e6:.2f}",
        ]
        for stage in scenario.stages
    ]
    parts = [Part(name=s.name, value=s.mean_ms, kind=s.name) for s in scenario.stages if s.name != "decode"]
    bar = stacked_bar(parts, title=f"Stages, {scenario.label}")
    total = number(sum(part.value for part in parts))
    head = ["stage", "median", "bounds", "mean ms", "share", "core-ms", "MB moved"]
    return f'<h3>{escape(scenario.label)} <span class="dim">{total} ms</span></h3>{bar}{table(head, rows)}'


def _timelines(scenarios: Sequence[Scenario]) -> str:
    note = (
        "Milliseconds. Each stage has a row, and more where it holds several frames at once; neighbouring frames have "
        "two shades. The strokes above are when frames were available, or due; a frame with a red edge was replaced by "
        "a newer one before the sink took it."
    )
    return _section("One second of frames", note, map(_timeline, (s for s in scenarios if s.trace)))


def _timeline(scenario: Scenario) -> str:
    drawn = timeline(scenario.trace, title=f"One second of frames, {scenario.label}")
    return f"<h3>{escape(scenario.label)}</h3>{drawn}"


def _scaling(curves: Sequence[Curve]) -> str:
    parts = []
    for over in dict.fromkeys(c.over for c in curves):
        mine = [c for c in curves if c.over == over]
        parts.append(_warnings(f"{_OVER[over]}, {c.precision}: {'; '.join(c.warnings)}" for c in mine if c.warnings))
        charts = "".join(_curve(mine, over, figure) for figure in _CURVES)
        parts.append(f'<div class="two">{charts}</div>' if charts else "")
    return _section("Scaling", "Strokes are 95 % bounds, where there are enough frames for them.", parts)


def _curve(curves: Sequence[Curve], over: str, figure: str) -> str:
    """One figure of all precisions against what grows."""
    places = {p.label: p.x for c in curves for p in c.points}
    labels = sorted(places, key=lambda label: places[label])
    lines = []
    for curve in curves:
        seen = [(float(labels.index(p.label)), p.figures[figure]) for p in curve.points if figure in p.figures]
        if seen:
            bounds = [(x, f.low, f.high) for x, f in seen if f.low is not None and f.high is not None]
            points = [(x, f.value) for x, f in seen]
            lines.append(Line(label=curve.precision, points=points, bounds=bounds, dots=True))
    if not lines:
        return ""
    tops = [y for line in lines for y in (*(p[1] for p in line.points), *(b[2] for b in line.bounds))]
    x, y = category_axis(labels, _OVER[over]), linear_axis(tops, "fps")
    title = f"{_CURVES[figure]}, by {_OVER[over]}"
    chart = line_chart(lines, x, y, title=title)
    return f"<figure><h3>{escape(title)}</h3>{chart}{legend([line.label for line in lines])}</figure>"
