"""From what the turns of a scenario gave to the scenario's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.load import Turn
from cutline.benchmarks.network import Inference, Rate
from cutline.benchmarks.schema import STAGES, Cdf, Figure, NetworkTime, Scenario, ScenarioKind, Stage, Unit
from cutline.benchmarks.stages import stage_table, trace
from cutline.benchmarks.statistics import (
    cdf,
    figure_of_mean,
    figure_of_quantile,
    label_of,
    samples_needed,
)

__all__ = ["Ground", "composites_per_s", "latencies", "network", "paced", "queries", "throughput"]

BLOCK_NS: Final = 50_000_000  # of a rate
PARTS: Final = 5  # repeats into which one long turn is divided
EXPORTED: Final = 1000  # inferences that are written out
KEPT_QUANTILES: Final = (0.5, 0.9, 0.99)
PACED_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)

Rows = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What all figures of a scenario stand on."""

    device: str
    precision: str
    streams: int = 1
    width: int
    height: int
    output: str = "null://"
    warm_up_s: float = 0.0
    warnings: tuple[str, ...] = ()  # of the machine
    energy_mj: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)  # bytes a frame, by stage

    def scenario(self, kind: ScenarioKind, warnings: Sequence[str] = (), **fields: Any) -> Scenario:
        """A scenario of these facts."""
        return Scenario(
            kind=kind, device=self.device, precision=self.precision, streams=self.streams, width=self.width,
            height=self.height, output=self.output, warm_up_s=round(self.warm_up_s, 3),
            warnings=(*self.warnings, *warnings), **fields,
        )  # fmt: skip


@dataclass
class _Figures:
    """Collects figures, and why some are not there."""

    found: dict[str, Figure] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def put(self, name: str, figure: Figure | None) -> None:
        if figure is not None:
            self.found[name] = figure

    def quantiles(
        self, parts: Sequence[NDArray[Any]], quantiles: Sequence[float], prefix: str = "", things: str = "frames"
    ) -> None:
        count = sum(len(part) for part in parts)
        lost = sum(int(np.isinf(part).sum()) for part in parts)
        short = []
        for q in quantiles:
            name = prefix + label_of(q)
            figure = figure_of_quantile(parts, q)
            self.put(name, figure)
            if figure is None and count < samples_needed(q):
                short.append(f"{name} ({samples_needed(q)})")
            elif figure is None:
                self.missing.append(f"{name} has no value: {lost} of {count} {things} never came")
        if short:
            self.missing.append(f"{count} {things} are too few for {', '.join(short)}")

    def plain(self, name: str, value: float | None, unit: Unit, n: int) -> None:
        if value is not None:
            self.put(name, Figure(value=float(f"{value:.6g}"), unit=unit, better="lower", n=n))


def network(ground: Ground, singles: Sequence[Sequence[Inference]], rates: Sequence[Rate]) -> Scenario:
    """trtexec's figures: latency, H2D, compute, D2H and enqueue one at a time; the rate with the device kept full."""
    figures = _Figures()
    parts = {
        "latency": [np.array([i.total_ms for i in turn]) for turn in singles],
        "enqueue": [np.array([(i.enqueued - i.start) / 1e6 for i in turn]) for turn in singles],
        "h2d": [np.array([i.h2d_ms for i in turn]) for turn in singles],
        "compute": [np.array([i.total_ms - i.h2d_ms - i.d2h_ms for i in turn]) for turn in singles],
        "d2h": [np.array([i.d2h_ms for i in turn]) for turn in singles],
    }
    figures.quantiles(parts.pop("latency"), KEPT_QUANTILES, "latency.", "inferences")
    for name, samples in parts.items():
        figures.put(f"{name}.p50", figure_of_quantile(samples, 0.5))
    frames = sum(rate.frames for rate in rates)
    blocks, lengths = [r.fps for r in rates], [r.seconds for r in rates]
    figures.put("fps", figure_of_mean(blocks, "fps", "higher", n=frames, weights=lengths))
    every = [i for turn in singles for i in turn]
    notes = list(figures.missing)
    if every and all(i.compute_ms is None for i in every):
        notes.append("the device shares the host's memory: no copies, and compute is timed from the host")
    return ground.scenario(
        "network",
        notes,
        figures=figures.found,
        cdfs=_cdfs(latency=np.array([i.total_ms for i in every])),
        times=_exported(every),
        frames=len(every) + frames,
        repeats=len(singles),
        seconds=round(sum(map(sum, lengths)) + sum((i.end - i.start) / 1e9 for i in every), 3),
    )


