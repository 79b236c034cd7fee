"""Two results side by side: how much faster the second is, figure by figure, and whether the difference is one.

Scenarios are paired by what was asked of them, figures by name. A ratio above 1 always means that the second is better:
time of the first over time of the second, rate of the second over rate of the first. Its interval is the wider one of
two: from the figures' repeats (Welch's t-interval of the logarithms, where both have at least three), and from the
bounds that each figure has by itself. Where it holds 1, no difference is shown.

Source: B. L. Welch, The generalization of "Student's" problem, Biometrika 34 (1947).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cutline.benchmarks.schema import Document, Figure, Scenario
from cutline.runtime.errors import UsageError

__all__ = ["Comparison", "Row", "compare", "parse_ratio", "show_comparison", "violations"]

LEAST_REPEATS: Final = 3
PLAUSIBLE: Final = (1e-9, 1e12)  # in any unit
NORMAL_975: Final = 1.959964  # quantile of the normal distribution
HEADLINES: Final = {
    "network": "fps", "single stream": "p50", "multi stream": "p50", "paced": "p50", "throughput": "fps",
    "start": "warm",
}  # fmt: skip


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure in both results."""

    scenario: str
    figure: str
    unit: str
    first: float
    second: float
    ratio: float  # above 1: the second is better
    low: float | None  # of the ratio, 95 %; null where nothing is known of the spread
    high: float | None
    verdict: str  # "faster", "slower", "no difference shown"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that two results have in common."""

    first: str
    second: str
    rows: tuple[Row, ...]
    overall: Row | None  # geometric mean of one headline figure of each scenario
    only_in_one: tuple[str, ...]  # scenarios and figures without a twin
    lost: tuple[str, ...]  # those of them that the first had
    warnings: tuple[str, ...]


def compare(first: Document, second: Document, names: tuple[str, str]) -> Comparison:
    """Pair two results.

    Raises:
        UsageError: they have no scenario in common.
    """
    single = all(len({s.precision for s in document.scenarios}) == 1 for document in (first, second))
    # where each result has one precision, to compare these is what is wanted
    left, right = (
        {_blank(s).label if single else s.label: s for s in document.scenarios} for document in (first, second)
    )
    pairs = [(scenario, right[label]) for label, scenario in left.items() if label in right]
    if not pairs:
        raise UsageError(
            "the results have no scenario in common",
            remedy="Measure both with the same options.",
            first=", ".join(left) or None,
            second=", ".join(right) or None,
        )
    rows = tuple(row for a, b in pairs for row in _rows(a, b))
    lost, gained = _missing(left, right), _missing(right, left)
    return Comparison(
        first=names[0],
        second=names[1],
        rows=rows,
        overall=_overall(pairs, rows),
        only_in_one=(*lost, *gained),
        lost=lost,
        warnings=(*_differences(first, second), *(text for a, b in pairs for text in _without_ratio(a, b))),
    )


def _missing(here: Mapping[str, Scenario], there: Mapping[str, Scenario]) -> tuple[str, ...]:
    """Scenarios of one result, and figures in those that both have, which the other result has not."""
    whole = [label for label in here if label not in there]
    single = [
        f"{label}: {name}"
        for label, scenario in here.items()
        if label in there
        for name in scenario.figures
        if name not in there[label].figures
    ]
    return (*whole, *single)


def _without_ratio(a: Scenario, b: Scenario) -> Iterator[str]:
    """Figures that were nothing and are something, or the other way round."""
    for name, x in a.figures.items():
        y = b.figures.get(name)
        if y is not None and x.value != y.value and not _plausible(x.value, y.value):
            yield f"{_blank(a).label}, {name}: {x.value:g} and {y.value:g} {x.unit}, which have no ratio"


def _blank(scenario: Scenario) -> Scenario:
    return msgspec.structs.replace(scenario, precision="")


def parse_ratio(text: str) -> float:
    """Read `ratio<0.95`: the only condition that two results can be held to.

    Raises:
        UsageError: it says something else.
    """
    found = re.fullmatch(r"\s*ratio\s*<\s*(\d+(?:\.\d*)?)\s*", text)
    if found is None:
        raise UsageError(
            "a comparison can only be held to a ratio", remedy='Write it like "ratio<0.95".', condition=text
        )
    return float(found[1])


def violations(found: Comparison, limits: Sequence[float]) -> list[str]:
    """One line for each figure that became surely slower, to below a limit, and for each that is no longer there."""
    slower = [
        f"ratio<{limit:g}: {row.scenario}, {row.figure} has {row.ratio:.3f} ({row.low:.3f}-{row.high:.3f})"
        for limit in limits
        for row in found.rows
        if row.ratio < limit and row.verdict == "slower"
    ]
    gone = [f"cannot be judged, only the first result has it: {text}" for text in found.lost] if limits else []
    return [*slower, *gone]


def _rows(a: Scenario, b: Scenario) -> Iterator[Row]:
    for name, x in a.figures.items():
        y = b.figures.get(name)
        if y is None or x.unit != y.unit or x.better == "neither" or not _plausible(x.value, y.value):
            continue
        spread = _spread(x, y)
        ratio = y.value / x.value if x.better == "higher" else x.value / y.value
        low, high = (ratio / spread, ratio * spread) if spread is not None else (None, None)
        yield _row(a.label, name, x.unit, x.value, y.value, ratio, low, high)


