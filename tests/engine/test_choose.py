"""What each target gets, decided by proof and by time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import pytest

from cutline.engine.candidates import Candidate
from cutline.engine.choose import Choice, Chooser, GateError
from cutline.engine.latency import Timing
from cutline.engine.progress import Silent
from cutline.engine.proof import Accuracy, Proof
from cutline.engine.targets import Ground, Precision, parse_targets
from cutline.runtime.errors import DeviceError, UsageError


class StubEvidence:
    """Graphs named in `bad` miss the gate; times are given."""

    def __init__(self, times: Mapping[str, float], bad: set[tuple[Ground, str]], others: float) -> None:
        self.times, self.bad, self.others = times, bad, others
        self.proven: list[tuple[Ground, str]] = []

    def prove(self, candidate: Candidate, ground: Ground) -> Proof:
        self.proven.append((ground, candidate.precision))
        failures = ("alpha MAD 0.1 is above the budget",) if (ground, candidate.precision) in self.bad else ()
        accuracy = Accuracy(
            frames=1,
            alpha_mad=0.1 if failures else 0.0,
            band_mad=None,
            worst_mad=0.0,
            worst_frame=0,
            largest=0.0,
            iou=None,
            finite=True,
            repeatable=True,
            source="footage",
            failures=failures,
        )
        return Proof(accuracy=accuracy, worst=())

    def time(self, candidates: list[Candidate], _progress: Any) -> dict[Precision, Timing]:
        return {
            c.precision: Timing(
                median_ms=self.times[c.precision], low_ms=0, high_ms=0, in_flight=1, frames=1, others=self.others
            )
            for c in candidates
        }


def chosen(
    target: str,
    precision: Any = "auto",
    *,
    times: Mapping[str, float] = {"fp32": 20, "bf16": 7, "fp16": 7, "int8": 6},
    bad: set[tuple[Ground, str]] = frozenset(),  # type: ignore[assignment]
    native: tuple[Precision, ...] = ("fp32", "bf16"),
    calibrated: bool = True,
    no_int8: bool = False,
    others: float = 0.0,
) -> tuple[dict[str, list[str]], Choice, StubEvidence]:
    evidence = StubEvidence(times, set(bad), others)

    def make(name: Precision, _ground: Ground) -> Candidate | None:
        if name == "int8" and no_int8:
            return None
        return Candidate(precision=name, model=onnx.ModelProto(), layers={}, reasons={})

    chooser = Chooser(make, evidence, native=native, calibrated=calibrated, progress=Silent())  # type: ignore[arg-type]
    choice = chooser.choose(parse_targets(target), precision)
    return {str(t): [c.precision for c in cs] for t, cs in choice.shipped.items()}, choice, evidence


def test_auto_ships_the_fastest_and_fp32_behind_it() -> None:
    shipped, choice, _ = chosen("openvino")
    assert shipped == {"openvino": ["int8", "fp32"]}
    assert any("int8 is shipped" in note and "bf16 7.00 ms" in note for note in choice.notes)


def test_auto_says_by_how_much_int8_lost() -> None:
    shipped, choice, _ = chosen("openvino", times={"fp32": 20, "bf16": 5, "int8": 6})
    assert shipped == {"openvino": ["bf16", "fp32"]}
    assert "openvino: int8 lost by 20 % against bf16" in choice.notes


@pytest.mark.parametrize(("others", "said"), [(0.4, "took 40% of the CPUs"), (float("nan"), "an unknown share")])
def test_a_choice_by_the_times_of_a_busy_machine_says_so(others: float, said: str) -> None:
    _, choice, _ = chosen("openvino", others=others)
    assert sum(said in note for note in choice.notes) == 1
    _, choice, _ = chosen("openvino", others=0.05)
    assert not any("CPUs" in note for note in choice.notes)


def test_auto_leaves_out_what_misses_the_gate_however_fast_and_says_so() -> None:
    shipped, choice, _ = chosen("openvino", bad={("cpu", "int8")})
    assert shipped == {"openvino": ["bf16", "fp32"]}
    assert any("int8 misses the accuracy gate" in note for note in choice.notes)
    assert "int8" in choice.timings


def test_auto_says_that_no_int8_graph_meets_the_budget() -> None:
    shipped, choice, _ = chosen("openvino,tensorrt-rtx:sm89", no_int8=True)
    assert shipped == {"openvino": ["bf16", "fp32"], "tensorrt-rtx:sm89": ["fp16"]}
    for ground in ("openvino", "GPU"):
        assert f"{ground}: no int8 graph meets the budget" in choice.notes


def test_bf16_is_tried_only_where_the_cpu_has_it() -> None:
    shipped, _, evidence = chosen("openvino", native=("fp32",), calibrated=False)
    assert shipped == {"openvino": ["fp32"]}
    assert evidence.proven == [("cpu", "fp32")]


def test_a_gpu_gets_half_first_and_int8_beside_it_and_fp32_is_not_even_made() -> None:
    shipped, _, evidence = chosen("tensorrt-rtx:sm89")
    assert shipped == {"tensorrt-rtx:sm89": ["fp16", "int8"]}
    assert ("gpu", "fp32") not in evidence.proven


def test_a_gpu_gets_fp32_when_nothing_smaller_passes() -> None:
    shipped, _, _ = chosen("tensorrt-rtx:sm89", bad={("gpu", "fp16"), ("gpu", "int8")})
    assert shipped == {"tensorrt-rtx:sm89": ["fp32"]}


def test_nothing_that_passes_is_an_error() -> None:
    with pytest.raises(GateError):
        chosen("tensorrt-rtx:sm89", bad={("gpu", "fp16"), ("gpu", "int8"), ("gpu", "fp32")})
    with pytest.raises(GateError):
        chosen("openvino", bad={("cpu", p) for p in ("fp32", "bf16", "int8")})


def test_a_demand_is_met_or_refused_never_replaced() -> None:
    shipped, _, _ = chosen("openvino,tensorrt-rtx:sm89", "int8", times={"int8": 99})
    assert shipped == {"openvino": ["int8"], "tensorrt-rtx:sm89": ["int8"]}
    with pytest.raises(GateError):
        chosen("openvino", "int8", bad={("cpu", "int8")})
    with pytest.raises(GateError):
        chosen("openvino", "int8", no_int8=True)
    with pytest.raises(UsageError):
        chosen("openvino", "int8", calibrated=False)


def test_fp16_on_a_cpu_is_its_own_16_bit_type_and_that_is_said() -> None:
    shipped, choice, _ = chosen("openvino", "fp16")
    assert shipped == {"openvino": ["bf16"]}
    assert any("bf16 is the 16-bit float type of this CPU" in note for note in choice.notes)
    assert chosen("openvino", "fp16", native=("fp32", "bf16", "fp16"))[0] == {"openvino": ["fp16"]}
    with pytest.raises(DeviceError):
        chosen("openvino", "fp16", native=("fp32",))
