"""Does a built graph give the mattes that the original gives? Measured on frames that calibration never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.calibration.results import SOLID, iou_loss

if TYPE_CHECKING:
    import onnx

    from cutline.calibration.runner import Runner

__all__ = ["Accuracy", "Gate", "Proof", "compare_mattes", "prove"]

F32 = NDArray[np.float32]
BAND = 3  # pixels at the network's size on either side of the edge: where a matte shows its quality
WORST = 6  # frames kept for the report


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph must reach; all in units of alpha (0..1), except IoU.

    IoU is given more room than the mean: where a matte is soft, as on glass, half of it lies close to the threshold,
    and a difference that nobody sees moves it across.
    """

    alpha_mad: float = 0.005  # mean absolute difference over all frames: --budget
    worst_mad: float = 0.05  # of the worst single frame
    iou_loss: float = 0.01  # 1 - IoU of the solid parts, over all frames together

    @classmethod
    def of(cls, budget: float) -> Gate:
        """The gate that belongs to a --budget."""
        return cls(alpha_mad=budget, worst_mad=10 * budget, iou_loss=2 * budget)


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How far one graph is from the original. NaN is written as None."""

    frames: int
    alpha_mad: float | None
    band_mad: float | None  # within BAND pixels of the original's edge; None when no frame has one
    worst_mad: float | None
    worst_frame: int
    largest: float | None  # of any pixel
    iou: float | None  # None when there is too little product to judge
    finite: bool
    repeatable: bool  # the same input gives the same output, bit for bit
    source: str  # footage or patterns
    failures: tuple[str, ...]  # one line each; empty when the gate is passed

    @property
    def passed(self) -> bool:
        """Whether the graph may enter a bundle."""
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An accuracy with the mattes of the worst frames, worst first: (frame number, matte)."""

    accuracy: Accuracy
    worst: tuple[tuple[int, F32], ...]


def prove(
    model: onnx.ModelProto, run: Runner, again: Runner, wanted: Sequence[F32], gate: Gate, *, source: str
) -> Proof:
    """Run a graph over held-out frames and judge it.

    Args:
        run: runs a model over those frames, states carried within each sequence.
        again: the same over the first of them, to see that the same input gives the same output.
        wanted: what the original gave for the same frames: mattes float32[h, w], or pictures float32[3, h, w].
        source: `footage` or `patterns`, for the record.
    """
    found = run(model)
    repeatable = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(again(model), found, strict=False))
    accuracy = compare_mattes(wanted, found, gate, repeatable=repeatable, source=source)
    order = sorted(range(len(found)), key=lambda i: -_finite_mad(wanted[i], found[i]))
    return Proof(accuracy=accuracy, worst=tuple((i, found[i]) for i in order[:WORST]))


def compare_mattes(
    wanted: Sequence[F32], found: Sequence[F32], gate: Gate, *, repeatable: bool, source: str
) -> Accuracy:
    """Figures over all frames, and which of them miss the gate. A NaN misses it whatever the limits are."""
    mads = [_finite_mad(a, b) for a, b in zip(wanted, found, strict=True)]
    band_sum, band_count = 0.0, 0
    for one, other in zip(wanted, found, strict=True):
        if one.ndim != 2:  # a style network's picture has no edge
            continue
        band = edge_band(one)
        band_sum += float(np.abs(one - other)[band].sum())
        band_count += int(band.sum())
    loss = iou_loss(found, wanted)
    finite = all(np.isfinite(m).all() for m in found)
    alpha_mad = float(np.mean(mads))
    worst = int(np.argmax(mads))
    largest = max(float(np.abs(a - b).max()) for a, b in zip(wanted, found, strict=True))
    failures = _failures(gate, alpha_mad, mads[worst], worst, loss, finite=finite, repeatable=repeatable)
    return Accuracy(
        frames=len(wanted),
        alpha_mad=_plain(alpha_mad),
        band_mad=_plain(band_sum / band_count) if band_count else None,
        worst_mad=_plain(mads[worst]),
        worst_frame=worst,
        largest=_plain(largest),
        iou=None if loss is None else 1.0 - loss,
        finite=finite,
        repeatable=repeatable,
        source=source,
        failures=failures,
    )


def _failures(
    gate: Gate, mad: float, worst_mad: float, worst: int, loss: float | None, *, finite: bool, repeatable: bool
) -> tuple[str, ...]:
    lines = []
    if not finite:
        lines.append("gives NaN or infinity")
    if not repeatable:
        lines.append("gives different mattes for the same frame")
    if not mad <= gate.alpha_mad:
        lines.append(f"alpha MAD {mad:.5f} is above the budget {gate.alpha_mad:g}")
    if not worst_mad <= gate.worst_mad:
        lines.append(f"alpha MAD {worst_mad:.5f} of frame {worst} is above {gate.worst_mad:g}")
    if loss is not None and not loss <= gate.iou_loss:
        lines.append(f"IoU loss {loss:.5f} is above {gate.iou_loss:g}")
    return tuple(lines)


def _finite_mad(one: F32, other: F32) -> float:
    value = float(np.abs(one - other).mean())
    return value if math.isfinite(value) else math.inf


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def edge_band(matte: F32) -> NDArray[np.bool_]:
    """Pixels within BAND of the edge between product and ground, and all that are neither."""
    solid = matte >= SOLID
    near = (matte > 0.05) & (matte < 0.95)
    for axis in (0, 1):
        change = np.diff(solid, axis=axis)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        near |= np.pad(change, pad)
    for axis in (0, 1):
        grown = near.copy()
        for step in range(1, BAND + 1):
            grown |= _shift(near, step, axis) | _shift(near, -step, axis)
        near = grown
    return near


def _shift(mask: NDArray[np.bool_], step: int, axis: int) -> NDArray[np.bool_]:
    moved = np.roll(mask, step, axis)
    edge: list[Any] = [slice(None), slice(None)]
    edge[axis] = slice(0, step) if step > 0 else slice(step, None)
    moved[tuple(edge)] = False
    return moved
