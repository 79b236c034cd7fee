"""A result as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cutline.benchmarks.schema import Curve, Document, Figure, Scenario
from cutline.benchmarks.statistics import CV_LIMIT, number

__all__ = ["show", "shown"]

LATENCY = ("p50", "p90", "p99", "p99.9")
# figures that have their place elsewhere: a column, or the head of the table of stages
ELSEWHERE = frozenset({*LATENCY, *(f"latency.{q}" for q in LATENCY), "fps", "core_ms", "python_ms"})


def show(document: Document, console: Console) -> None:
    """Print everything that is worth a line."""
    d = document
    head = f"{d.model.name} {d.model.version} on {d.machine.cpu}, {d.machine.cores} cores; {d.input.name}"
    console.print(Text(head), soft_wrap=True)
    console.print(
        f"{d.input.width}x{d.input.height}{', looped' if d.input.looped else ''}; {d.seconds:.0f} s; stamps cost "
        f"{d.instrument.overhead_us:.1f} us a frame{'' if d.complete else '; interrupted: this is what there is'}"
    )
    console.print()
    console.print(_scenarios(d.scenarios))
    for scenario in d.scenarios:
        if scenario.stages:
            console.print()
            console.print(_stages(scenario))
    for curve in d.scaling:
        if curve.points:
            console.print()
            console.print(_curve(curve))
    notes = list(_notes(d))
    if notes:
        console.print()
    for note in notes:
        console.print(Text(f"! {note}"), soft_wrap=True)


def shown(figure: Figure) -> str:
    """A value in three digits, with its bounds."""
    value = number(figure.value)
    if figure.low is None and figure.high is None:
        return value
    low = "" if figure.low is None else number(figure.low)
    high = "..." if figure.high is None else number(figure.high)
    return f"{value} ({low}-{high})"


def _scenarios(scenarios: Sequence[Scenario]) -> Table:
    table = Table(
        box=None, pad_edge=False, title="latency in ms, rate in frames a second, 95 % bounds", title_justify="left"
    )
    table.add_column("scenario")
    for name in (*LATENCY, "fps", "n", "warm-up"):
        table.add_column(name, justify="right")
    table.add_column("more")
    for s in scenarios:
        cells = [_cell(s, name) for name in LATENCY]
        rate = s.figures.get("fps")
        more = ", ".join(_named(name, f) for name, f in s.figures.items() if _is_more(name))
        table.add_row(Text(s.label), *cells, shown(rate) if rate else "", str(s.frames or ""), _warm_up(s), more)
    return table


def _warm_up(scenario: Scenario) -> str:
    """What was left out, in frames where they are known."""
    if scenario.warm_up_frames:
        return str(scenario.warm_up_frames)
    return f"{scenario.warm_up_s:.1f} s" if scenario.warm_up_s else ""


def _named(name: str, figure: Figure) -> str:
    if figure.unit == "ratio" and name != "ratio":
        return f"{name} {100 * figure.value:.1f} %"
    unit = "" if figure.unit in ("ratio", "frames") else f" {figure.unit}"
    value = f"{figure.value:.0f}" if figure.unit == "frames" else number(figure.value)
    return f"{name} {value}{unit}"


def _is_more(name: str) -> bool:
    return name not in ELSEWHERE and not name.startswith("sink.")


def _cell(scenario: Scenario, name: str) -> str:
    found = scenario.figures.get(name) or scenario.figures.get(f"latency.{name}")
    text = shown(found) if found else ""
    sink = scenario.figures.get(f"sink.{name}")
    return f"{text}\nsink {shown(sink)}" if sink else text


def _stages(scenario: Scenario) -> Table:
    whole, python = scenario.figures.get("core_ms"), scenario.figures.get("python_ms")
    title = f"stages: {escape(scenario.label)}"
    if whole is not None and python is not None:
        title += f"; {number(whole.value)} core-ms a frame, Python's share {number(python.value)}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("stage", min_width=len(title) - 40)
    for name in ("median ms", "mean ms", "share", "core-ms", "MB"):
        table.add_column(name, justify="right")
    for stage in scenario.stages:
        table.add_row(
            stage.name,
            number(stage.wall_ms.value),
            number(stage.mean_ms),
            "" if stage.share is None else f"{100 * stage.share:.0f} %",
            "" if stage.core_ms is None else number(stage.core_ms),
            "" if stage.bytes is None else f"{stage.bytes / 1e6:.1f}",
        )
    return table


def _curve(curve: Curve) -> Table:
    table = Table(box=None, pad_edge=False, title=f"scaling over {curve.over}, {curve.precision}", title_justify="left")
    table.add_column(curve.over, min_width=10)
    table.add_column("fps", justify="right")
    table.add_column("of each", justify="right")
    for point in curve.points:
        each = point.figures.get("per_stream")
        table.add_row(point.label, shown(point.figures["fps"]), number(each.value) if each else "")
    return table


def _notes(document: Document) -> Iterator[str]:
    """One line for the run, for each scenario and for each curve that has something to say."""
    yield from document.warnings
    for scenario in document.scenarios:
        told = [*scenario.warnings, *_of_figures(scenario.figures)]
        if told:
            yield f"{scenario.label}: {'; '.join(told)}"
    for curve in document.scaling:
        if curve.warnings:
            yield f"scaling over {curve.over}: {'; '.join(curve.warnings)}"


def _of_figures(figures: Mapping[str, Figure]) -> list[str]:
    """Those that vary too much in one phrase; what else they say, each."""
    varying = [(name, f.cv) for name, f in figures.items() if f.cv is not None and f.cv > CV_LIMIT]
    others = [f"{name} {w}" for name, f in figures.items() for w in f.warnings if not w.startswith("varies by")]
    if not varying:
        return others
    return [
        *others,
        f"repeats vary by up to {100 * max(cv for _, cv in varying):.1f} %: {', '.join(n for n, _ in varying)}",
    ]
