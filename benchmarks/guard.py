"""Conditions under which a result is a failure, for other people's CI: `p99>33ms`, `file.fps<60`, `ratio<0.95`.

A figure without a scenario before it belongs to the scenario that it is asked of most: percentiles to the paced one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cutline.benchmarks.schema import Document, Figure, Scenario, Unit
from cutline.runtime.errors import UsageError

__all__ = ["Condition", "parse_conditions", "violations"]

# what may be written, the unit of figures that it fits, and the factor to it
UNITS: Final[Mapping[str, tuple[tuple[Unit, ...], float]]] = {
    "ms": (("ms", "core-ms", "s"), 1e-3), "s": (("ms", "core-ms", "s"), 1.0), "us": (("ms", "core-ms", "s"), 1e-6),
    "fps": (("fps",), 1.0), "%": (("ratio",), 0.01), "mib": (("MiB",), 1.0), "mj": (("mJ",), 1.0),
}  # fmt: skip
IN_SECONDS: Final = {"ms": 1e-3, "core-ms": 1e-3, "s": 1.0}
NAMES: Final = re.compile(
    r"(?:(?P<kind>network|single|multi|paced|throughput|file|start)\.)?"
    r"(?P<figure>(?:(?:latency|sink|enqueue|h2d|compute|d2h)\.)?p\d+(?:\.\d+)?|fps|ratio|missed|dropped|cold|warm"
    r"|core_ms|python_ms|memory\.\w+|energy\.\w+)"
)
USUAL: Final = {"fps": "throughput", "ratio": "throughput", "cold": "start", "warm": "start", "memory": "start"}
SHAPE: Final = re.compile(rf"\s*{NAMES.pattern}\s*(?P<sign>[<>])\s*(?P<number>\d+(?:\.\d*)?)\s*(?P<unit>[a-zA-Z%]*)\s*")
EXAMPLE: Final = 'Write it like "p99>33ms", "paced.sink.p90>50ms", "file.fps<60" or "ratio<0.95".'


@dataclass(frozen=True, slots=True)
class Condition:
    """What must not be."""

    text: str
    kind: str  # first word of a scenario's kind; file: throughput to a file
    figure: str
    above: bool  # True: fails above the limit
    limit: float
    unit: str  # of UNITS, or empty: the figure's own

    def concerns(self, scenario: Scenario) -> bool:
        """Whether it is about this scenario."""
        to_file = scenario.kind == "throughput" and scenario.output != "null://"
        return (self.kind == "file") if to_file else scenario.kind.startswith(self.kind)

    def limit_for(self, figure: Figure) -> float:
        """The limit in the figure's unit.

        Raises:
            UsageError: they cannot be compared.
        """
        if not self.unit:
            return self.limit
        fitting, factor = UNITS[self.unit]
        if figure.unit not in fitting:
            raise UsageError(
                "a condition has the wrong unit", remedy=f"{self.figure} is in {figure.unit}.", condition=self.text
            )
        return self.limit * factor / IN_SECONDS.get(figure.unit, 1.0)

    def is_met(self, value: float, limit: float) -> bool:
        """Whether the value is what must not be."""
        return value > limit if self.above else value < limit


def parse_conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Read conditions.

    Raises:
        UsageError: one cannot be understood.
    """
    return tuple(_parse(text) for text in texts)


def violations(document: Document, conditions: Sequence[Condition]) -> list[str]:
    """One line for each condition that is met. One that cannot be judged counts as met: a guard must not sleep.

    Raises:
        UsageError: a unit does not fit its figure.
    """
    return [line for condition in conditions for line in _met(document, condition)]


def _met(document: Document, condition: Condition) -> Iterator[str]:
    concerned = [scenario for scenario in document.scenarios if condition.concerns(scenario)]
    if not concerned:
        yield f"{condition.text}: cannot be judged, no such scenario was measured"
    for scenario in concerned:
        figure = scenario.figures.get(condition.figure) or scenario.figures.get(f"latency.{condition.figure}")
        if figure is None:
            yield f"{condition.text}: cannot be judged, {scenario.label} has no such figure (see its warnings)"
        elif condition.is_met(figure.value, condition.limit_for(figure)):
            yield f"{condition.text}: {scenario.label} has {figure.value:g} {figure.unit}"


def _parse(text: str) -> Condition:
    found = SHAPE.fullmatch(text)
    if found is None or (found["unit"] and found["unit"].lower() not in UNITS):
        raise UsageError("a condition cannot be understood", remedy=EXAMPLE, condition=text)
    return Condition(
        text=text.strip(),
        kind=found["kind"] or USUAL.get(found["figure"].partition(".")[0], "paced"),
        figure=found["figure"],
        above=found["sign"] == ">",
        limit=float(found["number"]),
        unit=found["unit"].lower(),
    )
