"""Which candidate is shipped, by time; and that timing runs what it is given."""

from __future__ import annotations

import numpy as np
import small_models

from cutline.engine.cpu import compile_for_cpu
from cutline.engine.latency import Timing, measure, pick_fastest


def timing(median_ms: float) -> Timing:
    return Timing(median_ms=median_ms, low_ms=median_ms, high_ms=median_ms, in_flight=1, frames=1)


def test_the_fastest_is_picked() -> None:
    times = {"fp32": timing(20), "bf16": timing(7), "int8": timing(6)}
    assert pick_fastest(times, ("fp32", "bf16", "int8")) == "int8"


def test_int8_that_loses_is_not_shipped() -> None:
    times = {"fp32": timing(20), "bf16": timing(6), "int8": timing(6.5)}
    assert pick_fastest(times, ("fp32", "bf16", "int8")) == "bf16"


def test_a_hair_s_breadth_does_not_pay_for_lower_precision() -> None:
    times = {"bf16": timing(7.0), "int8": timing(6.95)}
    assert pick_fastest(times, ("bf16", "int8")) == "bf16"


def test_measuring_times_every_candidate_in_every_round() -> None:
    model = small_models.unet(channels=4).SerializeToString()
    compiled = {"one": compile_for_cpu(model, "fp32"), "other": compile_for_cpu(model, "fp32")}
    told: list[float] = []
    found = measure(compiled, {"image": np.zeros((1, 3, 48, 64), np.float32)}, rounds=2, round_s=0.01, tell=told.append)
    assert set(found) == {"one", "other"}
    assert all(t.low_ms <= t.median_ms <= t.high_ms and t.frames >= 2 * t.in_flight for t in found.values())
    assert told == [0.5, 1.0]
