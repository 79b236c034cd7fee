"""Axes of the charts: where a value lies between 0 and 1, and which values are written beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "category_axis", "linear_axis", "nines_axis", "span_axis"]

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
