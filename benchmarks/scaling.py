"""How the rate changes with the number of streams, the size of frames, and the number of cores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import msgspec

from cutline.benchmarks.clips import SIZES
from cutline.benchmarks.figures import composites_per_s
from cutline.benchmarks.fresh import FreshResult
from cutline.benchmarks.load import Load
from cutline.benchmarks.machine import cores
from cutline.benchmarks.options import BenchOptions
from cutline.benchmarks.schema import Curve, Figure, Point
from cutline.benchmarks.setting import Setting
from cutline.benchmarks.start import fresh_job, run_fresh
from cutline.benchmarks.statistics import figure_of_mean
from cutline.runtime.errors import CutlineError

__all__ = ["count_points", "run_scaling", "scaled_sizes"]

SETTLE_S: Final = 0.15
CORES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
USUAL_SIZES: Final = ((1280, 720), (1920, 1080), (3840, 2160))


@dataclass(frozen=True, slots=True)
class _Place:
    """A point that may be measured. `streams` share the rate."""

    x: float
    label: str
    streams: int
    measure: Callable[[Setting], Figure | None]


def count_points(options: BenchOptions, *, on_gpu: bool) -> int:
    """Places on all curves of one precision."""
    return sum(len(places) for _, places in _curves(options, on_gpu=on_gpu))


def scaled_sizes(options: BenchOptions) -> tuple[tuple[int, int], ...]:
    """The sizes of the curve: those that were asked for, or the usual ones."""
    return options.sizes if len(options.sizes) > 1 else USUAL_SIZES


def run_scaling(setting: Setting) -> list[Curve]:
    """Measure every curve; what the time does not reach, or what fails, is left out by name."""
    found = []
    usual = float(setting.size[0] * setting.size[1])
    known: dict[tuple[int, float], Figure] = {}  # one stream of the usual size lies on two curves
    for over, places in _curves(setting.options, on_gpu=setting.engines.on_gpu):
        points, warnings = [], []
        for place in places:
            if setting.stopping.stopped or setting.left_s < 0:
                warnings.append(f"{place.label} was left out: no time")
                continue
            try:
                key = (place.streams, place.x if over == "size" else usual)
                rate = known.get(key) if over != "cores" else None
                rate = rate or place.measure(setting)
            except CutlineError as error:
                warnings.append(f"{place.label} was left out: {error}")
                continue
            if rate is None:
                warnings.append(f"{place.label} was left out: no rate in so short a time")
            else:
                points.append(_point(place, rate))
                if over != "cores":
                    known[key] = rate
        found.append(Curve(over=over, precision=setting.precision, points=tuple(points), warnings=tuple(warnings)))
    return found


def _curves(options: BenchOptions, *, on_gpu: bool) -> list[tuple[Literal["streams", "size", "cores"], list[_Place]]]:
    sizes = scaled_sizes(options)
    # with a GPU it is not the processor's cores that count
    counts = sorted({*(n for n in CORES if n < cores()), cores()}) if not on_gpu else []
    return [
        ("streams", [_Place(n, str(n), n, partial(_streams, count=n)) for n in options.streams]),
        ("size", [_Place(w * h, _name(w, h), 1, partial(_size, size=(w, h))) for w, h in sizes]),
        ("cores", [_Place(n, str(n), 1, partial(_cores, count=n)) for n in counts]),
    ]  # fmt: skip


def _point(place: _Place, rate: Figure) -> Point:
    figures = {"fps": rate}
    if place.streams > 1:
        shared = {
            name: None if value is None else round(value / place.streams, 3)
            for name, value in (("value", rate.value), ("low", rate.low), ("high", rate.high))
        }
        figures["per_stream"] = msgspec.structs.replace(rate, **shared)
    return Point(x=place.x, label=place.label, figures=figures)


def _streams(setting: Setting, count: int) -> Figure | None:
    load = Load(setting.engines.throughput, [setting.stream("streams", n) for n in range(count)])
    return _rate(setting, load)


def _size(setting: Setting, size: tuple[int, int]) -> Figure | None:
    stream = setting.stream("size", input=str(setting.clip.at_size(size)))
    return _rate(setting, Load(setting.engines.throughput, [stream]))


def _cores(setting: Setting, count: int) -> Figure | None:
    seen = run_fresh(setting, fresh_job(setting, seconds=setting.plan.point_s, cores=count))
    return None if seen is None else _of_process(seen[1])


def _of_process(result: FreshResult) -> Figure | None:
    return figure_of_mean([result.blocks], "fps", "higher", n=result.frames, weights=[result.lengths])


def _rate(setting: Setting, load: Load) -> Figure | None:
    with closing(load), setting.stopping.hears(load):
        turn = load.turn(setting.plan.point_s, SETTLE_S)
    rates, seconds = composites_per_s(turn)
    return figure_of_mean([rates], "fps", "higher", n=sum(map(len, turn.frames)), weights=[seconds])


def _name(width: int, height: int) -> str:
    return next((name for name, size in SIZES.items() if size == (width, height)), f"{width}x{height}")
