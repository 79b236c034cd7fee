"""Figures of the benchmark report in words: cells of its tables, as HTML."""

from __future__ import annotations

from html import escape

from cutline.benchmarks.schema import Document, Figure, Scenario
from cutline.benchmarks.statistics import CV_LIMIT, number

__all__ = ["bounded", "figure_rows", "machine_rows"]


def bounded(figure: Figure) -> list[str]:
    """Value with unit, and bounds."""
    value = _nowrap(_with_unit(figure))
    if figure.low is None and figure.high is None:
        return [value, ""]
    percent = "" if figure.confidence == 0.95 else f" ({figure.confidence:.0%})"
    scale = 100 if figure.unit == "ratio" and figure.better == "lower" else 1
    low, high = ("…" if bound is None else number(scale * bound) for bound in (figure.low, figure.high))
    return [value, _nowrap(f"{low} – {high}{percent}")]


def figure_rows(scenario: Scenario) -> list[list[str]]:
    """The scenario in a row of its own, then a row for each figure: name, value, bounds, n, CV and warnings."""
    rows = [[_scenario(scenario)]]
    for name, figure in scenario.figures.items():
        noisy = bool(figure.warnings) or (figure.cv is not None and figure.cv > CV_LIMIT)
        value, bounds = bounded(figure)
        rows.append(
            [
                f'<code class="number">{escape(name)}</code>',
                f'<span class="bad">{value}</span>' if noisy else value,
                bounds,
                str(figure.n),
                "" if figure.cv is None else f"{figure.cv:.1%}",
                f'<span class="warn">{escape("; ".join(figure.warnings))}</span>' if figure.warnings else "",
            ]
        )
    return rows


def machine_rows(document: Document) -> list[list[str]]:
    """What was measured, on what, by what."""
    machine, model, given, instrument = document.machine, document.model, document.input, document.instrument
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    frames = f", {given.frames} frames{', looped' if given.looped else ''}" if given.frames else ""
    rows = {
        "processor": f"{machine.cpu}, {machine.cores} cores{', virtual' if machine.virtual else ''}",
        "graphics": ", ".join(machine.gpus),
        "memory": f"{machine.memory_mib} MiB",
        "frequency governor": machine.governor or "",
        "load before": "" if machine.load_before is None else f"{machine.load_before:.2f} runnable, mean of a minute",
        "others before": "" if machine.busy_before is None else f"{machine.busy_before:.0%} of the processor",
        "system": f"{machine.system}, Python {machine.python}, kernels {machine.kernels}",
        "versions": versions,
        "network": f"{model.name} {model.version}, {model.width}×{model.height}",
        "input": f"{given.name}, {given.width}×{given.height}{frames}{', ' + given.decoder if given.decoder else ''}",
        "instrument": f"{instrument.overhead_us:.1f} µs a frame, steps of the clock {instrument.clock_ns:.0f} ns",
    }
    return [[escape(name), escape(text)] for name, text in rows.items() if text]


def _with_unit(figure: Figure) -> str:
    if figure.unit == "ratio":
        return f"{100 * figure.value:.2f} %" if figure.better == "lower" else f"{figure.value:.2f} ×"
    if figure.unit == "frames":
        return f"{figure.value:g} frames"
    return f"{number(figure.value)} {figure.unit}"


def _scenario(scenario: Scenario) -> str:
    """Its label, what was measured of it, and what was left out."""
    facts = [
        f"{scenario.frames} frames" if scenario.frames else "",
        f"{number(scenario.seconds)} s" if scenario.seconds else "",
        f"{scenario.repeats} repeats" if scenario.repeats > 1 else "",
        f"after {scenario.warm_up_frames} to warm up" if scenario.warm_up_frames else "",
    ]
    warning = f'<br><span class="dim">{escape("; ".join(scenario.warnings))}</span>' if scenario.warnings else ""
    return f'<b>{escape(scenario.label)}</b> <span class="dim">{", ".join(f for f in facts if f)}</span>{warning}'


def _nowrap(text: str) -> str:
    return f'<span class="number">{escape(text)}</span>'
