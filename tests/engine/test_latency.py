"""Which candidate is shipped, by time; that timing runs what it is given, and knows when it was disturbed."""

from __future__ import annotations

import itertools
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import small_models

from cutline.engine.cpu import compile_for_cpu
from cutline.engine.latency import Clocks, CpuTimes, Timing, cpu_times, measure, pick_fastest


def timing(median_ms: float, others: float = 0.0) -> Timing:
    return Timing(median_ms=median_ms, low_ms=median_ms, high_ms=median_ms, in_flight=1, frames=1, others=others)


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


def test_what_others_took_is_told_for_the_candidate_that_it_hit() -> None:
    model = small_models.unet(channels=4).SerializeToString()
    compiled = {"free": compile_for_cpu(model, "fp32"), "hit": compile_for_cpu(model, "fp32")}
    shares = itertools.cycle([0.0, 0.3])  # by turns, as the candidates take theirs
    ticks, now = itertools.count(), [0.0, 0.0]

    def cpus() -> CpuTimes:
        if next(ticks) % 2:  # a turn ends: two CPUs for a second
            now[:] = [now[0] + 2.0, now[1] + 2.0 * next(shares)]
        return CpuTimes(*now)

    wall = itertools.count(step=0.001)
    clocks = Clocks(wall=lambda: next(wall), cpus=cpus)
    feeds = {"image": np.zeros((1, 3, 48, 64), np.float32)}
    found = measure(compiled, feeds, rounds=3, round_s=0.01, clocks=clocks)
    assert found["free"].others == 0.0
    assert found["hit"].others == pytest.approx(0.3)
    assert found["free"].calm
    assert not found["hit"].calm


def test_a_load_that_cannot_be_read_is_not_taken_for_a_free_machine(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("nothing of the kind")
    for path in (tmp_path / "stat", tmp_path / "none"):
        times = cpu_times(path)
        unknown = (times.others - times.others) / (times.passed - times.passed or math.nan)
        assert not timing(1.0, others=unknown).calm


def test_the_kernel_s_counters_are_read_for_the_cpus_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = os.sysconf("SC_CLK_TCK")
    row = " ".join(str(value * second) for value in (10, 1, 4, 80, 3, 1, 1, 5, 7, 7))
    busy = " ".join(str(value * second) for value in (900, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    (tmp_path / "stat").write_text(f"cpu  {busy}\ncpu0 {row}\ncpu1 {busy}\ncpu2 {row}\nintr 5\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    monkeypatch.setattr(time, "process_time", lambda: 12.0)
    assert cpu_times(tmp_path / "stat") == CpuTimes(210.0, 2 * 22.0 - 12.0)
