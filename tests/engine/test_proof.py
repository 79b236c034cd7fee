"""The gate: what passes, what fails and why; NaN never passes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.engine.proof import Gate, compare_mattes, edge_band, prove

F32 = NDArray[np.float32]
GATE = Gate(alpha_mad=0.01, worst_mad=0.05, iou_loss=0.01)


def disc(radius: float = 10.0, shift: float = 0.0) -> F32:
    y, x = np.mgrid[0:48, 0:64]
    return np.clip(radius - np.hypot(x - 32 - shift, y - 24) + 0.5, 0, 1).astype(np.float32)


def judge(found: list[F32], *, repeatable: bool = True) -> tuple[str, ...]:
    wanted = [disc() for _ in found]
    return compare_mattes(wanted, found, GATE, repeatable=repeatable, source="footage").failures


def test_equal_mattes_pass_with_all_figures_zero() -> None:
    it = compare_mattes([disc()] * 3, [disc()] * 3, GATE, repeatable=True, source="footage")
    assert it.passed
    assert (it.alpha_mad, it.band_mad, it.worst_mad, it.iou, it.frames) == (0, 0, 0, 1.0, 3)


def test_a_mean_above_the_budget_fails() -> None:
    assert any("budget" in line for line in judge([disc() + np.float32(0.02)] * 4))


def test_one_bad_frame_fails_even_when_the_mean_is_fine() -> None:
    frames = [disc() for _ in range(40)]
    frames[17] = disc() + np.float32(0.2)
    lines = judge(frames)
    assert len(lines) == 1
    assert "frame 17" in lines[0]


def test_a_moved_edge_fails_by_iou() -> None:
    assert any("IoU" in line for line in judge([disc(shift=0.6)]))


def test_nan_fails_whatever_the_limits_are() -> None:
    bad = disc()
    bad[3, 3] = np.nan
    generous = Gate(alpha_mad=9, worst_mad=9, iou_loss=9)
    it = compare_mattes([disc()], [bad], generous, repeatable=True, source="footage")
    assert not it.passed
    assert not it.finite
    assert it.alpha_mad is None


def test_an_unrepeatable_graph_fails() -> None:
    assert any("same frame" in line for line in judge([disc()], repeatable=False))


def test_iou_is_not_judged_where_there_is_no_product() -> None:
    empty = np.zeros((48, 64), np.float32)
    speck = empty.copy()
    speck[0, 0] = 0.6
    it = compare_mattes([empty], [speck], GATE, repeatable=True, source="footage")
    assert it.iou is None
    assert it.passed


def test_the_band_follows_the_edge_and_nothing_else() -> None:
    band = edge_band(disc())
    assert band[24, 42]
    assert band[24, 39]
    assert not band[24, 32]
    assert not band[0, 0]


def test_prove_runs_twice_and_keeps_the_worst_frames_first() -> None:
    calls: list[int] = []

    def run(_model: onnx.ModelProto) -> list[F32]:
        calls.append(1)
        return [disc(), disc() + np.float32(0.03), disc() + np.float32(0.01)]

    proof = prove(onnx.ModelProto(), run, run, [disc()] * 3, GATE, source="footage")
    assert len(calls) == 2
    assert [i for i, _ in proof.worst] == [1, 2, 0]


def test_prove_sees_that_two_runs_differ() -> None:
    noise = iter([0.0, 1e-6])

    def run(_model: onnx.ModelProto) -> list[F32]:
        return [disc() + np.float32(next(noise))]

    assert not prove(onnx.ModelProto(), run, run, [disc()], GATE, source="footage").accuracy.repeatable


@pytest.mark.parametrize("planes", [3])
def test_pictures_of_style_networks_have_no_edge_to_judge(planes: int) -> None:
    picture = np.zeros((planes, 8, 8), np.float32)
    it = compare_mattes([picture], [picture + np.float32(0.001)], GATE, repeatable=True, source="patterns")
    assert it.passed
    assert it.band_mad is None
