"""The search for an INT8 graph that passes the whole gate, not the mean error alone."""

from __future__ import annotations

from typing import Any

import onnx

from cutline.calibration.trials import MatteError
from cutline.engine.candidates import Candidate
from cutline.engine.quantised import Int8, _tighten

ERRORS = {0: 0.0020, 1: 0.0014, 2: 0.0011, 3: 0.0006, 4: 0.0003, 5: 0.0001}  # layers given back -> mean error


def found(floats: int) -> Int8:
    error = MatteError(mad=ERRORS[floats], worst_mad=0, worst_frame=0, iou_loss=0)
    names = tuple(str(i) for i in range(floats))
    candidate = Candidate(precision="int8", model=onnx.ModelProto(), layers={}, reasons={})
    return Int8(candidate=candidate, floats=names, error=error, ranking=(), floor=0.0)


def nothing() -> Int8:
    return Int8(candidate=None, floats=(), error=found(5).error, ranking=(), floor=0.0)


def attempt(needed: int) -> Any:
    """As few layers as the limit allows; the gate is passed from `needed` of them on."""

    def run(limit: float) -> tuple[Int8, bool]:
        fits = [n for n, error in ERRORS.items() if error <= limit]
        return (found(min(fits)), min(fits) >= needed) if fits else (nothing(), False)

    return run


def test_as_few_layers_are_given_back_as_the_gate_needs() -> None:
    for needed in (1, 2, 3, 4):
        assert len(_tighten(found(0), attempt(needed)).floats) == needed


def test_when_nothing_passes_the_first_is_returned_so_that_the_gate_can_say_why() -> None:
    first = found(0)
    assert _tighten(first, attempt(99)) is first