def queries(ground: Ground, kind: ScenarioKind, turns: Sequence[Turn], samples: int) -> Scenario:
    """A closed loop, as MLPerf's SingleStream and MultiStream: frame in its slot to composite done, for whole queries.

    Args:
        samples: frames of a query; it begins when pre takes its first frame and ends with its last composite.
    """
    figures = _Figures()
    parts = [np.concatenate([_query_ms(rows, samples) for rows in turn.frames]) for turn in turns]
    figures.quantiles(parts, KEPT_QUANTILES, things="frames" if samples == 1 else "queries")
    figures.put("fps", _rate(turns))
    _costs(figures, turns, ground)
    return ground.scenario(
        kind, figures.missing, figures=figures.found, batch=samples, cdfs=_cdfs(latency=_joined(parts)),
        stages=_stages(turns, ground, ("pre", "network", "post")), **_lengths(turns),
    )  # fmt: skip


def throughput(ground: Ground, turns: Sequence[Turn], network_fps: Figure | None) -> Scenario:
    """As fast as it goes: decoder to sink, everything busy."""
    figures = _Figures()
    rate = _rate(turns)
    figures.put("fps", rate)
    if rate is not None and network_fps is not None:
        figures.put("ratio", _ratio(rate, network_fps))
    _costs(figures, turns, ground)
    return ground.scenario(
        "throughput", figures.missing, figures=figures.found, stages=_stages(turns, ground),
        trace=trace(turns[-1].frames) if turns else (), **_lengths(turns),
    )  # fmt: skip


def paced(ground: Ground, turn: Turn, pace_fps: float) -> Scenario:
    """Frames at a camera's rate. Times count from when a frame was due; one that never came took for ever."""
    figures = _Figures()
    of_streams = [latencies(turn, end, pace_fps) for end in ("composed", "released")]
    for prefix, samples in zip(("", "sink."), of_streams, strict=True):
        figures.quantiles(_divided(samples), PACED_QUANTILES, prefix)
    composite, sink = map(_joined, of_streams)
    due = len(composite)
    figures.plain("missed", float(np.mean(composite > 1000 / pace_fps)) if due else None, "ratio", due)
    figures.plain("dropped", float(np.isinf(sink).sum()) if due else None, "frames", due)
    figures.put("fps", _rate([turn]))
    _costs(figures, [turn], ground)
    return ground.scenario(
        "paced", figures.missing, figures=figures.found, pace_fps=pace_fps,
        cdfs=_cdfs(latency=composite, sink=sink), stages=_stages([turn], ground), trace=trace(turn.frames),
        **(_lengths([turn]) | {"repeats": PARTS}),
    )  # fmt: skip


def latencies(turn: Turn, end: str, pace_fps: float) -> list[NDArray[np.float64]]:
    """Milliseconds from when each frame was due to a stamp; infinite for those that never came.

    A frame that came has a row. The schedule is absolute, so any row tells which numbers were due within the turn.

    Returns:
        For each stream its frames in order.
    """
    period = 1e9 / pace_fps
    found = []
    for rows in turn.frames:
        first, count = 0, max(0, round((turn.ended - turn.began) / period))
        if len(rows):
            origin = int(rows["available"][0]) - int(rows["index"][0]) * period
            first = min(math.ceil((turn.began - origin) / period), int(rows["index"].min()))
            count = max(math.ceil((turn.ended - origin) / period) - 1, int(rows["index"].max())) - first + 1
        took = np.full(count, math.inf)
        came = rows[rows[end] > 0]
        took[came["index"] - first] = (came[end] - came["available"]) / 1e6
        found.append(took)
    return found


def composites_per_s(turn: Turn) -> tuple[list[float], list[float]]:
    """Rates of all streams together, and the seconds over which each was taken, in blocks of about BLOCK_NS."""
    stamps = np.sort(np.concatenate([rows["composed"] for rows in turn.frames]))
    stamps = stamps[stamps >= turn.began]  # the others waited for the turn to begin
    rates, seconds, first = [], [], 0
    for last in range(1, len(stamps)):
        passed = int(stamps[last] - stamps[first])
        if passed >= BLOCK_NS or (last == len(stamps) - 1 and passed > 0):
            rates.append((last - first) / (passed / 1e9))
            seconds.append(passed / 1e9)
            first = last
    return rates, seconds


def _query_ms(rows: Rows, samples: int) -> NDArray[np.float64]:
    """Length of every query that is wholly there; frame n belongs to query n // samples, since nothing is dropped."""
    numbers = rows["index"] // samples
    whole = [number for number, count in zip(*np.unique(numbers, return_counts=True), strict=True) if count == samples]
    lengths = [rows["composed"][numbers == n].max() - rows["taken"][numbers == n].min() for n in whole]
    return np.array(lengths, np.float64) / 1e6


