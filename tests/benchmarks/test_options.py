from __future__ import annotations

import math
from typing import Any

import pytest

from cutline.benchmarks.options import BenchOptions, TimePlan
from cutline.benchmarks.rounds import WEIGHT
from cutline.benchmarks.scaling import count_points
from cutline.benchmarks.statistics import samples_needed
from cutline.runtime.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0.0}, {"duration": -3.0}, {"duration": math.nan}, {"duration": math.inf}, {"pace": 0.0},
        {"pace": -1.0}, {"pace": math.nan}, {"streams": ()}, {"streams": (0,)}, {"streams": (1, 1000)}, {"batch": 0},
        {"precisions": ()}, {"output": "-"}, {"output": "frames-%05d.png"}, {"output": "out.doc"},
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        BenchOptions(**wrong)


def test_a_pace_above_what_timers_can_do_says_so() -> None:
    with pytest.raises(UsageError, match="timers"):
        BenchOptions(pace=5000.0)


@pytest.mark.parametrize("duration", [1.0, 20.0, 60.0, 600.0])
@pytest.mark.parametrize("precisions", [("auto",), ("int8", "bf16", "fp32")])
def test_the_parts_are_the_duration(duration: float, precisions: tuple[str, ...]) -> None:
    options = BenchOptions(duration=duration, precisions=precisions)
    points = count_points(options, on_gpu=False) * len(precisions)
    plan = TimePlan.divide(options, weight=WEIGHT, points=points)
    rounds = plan.rounds * WEIGHT * plan.unit_s * len(precisions)
    assert rounds + plan.paced_s * len(precisions) + plan.point_s * points == pytest.approx(duration)
    assert plan.rounds >= 4


def test_the_usual_duration_gives_a_camera_the_frames_that_its_p99_needs() -> None:
    options = BenchOptions()
    plan = TimePlan.divide(options, weight=WEIGHT, points=count_points(options, on_gpu=False))
    assert plan.paced_s * options.pace > samples_needed(0.99)
