from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from frames import MS, PARTS, ground, paced_rows, turn_of, without

from cutline.benchmarks import figures
from cutline.benchmarks.load import Turn
from cutline.benchmarks.network import Inference, Rate
from cutline.benchmarks.schema import STAGES
from cutline.benchmarks.stages import bytes_moved, trace
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.frame import FrameFormat
from cutline.runtime.telemetry import FrameStamps, Telemetry

COMPOSED = PARTS["copy"] + PARTS["pre"] + PARTS["network"] + PARTS["post"]


def test_a_paced_run_finds_the_times_that_went_in() -> None:
    found = figures.paced(ground(), turn_of(paced_rows(400, 40.0, PARTS)), 25.0)
    assert found.figures["p50"].value == pytest.approx(COMPOSED)
    assert found.figures["p99"].value == pytest.approx(COMPOSED)
    assert found.figures["sink.p99"].value == pytest.approx(COMPOSED + PARTS["sink"])
    assert found.figures["missed"].value == 0
    assert found.figures["dropped"].value == 0
    assert found.figures["fps"].value == pytest.approx(25.0, rel=1e-3)


def test_the_parts_of_a_paced_run_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(4)
    stall = {n: float(ms) for n, ms in enumerate(rng.exponential(8.0, 500))}
    found = figures.paced(ground(), turn_of(paced_rows(500, 40.0, PARTS, stall=stall)), 25.0)
    parts = {stage.name: stage.mean_ms for stage in found.stages}
    whole = figures.latencies(turn_of(paced_rows(500, 40.0, PARTS, stall=stall)), "released", 25.0)[0].mean()
    assert set(parts) == set(STAGES)
    assert sum(ms for name, ms in parts.items() if name != "decode") == pytest.approx(whole, rel=0.02)
    assert sum(stage.share or 0.0 for stage in found.stages) == pytest.approx(1.0, abs=0.001)
    assert parts["pre"] == pytest.approx(PARTS["pre"], rel=0.02)
    assert parts["network"] == pytest.approx(PARTS["network"] + np.mean(list(stall.values())), rel=0.02)


def test_frames_behind_a_stall_count_from_when_they_were_due() -> None:
    # frame 100 stalls for half a second: those behind it are late, though each one's own work is as quick as ever
    rows = paced_rows(1000, 40.0, PARTS, stall={100: 500.0})
    found = figures.paced(ground(), turn_of(rows), 25.0)
    busy = sum(PARTS[name] for name in ("pre", "network", "post", "sink"))
    late = [COMPOSED + 500 - (40 - busy) * k for k in range(1, 30) if 500 - (40 - busy) * k > 0]
    assert len(late) > 20
    assert found.figures["p99"].value == pytest.approx(sorted([COMPOSED + 500, *late])[-11], abs=1.5)
    (composed,), (taken,) = (figures.latencies(turn_of(rows), stamp, 25.0) for stamp in ("composed", "taken"))
    served = composed - taken
    assert np.quantile(served, 0.99) == pytest.approx(COMPOSED - PARTS["copy"])  # what a closed loop would have told
    slow = np.sum(composed > 40.0)
    assert found.figures["missed"].value == pytest.approx(slow / 1000)


def test_a_dropped_frame_is_late_for_ever_and_no_percentile_hides_it() -> None:
    rows = without(paced_rows(1000, 40.0, PARTS), *range(100, 120))
    found = figures.paced(ground(), turn_of(rows), 25.0)
    assert found.figures["dropped"].value == 20
    assert found.figures["missed"].value == pytest.approx(0.02)
    assert "p99" not in found.figures
    assert "p99 has no value: 20 of 1000 frames never came" in found.warnings
    assert found.figures["p90"].value == pytest.approx(COMPOSED)


def test_frames_that_were_due_before_the_end_and_are_not_there_never_came() -> None:
    whole = paced_rows(400, 40.0, PARTS)
    ended = int(whole["available"][-1]) + 1
    found = figures.paced(ground(), turn_of(whole[:380], ended=ended), 25.0)  # the last 0.8 s gave nothing
    assert found.figures["missed"].n == 400
    assert found.figures["dropped"].value == 20
    assert "p99" not in found.figures


