"""The result of `cutline bench`, as `--json` writes it: what was measured, on what, and how sure that is.

Times are milliseconds unless a name ends otherwise. Stamps count from the beginning of the scenario's trace. A figure
that could not be measured is absent or null, never zero. Readers ignore fields that they do not know; a document of
another schema is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from cutline.runtime.errors import BadInputError, NoInputError

__all__ = [
    "SCHEMA", "STAGES", "Cdf", "Curve", "Document", "Figure", "FrameRecord", "Input", "Instrument", "Machine", "Model",
    "NetworkTime", "Point", "Scenario", "ScenarioKind", "Span", "Stage", "Unit", "decode", "encode", "read",
]  # fmt: skip

SCHEMA: Final = "cutline.bench/1"

STAGES: Final = ("decode", "copy", "wait", "pre", "network", "post", "wait_sink", "sink")
"""A frame's way. All but `decode` lie end to end between the moment at which a frame was available (a paced one: was
due) and the moment at which the sink was done with it, so they add up to that time; `decode` may lie before it.

decode     the decoder worked on it (wall time in which the reader waited for FFmpeg, conversion included)
copy       available, to lying in a slot; with late decoding in it
wait       in a slot, to taken by pre: queues
pre        resize, normalise, guide
network    handed to the session, to its output seen: queue of the device, inference
post       matte, edges, composition
wait_sink  composite done, to taken by the sink
sink       encode, write, show
"""

ScenarioKind = Literal["network", "single stream", "multi stream", "paced", "throughput", "start"]
Unit = Literal["ms", "s", "fps", "core-ms", "MiB", "mJ", "frames", "ratio"]


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number and how far it can be trusted."""

    value: float
    unit: Unit
    better: Literal["lower", "higher", "neither"]
    n: int  # samples behind the value: frames, queries or starts
    low: float | None = None  # confidence bounds of the value
    high: float | None = None
    confidence: float = 0.95  # of the bounds
    method: Literal["order statistics", "bootstrap", "none"] = "none"  # of the bounds
    repeats: tuple[float, ...] = ()  # the same figure in each repeat alone, in the order in which they ran
    cv: float | None = None  # standard deviation of the repeats / their mean
    warnings: tuple[str, ...] = ()  # why it may be noise, a phrase each


class Cdf(msgspec.Struct, frozen=True, kw_only=True):
    """A sample's distribution in a few hundred points: values[i] is the quantile at shares[i]. Both rise."""

    unit: Unit
    n: int
    shares: tuple[float, ...]  # 0..1, from the least to the greatest sample, denser towards 1
    values: tuple[float, ...]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of one frame. Stamps in ms from the trace's beginning; earlier ones are below 0."""

    stage: str  # of STAGES
    start_ms: float
    end_ms: float


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One frame's way through the pipeline. Drawn as a timeline and as a Perfetto trace."""

    stream: int  # from 0
    index: int  # of the frame in its stream; gaps are frames that were dropped
    available_ms: float  # when it was there; in a paced run: when it was due
    spans: tuple[Span, ...]  # in the order of STAGES; a frame that was dropped on the way has fewer
    dropped: bool = False  # composed, but replaced by a newer one before the sink took it


