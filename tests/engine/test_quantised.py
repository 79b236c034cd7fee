"""The search for an INT8 graph: within the gate on calibration frames, and passing it on held-out ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from cutline.calibration.budget import Fit
from cutline.calibration.trials import Limits, MatteError
from cutline.calibration.typed import TypedModel
from cutline.engine import quantised
from cutline.engine.proof import Gate
from cutline.engine.quantised import Int8, _limits, _search

GATE = Gate(alpha_mad=0.002, worst_mad=0.02, iou_loss=0.004)
FLOOR = MatteError(mad=0.001, worst_mad=0.01, worst_frame=0, iou_loss=0.002)
COSTS = (0.0020, 0.0017, 0.0015, 0.0013, 0.0011)  # mean error with so many of four layers given back


def fit(_recipe: Any, _trials: Any, limits: Limits, **_: Any) -> Fit:
    """As few layers as the limit allows."""
    count = next(n for n, cost in enumerate(COSTS) if cost <= limits.mad)
    layers: dict[str, Any] = {str(i): "fp16" if i < count else "int8" for i in range(4)}
    typed = TypedModel(model=onnx.ModelProto(), precision="int8", layers=layers, reasons={})
    error = MatteError(mad=COSTS[count], worst_mad=0, worst_frame=0, iou_loss=0)
    return Fit(typed=typed, floats=tuple(layers)[:count], error=error, ranking=())


def search(monkeypatch: pytest.MonkeyPatch, needed: int) -> tuple[Int8, list[int]]:
    """What is found when held-out frames need so many layers given back, and how many each attempt gave."""
    seen: list[int] = []

    def prove(candidate: Any, _ground: str) -> Any:
        seen.append(list(candidate.layers.values()).count("fp16"))
        return SimpleNamespace(accuracy=SimpleNamespace(passed=seen[-1] >= needed))

    recipe: Any = SimpleNamespace(measure=lambda _trials, _floats: FLOOR, placement=lambda: SimpleNamespace(int8=()))
    evidence: Any = SimpleNamespace(gate=GATE, prove=prove)
    monkeypatch.setattr(quantised, "fit_budget", fit)
    return _search(recipe, Any, "gpu", evidence, lambda *_: None), seen  # type: ignore[arg-type]


def test_the_search_spares_more_of_the_gate_until_held_out_frames_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert search(monkeypatch, 0)[1] == [1]
    found, seen = search(monkeypatch, 3)
    assert (len(found.floats), seen) == (3, [1, 2, 3])


def test_when_nothing_passes_the_first_is_returned_so_that_the_gate_can_say_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, seen = search(monkeypatch, 99)
    assert (len(found.floats), found.candidate is not None, seen) == (1, True, [1, 2, 3])


def test_the_room_is_what_16_bits_leave_in_the_gate() -> None:
    assert _limits(FLOOR, GATE, 0.5) == Limits(mad=0.0015, worst_mad=0.015, iou_loss=0.003)
    coarse = MatteError(mad=0.5, worst_mad=0.5, worst_frame=0, iou_loss=0.5)
    assert _limits(coarse, GATE, 0.5) == Limits(mad=0.002, worst_mad=0.02, iou_loss=0.004)