def test_a_camera_of_which_nothing_came_has_missed_everything() -> None:
    nothing = paced_rows(10, 40.0, PARTS)[:0]
    found = figures.paced(ground(), Turn(began=0, ended=4000 * MS, frames=(nothing,), settled=0, process_core=0), 25.0)
    assert found.figures["missed"].value == 1
    assert found.figures["dropped"].value == 100
    assert "p50 has no value: 100 of 100 frames never came" in found.warnings


def test_repeats_of_several_cameras_are_parts_of_the_time_and_not_cameras() -> None:
    slow = dict.fromkeys(range(200, 500), 15.0)
    rows = [paced_rows(500, 40.0, PARTS, stall=stall) for stall in ({}, slow)]
    repeats = figures.paced(ground(streams=2), turn_of(*rows), 25.0).figures["p90"].repeats
    assert repeats == pytest.approx([COMPOSED] * 2 + [COMPOSED + 15] * 3)


def test_a_composite_that_no_sink_took_counts_for_the_composite_alone() -> None:
    rows = paced_rows(100, 40.0, PARTS).copy()
    rows["delivered"][7] = rows["released"][7] = 0
    found = figures.paced(ground(), turn_of(rows), 25.0)
    assert found.figures["missed"].value == 0
    assert found.figures["dropped"].value == 1
    assert found.figures["p50"].n == 100


def test_a_percentile_without_enough_frames_is_left_out_by_name() -> None:
    found = figures.paced(ground(), turn_of(paced_rows(100, 40.0, PARTS)), 25.0)
    assert "p99" not in found.figures
    assert "100 frames are too few for p99 (368), p99.9 (3688)" in found.warnings


@pytest.mark.parametrize("samples", [1, 4])
def test_a_query_lasts_from_its_first_frame_taken_to_its_last_composite(samples: int) -> None:
    telemetry = Telemetry()
    for number in range(80):
        start = number // samples * 100 * MS
        place = number % samples
        telemetry.add(
            FrameStamps(
                index=number, available=1, filled=1, taken=start + place * MS + 1, prepared=start + (place + 1) * MS,
                inferred=start + (10 + place) * MS, composed=start + (20 + 5 * place) * MS + 1,
                delivered=start + 90 * MS, released=start + 91 * MS,
            )
        )  # fmt: skip
    whole = telemetry.frames()
    found = figures.queries(ground(), "multi stream", [turn_of(whole[3:])], samples)  # the first query is not whole
    assert found.figures["p50"].value == pytest.approx(20 + 5 * (samples - 1), abs=1e-3)
    assert found.figures["p50"].n == (77 if samples == 1 else 19)
    assert {stage.name for stage in found.stages} == {"pre", "network", "post"}


def test_the_rate_is_of_all_streams_together() -> None:
    one, other = paced_rows(300, 20.0, PARTS), paced_rows(300, 20.0, PARTS)
    found = figures.throughput(ground(streams=2), [turn_of(one, other)], None)
    assert found.figures["fps"].value == pytest.approx(100.0, rel=0.02)


def test_the_ratio_is_to_the_network_alone() -> None:
    rates = [Rate((100.0, 100.0), (0.1, 0.1), 20) for _ in range(5)]
    alone = figures.network(ground(), [], rates).figures["fps"]
    turns = [turn_of(paced_rows(100, 20.0, PARTS)) for _ in range(5)]
    ratio = figures.throughput(ground(), turns, alone).figures["ratio"]
    assert ratio.value == pytest.approx(0.5, rel=0.02)
    assert len(ratio.repeats) == 5


def test_pythons_share_is_what_the_threads_did_besides() -> None:
    # frames.py: the feeder's clock moves 3 ms a frame of which pre is 2, the finisher's 5 and 4, the caller's 4 and 3
    found = figures.paced(ground(), turn_of(paced_rows(200, 40.0, PARTS), process_core=200 * 30 * MS), 25.0)
    assert found.figures["python_ms"].value == pytest.approx(3.0)
    assert found.figures["core_ms"].value == pytest.approx(35.0)  # the process, and 5 of the decoder
    core = {stage.name: stage.core_ms for stage in found.stages}
    assert core["network"] == pytest.approx(30 - 12)
    assert core["decode"] == pytest.approx(5)
    assert core["copy"] is None