class Stage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the time went, per frame."""

    name: str  # of STAGES
    wall_ms: Figure  # median
    mean_ms: float
    share: float | None = None  # of the mean time from available to sink done, 0..1; null for decode
    core_ms: float | None = None  # processor time; null where it cannot be told apart
    bytes: int | None = None  # read and written in memory or files, by design of the stage


class NetworkTime(msgspec.Struct, frozen=True, kw_only=True):
    """One inference, in the fields and with the meaning of trtexec's --exportTimes (TensorRT 10); ms.

    Enqueue is the host's call; it overlaps the others. latencyMs = h2dMs + computeMs + d2hMs. A device without copies
    (a CPU that shares the slots' memory) has h2dMs = d2hMs = 0, its stamps at the beginning and end of compute.
    """

    startEnqMs: float  # noqa: N815 - trtexec's names
    endEnqMs: float  # noqa: N815
    startH2dMs: float  # noqa: N815
    endH2dMs: float  # noqa: N815
    startComputeMs: float  # noqa: N815
    endComputeMs: float  # noqa: N815
    startD2hMs: float  # noqa: N815
    endD2hMs: float  # noqa: N815
    h2dMs: float  # noqa: N815
    computeMs: float  # noqa: N815
    d2hMs: float  # noqa: N815
    latencyMs: float  # noqa: N815


class Scenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement: what was asked, and what came out.

    Figures by kind, all in `figures`; a percentile that the samples do not carry is absent, and `warnings` says so:

    network        fps (saturated), latency.p50/.p90/.p99, enqueue.p50, h2d.p50, compute.p50, d2h.p50
    single stream  p50, p90 (the metric), p99, fps
    multi stream   p50, p90, p99 (the metric) of a query of `batch` samples, fps
    paced          p50, p90, p99, p99.9 available to composite done; sink.p50 ... sink.p99.9 available to sink done;
                   missed (share of frames due whose composite came later than one period, or never), dropped, fps
    throughput     fps, ratio (to the network alone, where that was measured)
    start          cold, warm (process start to first composite, s)
    any            core_ms, python_ms (processor time a frame, all of it; the pipeline's threads outside kernels and
                   sink), energy.rapl, energy.nvml, energy.ina3221 (mJ a frame): where it can be told
    start          also memory.process, memory.decoder (peak resident, of a fresh process)
    """

    kind: ScenarioKind
    device: str
    precision: str
    streams: int = 1
    batch: int = 1  # samples of a query
    width: int = 0  # of a frame, pixels
    height: int = 0
    pace_fps: float | None = None
    output: str = "null://"
    seconds: float = 0.0  # measured, without warm-up
    frames: int = 0  # measured, without warm-up
    warm_up_frames: int = 0  # left out
    warm_up_s: float = 0.0
    repeats: int = 1
    figures: dict[str, Figure] = {}
    cdfs: dict[str, Cdf] = {}  # "latency", of a paced one also "sink"
    stages: tuple[Stage, ...] = ()
    trace: tuple[FrameRecord, ...] = ()  # one second of frames
    times: tuple[NetworkTime, ...] = ()  # network: the last 1000 inferences at most
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What tells it from the other scenarios of a document, and finds its twin in another one."""
        parts = [self.kind, *filter(None, [self.precision])]
        if self.width:
            parts.append(f"{self.width}x{self.height}")
        if self.streams > 1:
            parts.append(f"{self.streams} streams")
        if self.batch > 1:
            parts.append(f"{self.batch} a query")
        if self.pace_fps is not None:
            parts.append(f"{self.pace_fps:g} fps")
        if self.output != "null://":
            parts.append(f"to {self.output}")
        return ", ".join(parts)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One place on a scaling curve."""

    x: float  # streams, pixels of a frame, or cores
    label: str  # "4", "1080p", "2"
    figures: dict[str, Figure]  # fps of all streams together; per_stream, where there are several


class Curve(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How figures change when one thing grows."""

    over: Literal["streams", "size", "cores"]
    precision: str
    points: tuple[Point, ...]
    warnings: tuple[str, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where it ran."""

    cpu: str
    cores: int  # that this process may use
    memory_mib: int
    kernels: str  # instruction set of the pre and post kernels
    system: str  # kernel and release
    python: str
    versions: dict[str, str]  # of cutline, openvino, av, and what the device needs
    gpus: tuple[str, ...] = ()
    governor: str | None = None  # of CPU frequency
    virtual: bool | None = None
    load_before: float | None = None  # runnable processes, 1-minute mean, before the first scenario
    busy_before: float | None = None  # share of this machine's processor time that others took just before, 0..1


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle."""

    name: str
    version: int
    width: int  # of the network's input
    height: int


class Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The frames."""

    name: str
    width: int
    height: int
    frames: int | None = None  # in the clip, before it is looped
    looped: bool = False
    decoder: str = ""


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What measuring itself costs."""

    clock_ns: float  # smallest step seen between two readings of the clock
    overhead_us: float  # added to one frame by all stamps and their storing, measured


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run of `cutline bench` found."""

    schema: Literal["cutline.bench/1"] = msgspec.field(default=SCHEMA)
    created: str  # UTC, 2026-11-21T09:30:00Z
    commit: str | None = None  # of the sources, where they lie in a repository
    command: tuple[str, ...]  # words after `cutline bench`
    seconds: float  # wall time of the run; compiling the network and making clips came before
    complete: bool  # False: interrupted; what there is, is here
    machine: Machine
    model: Model
    input: Input
    instrument: Instrument
    scenarios: tuple[Scenario, ...]
    scaling: tuple[Curve, ...] = ()
    warnings: tuple[str, ...] = ()


class _Kind(msgspec.Struct):
    schema: str


def encode(document: Document) -> bytes:
    """Write a document as indented JSON that ends with a line feed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode(data: bytes, name: str) -> Document:
    """Read a document.

    Args:
        name: of the file, for errors.
    Raises:
        BadInputError: it is not JSON, of another schema, or damaged.
    """
    remedy = "Give a file that `cutline bench --json` wrote."
    try:
        kind = msgspec.json.decode(data, type=_Kind).schema
        if kind != SCHEMA:
            raise BadInputError(
                "the result is of another schema", remedy=remedy, file=name, found=kind[:80], wanted=SCHEMA
            )
        return msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"not a result of cutline bench: {error}", remedy=remedy, file=name) from error


def read(path: Path) -> Document:
    """Read a document from a file.

    Raises:
        NoInputError: it is not there or cannot be read.
        BadInputError: see `decode`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NoInputError(
            f"the result cannot be read: {error.strerror}", remedy="Check the path.", file=str(path)
        ) from error
    return decode(data, str(path))
