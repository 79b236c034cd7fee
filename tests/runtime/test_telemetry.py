from __future__ import annotations

import numpy as np

from cutline.runtime.telemetry import KEPT, Durations, Telemetry


def test_percentiles_are_those_of_what_was_added() -> None:
    durations = Durations()
    for value in np.random.default_rng(1).permutation(1001):
        durations.add(int(value) * 1_000_000)
    assert durations.summary_ms() == {"mean": 500.0, "p50": 500.0, "p90": 900.0, "p99": 990.0, "max": 1000.0}


def test_the_oldest_is_forgotten() -> None:
    durations = Durations()
    for value in range(KEPT + 10):
        durations.add(value)
    assert len(durations.values()) == KEPT
    assert durations.values().min() == 10


def test_nothing_measured_is_an_empty_summary() -> None:
    assert all(stage == {} for stage in Telemetry().summary_ms().values())