def test_pythons_share_is_the_same_in_whatever_order_frames_came_out() -> None:
    rows = paced_rows(200, 40.0, PARTS)
    order = [*range(198), 199, 198]  # one that was replaced is written down before the one that is being taken
    found = [figures.throughput(ground(), [turn_of(r)], None).figures["python_ms"] for r in (rows, rows[order])]
    assert found[0].value == found[1].value


def test_an_encoders_threads_are_not_taken_for_the_network() -> None:
    found = figures.throughput(ground(output="x.mp4"), [turn_of(paced_rows(200, 40.0, PARTS))], None)
    assert all(stage.core_ms is None for stage in found.stages if stage.name in ("network", "sink"))


def test_energy_is_told_per_frame_and_by_who_told_it() -> None:
    found = figures.paced(ground(energy_mj={"RAPL": 5000.0}), turn_of(paced_rows(100, 40.0, PARTS)), 25.0)
    assert found.figures["energy.rapl"].value == 50.0
    assert found.figures["energy.rapl"].unit == "mJ"


def test_frames_that_settled_had_their_share_of_the_energy() -> None:
    turn = turn_of(paced_rows(100, 40.0, PARTS), settled=25)  # the meter ran for them too
    found = figures.throughput(ground(energy_mj={"NVML": 5000.0}), [turn], None)
    assert found.figures["energy.nvml"].value == 40.0


def test_inferences_are_told_as_trtexec_tells_them() -> None:
    timed = [Inference(n * 10 * MS, n * 10 * MS + 50_000, n * 10 * MS + 9 * MS, 0.5, 7.0, 0.25) for n in range(400)]
    found = figures.network(ground(), [timed], [])
    assert found.figures["latency.p99"].value == 7.75
    assert found.figures["h2d.p50"].value == 0.5
    assert found.figures["compute.p50"].value == 7.0
    assert found.figures["enqueue.p50"].value == 0.05
    for t in found.times:
        assert t.latencyMs == pytest.approx(t.h2dMs + t.computeMs + t.d2hMs)
        assert t.startH2dMs <= t.endH2dMs == t.startComputeMs <= t.endComputeMs == t.startD2hMs <= t.endD2hMs


def test_a_device_without_a_clock_of_its_own_is_timed_from_outside_and_says_so() -> None:
    found = figures.network(ground(), [[Inference(0, 10_000, 6 * MS) for _ in range(40)]], [])
    assert found.figures["compute.p50"].value == 6.0
    assert found.figures["h2d.p50"].value == 0.0
    assert any("timed from the host" in warning for warning in found.warnings)


def test_a_trace_is_one_second_of_all_streams() -> None:
    rows = paced_rows(100, 40.0, PARTS).copy()
    rows["delivered"][50] = rows["released"][50] = 0
    records = trace([rows, rows])
    assert len(records) == 50
    assert {r.stream for r in records} == {0, 1}
    for record in records:
        spans = [s for s in record.spans if s.stage != "decode"]
        assert 0 <= record.available_ms < 1000
        assert spans[0].start_ms == record.available_ms
        assert all(math.isclose(a.end_ms, b.start_ms) for a, b in itertools.pairwise(spans))
        assert [s.stage for s in record.spans] == list(STAGES if not record.dropped else STAGES[:6])
    assert [r.index for r in records if r.dropped] == [50, 50]
    assert trace([]) == ()


def test_a_stage_without_stamps_is_not_in_the_trace() -> None:
    rows = paced_rows(10, 40.0, PARTS).copy()
    rows["decode_began"] = rows["decode_ended"] = 0  # a source that does not tell
    (first, *_) = trace([rows])
    assert [s.stage for s in first.spans] == list(STAGES[1:])
    assert not first.dropped


def test_bytes_are_those_of_pictures_and_tensors() -> None:
    contract = ModelContract(
        task="matte", frame=Image(tensor="x", width=32, height=16, dtype="float16"),
        outputs=(Output(tensor="a", meaning="alpha", width=32, height=16),),
    )  # fmt: skip
    moved = bytes_moved(FrameFormat(width=64, height=36), contract)
    planes = 64 * 36 * 3 // 2
    assert moved["copy"] == 2 * planes
    assert moved["pre"] == planes + 2 * 3 * 32 * 16 + 3 * 32 * 16
    assert moved["network"] == 2 * 3 * 32 * 16 + 4 * 32 * 16
    assert moved["post"] == 2 * planes + 4 * 32 * 16 + 3 * 32 * 16