def _plausible(*values: float) -> bool:
    """Whether these can be divided by each other: not nothing, and not what no clock ever told."""
    return all(PLAUSIBLE[0] <= value <= PLAUSIBLE[1] for value in values)


def _row(
    scenario: str, figure: str, unit: str, first: float, second: float, ratio: float, low: float | None,
    high: float | None,
) -> Row:  # fmt: skip
    verdict = "no difference shown"
    if low is not None and high is not None and not low <= 1 <= high:
        verdict = "faster" if ratio > 1 else "slower"
    return Row(
        scenario=scenario, figure=figure, unit=unit, first=first, second=second, ratio=_rounded(ratio), verdict=verdict,
        low=None if low is None else _rounded(low), high=None if high is None else _rounded(high),
    )  # fmt: skip


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _spread(x: Figure, y: Figure) -> float | None:
    """The factor by which the ratio may be off, 95 %; None where nothing is known."""
    found = [f for f in (_spread_of_repeats(x, y), _spread_of_bounds(x, y)) if f is not None]
    return max(found) if found else None


def _spread_of_repeats(x: Figure, y: Figure) -> float | None:
    if min(len(x.repeats), len(y.repeats)) < LEAST_REPEATS or not _plausible(*x.repeats, *y.repeats):
        return None
    errors = [np.var(np.log(f.repeats), ddof=1) / len(f.repeats) for f in (x, y)]
    total = float(sum(errors))
    if total == 0:
        return 1.0
    squares = sum(e**2 / (len(f.repeats) - 1) for e, f in zip(errors, (x, y), strict=True))
    return math.exp(student_975(total**2 / float(squares)) * math.sqrt(total))


def _spread_of_bounds(x: Figure, y: Figure) -> float | None:
    widths = []
    for f in (x, y):
        if f.low is None or f.high is None or not _plausible(f.low, f.high) or f.high < f.low:
            return None
        widths.append(math.log(f.high / f.low) / 2)
    return math.exp(math.hypot(*widths))


def student_975(freedom: float) -> float:
    """The 0.975 quantile of Student's t distribution: Cornish and Fisher's expansion about the normal one.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5. Within 1 % from 3 degrees on.
    """
    z, v = NORMAL_975, max(freedom, 2.0)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v ** (n + 1) for n, term in enumerate(terms))


def _overall(pairs: list[tuple[Scenario, Scenario]], rows: tuple[Row, ...]) -> Row | None:
    """Over scenarios, each with one figure: these differ in kind, so the interval is that of their differences."""
    wanted = {(a.label, HEADLINES.get(a.kind, "")) for a, _ in pairs}
    logs = [math.log(row.ratio) for row in rows if (row.scenario, row.figure) in wanted]
    if not logs:
        return None
    mean, low, high = math.exp(float(np.mean(logs))), None, None
    if len(logs) >= LEAST_REPEATS:
        reach = student_975(len(logs) - 1) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
        low, high = mean / math.exp(reach), mean * math.exp(reach)
    return _row(f"{len(logs)} scenarios", "overall", "ratio", 1.0, mean, mean, low, high)


def _differences(first: Document, second: Document) -> Iterator[str]:
    """What makes the comparison one of unlike things."""
    for name, a, b in (
        ("machine", first.machine.cpu, second.machine.cpu),
        ("cores", first.machine.cores, second.machine.cores),
        ("precision", _precisions(first), _precisions(second)),
        ("model", first.model, second.model),
        ("input", first.input.name, second.input.name),
    ):
        if a != b:
            yield f"another {name}: {_told(a)} and {_told(b)}"
    for document, which in ((first, "first"), (second, "second")):
        if not document.complete:
            yield f"the {which} result was interrupted"
        yield from (f"{which}: {warning}" for warning in document.warnings)


def _precisions(document: Document) -> str:
    return ", ".join(dict.fromkeys(s.precision for s in document.scenarios))


def _told(value: object) -> str:
    name, version = getattr(value, "name", None), getattr(value, "version", None)
    return f"{name} {version}" if name else str(value)


def show_comparison(found: Comparison, console: Console) -> None:
    """Print the table."""
    title = "ratio above 1: the second is better; 95 % interval"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("scenario", "figure"):
        table.add_column(name)
    for name in (found.first, found.second, "ratio", "interval"):
        table.add_column(escape(name), justify="right")
    table.add_column("")
    for row in (*found.rows, *((found.overall,) if found.overall else ())):
        interval = "" if row.low is None else f"{row.low:.3f}-{row.high:.3f}"
        values = (f"{row.first:.4g}", f"{row.second:.4g} {row.unit}") if row.figure != "overall" else ("", "")
        table.add_row(escape(row.scenario), escape(row.figure), *values, f"{row.ratio:.3f}", interval, row.verdict)
    console.print(table)
    for label in found.only_in_one:
        console.print(f"! only in one of them: {label}", soft_wrap=True, markup=False)
    for warning in found.warnings:
        console.print(f"! {warning}", soft_wrap=True, markup=False)
