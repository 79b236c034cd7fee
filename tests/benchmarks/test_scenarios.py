from __future__ import annotations

import math
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sleeper import Clock, engine

from cutline.benchmarks.clips import open_clip
from cutline.benchmarks.load import Load
from cutline.benchmarks.network import NetworkLoad
from cutline.benchmarks.options import BenchOptions, TimePlan
from cutline.benchmarks.paced import run_paced
from cutline.benchmarks.rounds import Rounds
from cutline.benchmarks.scaling import run_scaling
from cutline.benchmarks.schema import STAGES, Scenario
from cutline.benchmarks.setting import Setting, Stopping

FRAMES = 12
PARTS = {"pre": 0, "network": 0, "post": 0, "enqueue": 0, "h2d": 1.0, "compute": 2.0, "d2h": 0.5}


@pytest.fixture(autouse=True)
def _turns_end_by_their_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a turn has the frames that figures need."""
    whole = Load.turn
    monkeypatch.setattr(Load, "turn", lambda load, _seconds, _settle_s: whole(load, 600.0, 0.0, frames=FRAMES))


@pytest.fixture
def setting(tiny: Path, tmp_path: Path) -> Setting:
    """Scenarios of a network that takes no time, over a clip of twelve frames; only the plumbing is real."""
    sleeping = engine(Clock(), **PARTS)
    engines: Any = SimpleNamespace(latency=sleeping, throughput=sleeping, on_gpu=True)
    plan = TimePlan(
        rounds=3, unit_s=0.1, settle_s=0.01, paced_s=1.0, paced_settle_s=0.1, point_s=0.1, cold_starts=0, warm_starts=0
    )
    return Setting(
        options=BenchOptions(pace=50.0, streams=(1, 2), batch=4, sizes=((64, 36), (128, 72))), plan=plan,
        clip=open_clip(str(tiny), lambda text: None, tmp_path), size=(64, 36), engines=engines, gpus=(),
        stopping=Stopping(), deadline=math.inf,
    )  # fmt: skip


def changed(setting: Setting, **fields: object) -> Setting:
    return Setting(**({name: getattr(setting, name) for name in Setting.__dataclass_fields__} | fields))  # type: ignore[arg-type]


def in_rounds(setting: Setting, *rounds: int) -> list[Scenario]:
    """What so many rounds give, with a pause between these numbers of them."""
    with closing(Rounds(setting)) as measured:
        for number in rounds:
            measured.run(number)
        return measured.scenarios()


def test_every_scenario_that_rests_has_its_turn_in_every_round(setting: Setting) -> None:
    found = in_rounds(setting, 1, 2)
    assert [s.kind for s in found] == ["network", "single stream", "multi stream", "throughput", "throughput"]
    assert [s.repeats for s in found] == [3] * 5
    assert [s.output for s in found] == ["null://"] * 4 + ["file.mp4"]
    network, single, multi, composite, file = found
    assert network.figures["latency.p50"].value == 3.5
    assert len(network.figures["latency.p50"].repeats) == 3
    assert len(network.figures["fps"].repeats) == 3
    assert multi.batch == 4
    assert single.batch == 1
    assert composite.figures["ratio"].unit == "ratio"
    assert {stage.name for stage in file.stages} == set(STAGES)
    assert all(s.frames >= 3 * FRAMES and s.warm_up_frames > 0 for s in found[1:])


def test_the_network_has_a_turn_before_each_scenario_of_a_round(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    one_by_one, turn = NetworkLoad.one_by_one, Load.turn

    def inferring(load: NetworkLoad, seconds: float, stopped: Any) -> Any:
        order.append("network" if seconds != setting.plan.settle_s else "settle")
        return one_by_one(load, seconds, stopped)

    def carrying(load: Load, seconds: float, settle_s: float) -> Any:
        order.append("pipeline")
        return turn(load, seconds, settle_s)

    monkeypatch.setattr(NetworkLoad, "one_by_one", inferring)
    with closing(Rounds(setting)) as rounds:
        monkeypatch.setattr(Load, "turn", carrying)
        rounds.run(2)
    assert order == ["settle", "network", "pipeline"] * 8


def test_behind_the_deadline_one_round_is_enough(setting: Setting) -> None:
    found = in_rounds(changed(setting, deadline=time.monotonic() - 1), 2, 2)
    assert [s.repeats for s in found] == [1] * 5


def test_rounds_that_are_stopped_give_what_there_is(setting: Setting) -> None:
    with closing(Rounds(setting)) as rounds:
        rounds.run(1)
        setting.stopping.stop()
        rounds.run(3)
        assert [s.repeats for s in rounds.scenarios()] == [1] * 5


def test_after_the_word_to_stop_there_is_nothing_more(setting: Setting) -> None:
    setting.stopping.stop()
    assert run_paced(setting) == []
    assert all(curve.points == () for curve in run_scaling(setting))


def test_a_paced_run_has_its_times_stages_and_trace(setting: Setting) -> None:
    (found,) = run_paced(setting)
    assert found.kind == "paced"
    assert found.pace_fps == 50.0
    assert found.frames >= FRAMES
    assert {"missed", "dropped", "fps", "core_ms", "python_ms"} <= set(found.figures)
    assert {stage.name for stage in found.stages} == set(STAGES)
    assert {"latency", "sink"} <= set(found.cdfs)
    assert found.trace


def test_paced_frames_go_to_a_file_that_is_forgotten(setting: Setting, tmp_path: Path) -> None:
    options = BenchOptions(pace=50.0, streams=(2,), output="keep.mp4")
    (found,) = run_paced(changed(setting, options=options))
    assert found.output == "keep.mp4"
    assert found.streams == 2
    assert not Path("keep.mp4").exists()
    assert not list(tmp_path.glob("keep*"))


def test_curves_have_a_point_for_each_place(setting: Setting) -> None:
    streams, size, cores = run_scaling(setting)
    assert [point.label for point in streams.points] == ["1", "2"]
    assert "per_stream" in streams.points[1].figures
    assert [point.label for point in size.points] == ["64x36", "128x72"]
    assert cores.points == ()  # a GPU's work is not the cores'


def test_one_stream_of_the_usual_size_is_measured_once_for_both_curves(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutline.benchmarks import scaling

    calls: list[tuple[int, int]] = []
    whole = scaling._size

    def counted(setting: Setting, size: tuple[int, int]) -> object:
        calls.append(size)
        return whole(setting, size)

    monkeypatch.setattr(scaling, "_size", counted)
    streams, size, _ = run_scaling(setting)
    assert calls == [(128, 72)]
    assert size.points[0].figures["fps"] == streams.points[0].figures["fps"]


def test_what_the_time_does_not_reach_is_named(setting: Setting) -> None:
    streams, size, _ = run_scaling(changed(setting, deadline=time.monotonic() - 1))
    assert streams.points == size.points == ()
    assert streams.warnings == ("1 was left out: no time", "2 was left out: no time")


def test_a_place_that_fails_costs_the_curve_one_point(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    from cutline.benchmarks import scaling
    from cutline.runtime.errors import UsageError

    whole = scaling._streams

    def fail_at_two(setting: Setting, count: int) -> object:
        if count == 2:
            raise UsageError("no memory for the slots", remedy="Use fewer.")
        return whole(setting, count)

    monkeypatch.setattr(scaling, "_streams", fail_at_two)
    streams = run_scaling(setting)[0]
    assert [point.label for point in streams.points] == ["1"]
    assert streams.warnings == ("2 was left out: no memory for the slots. Use fewer.",)