def _rate(turns: Sequence[Turn]) -> Figure | None:
    blocks = [composites_per_s(turn) for turn in turns]
    frames = sum(len(rows) for turn in turns for rows in turn.frames)
    return figure_of_mean([b[0] for b in blocks], "fps", "higher", n=frames, weights=[b[1] for b in blocks])


def _ratio(rate: Figure, network_fps: Figure) -> Figure:
    """Pipeline over network alone: the mean of the rounds' own ratios, since a round's turns follow each other."""
    pairs = [[a / b] for a, b in zip(rate.repeats, network_fps.repeats, strict=False) if b]
    found = figure_of_mean(pairs or [[rate.value / network_fps.value]], "ratio", "higher", n=rate.n)
    assert found is not None
    if found.low is None and rate.low and rate.high and network_fps.low and network_fps.high:  # too few rounds
        low, high = rate.low / network_fps.high, rate.high / network_fps.low
        return msgspec.structs.replace(found, low=low, high=high, method="bootstrap")
    return found


def _costs(figures: _Figures, turns: Sequence[Turn], ground: Ground) -> None:
    """Processor time and energy of a frame; energy is counted from when a turn began to settle."""
    rows = [rows for turn in turns for rows in turn.frames]
    frames = sum(len(r) for r in rows)
    if not frames:
        return
    spent = sum(t.process_core for t in turns) + sum(int(r["decode_core"].sum()) for r in rows)
    figures.plain("core_ms", spent / frames / 1e6, "core-ms", frames)
    figures.plain("python_ms", _threads_ms(rows, kernels=False), "core-ms", frames)
    for source, energy in ground.energy_mj.items():
        figures.plain(f"energy.{source.lower()}", energy / (frames + sum(t.settled for t in turns)), "mJ", frames)


def _threads_ms(parts: Sequence[Rows], *, kernels: bool) -> float | None:
    """Processor time per frame of the three threads that carry frames; None for too few frames.

    Args:
        parts: the frames of one stream and turn each.
        kernels: with the time in pre, the hand-over to the network, post and the sink, or without it.
    """
    spent = 0
    for clock, core in (("feed_clock", "pre_core"), ("finish_clock", "post_core"), ("call_clock", "caller_core")):
        for rows in parts:
            done = np.sort(rows[rows[clock] > 0], order=clock)
            spent += int(np.diff(done[clock]).sum()) - (0 if kernels else int(done[core][:-1].sum()))
    frames = sum(max(0, len(rows) - 1) for rows in parts)
    return max(0.0, spent / frames / 1e6) if frames else None


def _stages(turns: Sequence[Turn], ground: Ground, names: Sequence[str] = STAGES) -> tuple[Stage, ...]:
    parts = [np.concatenate(turn.frames) for turn in turns]
    frames = sum(len(part) for part in parts)
    if not frames:
        return ()
    core = {
        name: sum(int(part[f"{name}_core"].sum()) for part in parts) / frames / 1e6
        for name in ("decode", "pre", "post")
    }
    if ground.output == "null://":  # else the encoder's own threads are in the process too
        threads = _threads_ms([rows for turn in turns for rows in turn.frames], kernels=True)
        if threads is not None:
            core["network"] = max(0.0, sum(t.process_core for t in turns) / frames / 1e6 - threads)
        core["sink"] = sum(int(part["caller_core"].sum()) for part in parts) / frames / 1e6
    moved = {k: v for k, v in ground.moved.items() if k != "sink" or ground.output != "null://"}
    return stage_table(parts, core, moved, names)


def _lengths(turns: Sequence[Turn]) -> dict[str, Any]:
    return {
        "seconds": round(sum((t.ended - t.began) / 1e9 for t in turns), 3),
        "frames": sum(len(rows) for t in turns for rows in t.frames),
        "warm_up_frames": sum(t.settled for t in turns),
        "repeats": len(turns),
    }


def _divided(streams: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """One long turn as several repeats: the same part of the time of all streams."""
    parts = zip(*(np.array_split(samples, PARTS) for samples in streams), strict=True)
    return [part for part in map(np.concatenate, parts) if len(part)]


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _cdfs(**samples: NDArray[Any]) -> dict[str, Cdf]:
    found = {name: cdf(values) for name, values in samples.items()}
    return {name: curve for name, curve in found.items() if curve is not None}


def _exported(inferences: Sequence[Inference]) -> tuple[NetworkTime, ...]:
    kept = inferences[-EXPORTED:]
    return tuple(i.exported(kept[0].start) for i in kept)
