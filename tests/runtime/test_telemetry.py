from __future__ import annotations

import numpy as np

from cutline.runtime.telemetry import KEPT, FrameStamps, Telemetry

MS = 1_000_000


def test_percentiles_are_those_of_what_was_added() -> None:
    telemetry = Telemetry()
    for value in np.random.default_rng(1).permutation(1001):
        telemetry.add(FrameStamps(available=5 * MS, composed=(5 + int(value)) * MS))
    assert telemetry.summary_ms()["latency"] == {"mean": 500.0, "p50": 500.0, "p90": 900.0, "p99": 990.0, "max": 1000.0}


def test_every_stage_lies_between_its_two_stamps() -> None:
    telemetry = Telemetry()
    telemetry.add(
        FrameStamps(
            available=1 * MS, taken=3 * MS, prepared=7 * MS, inferred=15 * MS, composed=31 * MS, delivered=40 * MS,
            released=72 * MS,
        )
    )  # fmt: skip
    means = {name: stage["mean"] for name, stage in telemetry.summary_ms().items()}
    assert means == {"wait": 2.0, "pre": 4.0, "network": 8.0, "post": 16.0, "deliver": 32.0, "latency": 30.0}


def test_a_frame_that_nobody_took_counts_for_latency_and_not_for_delivery() -> None:
    telemetry = Telemetry()
    telemetry.add(FrameStamps(available=1 * MS, composed=9 * MS))
    assert telemetry.summary_ms()["latency"]["max"] == 8.0
    assert telemetry.summary_ms()["deliver"] == {}


def test_the_oldest_is_forgotten_and_the_rest_keep_their_order() -> None:
    telemetry = Telemetry()
    for value in range(KEPT + 10):
        telemetry.add(FrameStamps(index=value))
    assert np.array_equal(telemetry.frames()["index"], np.arange(10, KEPT + 10))
    assert telemetry.frames(since=KEPT + 7)["index"].tolist() == [KEPT + 7, KEPT + 8, KEPT + 9]


def test_nothing_measured_is_an_empty_summary() -> None:
    assert all(stage == {} for stage in Telemetry().summary_ms().values())
