"""A whole result document with made-up numbers, for tests of what reads documents."""

from __future__ import annotations

import numpy as np

from cutline.benchmarks.schema import (
    STAGES,
    Cdf,
    Curve,
    Document,
    Figure,
    FrameRecord,
    Input,
    Instrument,
    Machine,
    Model,
    NetworkTime,
    Point,
    Scenario,
    Span,
    Stage,
)

LENGTHS_MS = {"copy": 0.4, "wait": 0.2, "pre": 0.8, "network": 12.0, "post": 2.0, "wait_sink": 0.1, "sink": 4.0}
PERIOD_MS = 1000 / 30


def example(scale: float = 1.0) -> Document:
    """A document of every scenario; all times are `scale` times those of example(1)."""
    rng = np.random.default_rng(7)
    latency = np.sort(rng.gamma(9, 1.8, 900) + 3) * scale
    return Document(
        created="2026-11-21T09:30:00Z",
        commit="0123456",
        command=("cutout", "--duration", "20"),
        seconds=31.5,
        complete=True,
        machine=Machine(
            cpu="Example <CPU> & more", cores=2, memory_mib=8192, kernels="avx2", system="Linux 6.1", python="3.11.7",
            versions={"cutline": "0.1.0", "openvino": "2026.4.1"}, virtual=True, load_before=0.2, busy_before=0.01,
        ),
        model=Model(name="cutout", version=1, width=512, height=288),
        input=Input(name="kiosk.mp4", width=1920, height=1080, frames=240, looped=True, decoder="h264"),
        instrument=Instrument(clock_ns=60.0, overhead_us=4.2),
        scenarios=(
            Scenario(
                kind="network", figures={"fps": rate(110 / scale), "latency.p50": ms(9 * scale)},
                times=tuple(network_time(n, scale) for n in range(20)), cdfs={"latency": cdf(latency)}, **COMMON,
            ),
            Scenario(kind="single stream", figures={"p50": ms(14 * scale), "p90": ms(16 * scale)}, **COMMON),
            Scenario(kind="multi stream", figures={"p99": ms(90 * scale)}, batch=8, **COMMON),
            Scenario(
                kind="paced", pace_fps=30.0, cdfs={"latency": cdf(latency), "sink": cdf(latency + 4)},
                figures={
                    "p50": ms(18 * scale), "p99": ms(34 * scale), "sink.p50": ms(20 * scale),
                    "missed": Figure(value=0.01, unit="ratio", better="lower", n=900),
                },
                stages=stages(scale), trace=tuple(frame(n, scale) for n in range(30)),
                warnings=("900 frames are too few for p99.9 (3688)",), **COMMON,
            ),
            Scenario(kind="throughput", figures={"fps": rate(77 / scale)}, stages=stages(scale), **COMMON),
            Scenario(
                kind="start", device="cpu", precision="int8", figures={
                    "cold": Figure(value=1.9 * scale, unit="s", better="lower", n=3),
                    "warm": Figure(value=0.8 * scale, unit="s", better="lower", n=3),
                },
            ),
        ),
        scaling=(
            Curve(over="streams", precision="int8", points=tuple(point(n, str(n), 80 / scale) for n in (1, 2, 4, 8))),
            Curve(
                over="size", precision="int8",
                points=(point(921600, "720p", 95 / scale), point(2073600, "1080p", 77 / scale)),
                warnings=("4k was left out: no time",),
            ),
        ),
    )  # fmt: skip


COMMON = {
    "device": "cpu", "precision": "int8", "width": 1920, "height": 1080, "seconds": 5.0, "frames": 900,
    "warm_up_frames": 60, "warm_up_s": 1.0, "repeats": 3,
}  # fmt: skip


def ms(value: float, **changes: object) -> Figure:
    """A latency with bounds 5 % away."""
    plain = {"low": 0.95 * value, "high": 1.05 * value, "method": "order statistics"}
    repeats = (0.99 * value, value, 1.01 * value)
    fields = {**plain, "repeats": repeats, "cv": 0.01, **changes}
    return Figure(value=value, unit="ms", better="lower", n=900, **fields)  # type: ignore[arg-type]


def rate(value: float) -> Figure:
    """Frames per second, noisy enough for a warning."""
    return Figure(
        value=value, unit="fps", better="higher", n=900, low=0.9 * value, high=1.1 * value, method="bootstrap",
        repeats=(0.95 * value, value, 1.05 * value), cv=0.05, warnings=("varies by 5.0 % between repeats",),
    )  # fmt: skip


def cdf(values: np.ndarray) -> Cdf:
    """Quantiles at eleven shares."""
    shares = np.linspace(0, 1, 11)
    found = np.quantile(values, shares)
    return Cdf(unit="ms", n=len(values), shares=tuple(shares.tolist()), values=tuple(found.tolist()))


def stages(scale: float) -> tuple[Stage, ...]:
    """All stages of one frame."""
    total = sum(LENGTHS_MS.values())
    found = [Stage(name="decode", wall_ms=ms(5 * scale), mean_ms=5 * scale, core_ms=5.1 * scale, bytes=3110400)]
    for name, length in LENGTHS_MS.items():
        found.append(Stage(name=name, wall_ms=ms(length * scale), mean_ms=length * scale, share=length / total))
    assert tuple(s.name for s in found) == STAGES
    return tuple(found)


def frame(number: int, scale: float) -> FrameRecord:
    """Frame `number` of a stream at 30 fps; the tenth was dropped before the sink."""
    available = number * PERIOD_MS
    spans = [Span(stage="decode", start_ms=available - 6 * scale, end_ms=available - 1 * scale)]
    at, dropped = available, number == 10
    for name, length in LENGTHS_MS.items():
        if dropped and name in ("wait_sink", "sink"):
            break
        spans.append(Span(stage=name, start_ms=at, end_ms=at + length * scale))
        at += length * scale
    return FrameRecord(stream=0, index=number, available_ms=available, spans=tuple(spans), dropped=dropped)


def network_time(number: int, scale: float) -> NetworkTime:
    """One inference on a device with copies."""
    at = number * 10 * scale
    return NetworkTime(
        startEnqMs=at, endEnqMs=at + 0.1, startH2dMs=at, endH2dMs=at + 0.3 * scale, startComputeMs=at + 0.3 * scale,
        endComputeMs=at + 8.3 * scale, startD2hMs=at + 8.3 * scale, endD2hMs=at + 8.5 * scale, h2dMs=0.3 * scale,
        computeMs=8 * scale, d2hMs=0.2 * scale, latencyMs=8.5 * scale,
    )  # fmt: skip


def point(x: float, label: str, fps: float) -> Point:
    """A place on a curve."""
    return Point(x=x, label=label, figures={"fps": rate(fps)})
