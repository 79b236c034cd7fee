"""Where the time of frames went, from their stamps: a table of stages, and one second of frames drawn out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.schema import STAGES, FrameRecord, Span, Stage
from cutline.benchmarks.statistics import figure_of_quantile
from cutline.runtime.contract import ModelContract
from cutline.runtime.frame import FrameFormat

__all__ = ["ENDS", "bytes_moved", "spans_ms", "stage_table", "trace"]

ENDS: Final = {
    "decode": ("decode_began", "decode_ended"),
    "copy": ("available", "filled"),
    "wait": ("filled", "taken"),
    "pre": ("taken", "prepared"),
    "network": ("prepared", "inferred"),
    "post": ("inferred", "composed"),
    "wait_sink": ("composed", "delivered"),
    "sink": ("delivered", "released"),
}
assert tuple(ENDS) == STAGES
TRACED_NS: Final = 1_000_000_000
MOST_TRACED: Final = 500  # frames: a second of eight cameras at 60 fps

Rows = NDArray[Any]  # structured: runtime.telemetry.FrameStamps


def spans_ms(rows: Rows, start: str, end: str) -> NDArray[np.float64]:
    """Milliseconds from one stamp to another, of the frames that have both."""
    been = rows[(rows[end] > 0) & (rows[start] > 0)]
    return np.asarray((been[end] - been[start]) / 1e6, np.float64)


def stage_table(
    parts: Sequence[Rows],
    core_ms: Mapping[str, float],
    moved: Mapping[str, int],
    names: Sequence[str] = STAGES,
) -> tuple[Stage, ...]:
    """Stages' medians, means and shares of their sum; decode lies beside the others and has no share.

    Args:
        parts: the frames of each repeat.
        names: of the stages, where not all of them mean something.
        core_ms: processor time of a frame in those stages where it can be told apart.
        moved: bytes of a frame.
    """
    delivered = [part[part["released"] > 0] for part in parts]
    way = [ENDS[name] for name in names if name != "decode"]
    total = sum(float(spans_ms(part, *ends).sum()) for part in delivered for ends in way)
    found = []
    for name in names:
        start, end = ENDS[name]
        samples = [spans_ms(part, start, end) for part in delivered]
        figure = figure_of_quantile(samples, 0.5)
        if figure is None:
            continue
        spent = sum(float(s.sum()) for s in samples)
        found.append(
            Stage(
                name=name,
                wall_ms=figure,
                mean_ms=round(spent / figure.n, 4),
                share=round(spent / total, 4) if name != "decode" and total > 0 else None,
                core_ms=round(core_ms[name], 4) if name in core_ms else None,
                bytes=moved.get(name),
            )
        )
    return tuple(found)


def trace(streams: Sequence[Rows]) -> tuple[FrameRecord, ...]:
    """One second of frames from the middle of what was measured, all streams on one clock, oldest first."""
    stamps = np.concatenate([rows["available"] for rows in streams]) if streams else np.zeros(0, np.int64)
    if len(stamps) == 0:
        return ()
    origin = max(int(stamps.min()), (int(stamps.min()) + int(stamps.max()) - TRACED_NS) // 2)
    found = []
    for stream, rows in enumerate(streams):
        inside = rows[(rows["available"] >= origin) & (rows["available"] < origin + TRACED_NS)]
        found += [_record(stream, row, origin) for row in inside]
    found.sort(key=lambda record: record.available_ms)
    return tuple(found[:MOST_TRACED])


def _record(stream: int, row: Any, origin: int) -> FrameRecord:
    def at(stamp: str) -> float:
        return round((int(row[stamp]) - origin) / 1e6, 4)

    spans = [
        Span(stage=name, start_ms=at(start), end_ms=at(end))
        for name, (start, end) in ENDS.items()
        if row[start] > 0 and row[end] > 0
    ]
    return FrameRecord(
        stream=stream, index=int(row["index"]), available_ms=at("available"), spans=tuple(spans),
        dropped=not row["delivered"],
    )  # fmt: skip


def bytes_moved(frame: FrameFormat, contract: ModelContract) -> dict[str, int]:
    """Bytes that each stage must read and write for one frame: pictures and tensors once; activations not counted."""
    planes = frame.width * frame.height + 2 * frame.chroma_width * frame.chroma_height
    image, matte = contract.frame, contract.primary
    tensor = math.prod(image.shape) * {"float32": 4, "int8": 1, "uint8": 1}.get(image.dtype, 2)
    alpha = 4 * math.prod(matte.shape)
    guide = 3 * image.width * image.height
    return {
        "decode": planes,
        "copy": 2 * planes,
        "pre": planes + tensor + guide,
        "network": tensor + alpha,
        "post": 2 * planes + alpha + guide,
        "sink": planes,
    }
