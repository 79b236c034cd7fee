from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from frames import ground
from sleeper import Clock, engine

from cutline.benchmarks import figures
from cutline.benchmarks.load import Load
from cutline.benchmarks.network import NetworkLoad
from cutline.runtime import StreamOptions
from cutline.runtime.errors import DeviceError, NoInputError
from cutline.runtime.frame import FrameFormat

LONG_S = 60.0  # never reached: turns end by their frames


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of pipelines and of the network's load, which moves only when somebody sleeps on it."""
    clock = Clock()
    stand_in = SimpleNamespace(
        monotonic_ns=clock.monotonic_ns, thread_time_ns=clock.thread_time_ns, monotonic=lambda: clock.ns / 1e9
    )
    monkeypatch.setattr("cutline.runtime.pipeline.time", stand_in)
    monkeypatch.setattr("cutline.benchmarks.network.time", stand_in)
    return clock


def stream(clip: Path, number: int = 0, **changes: object) -> StreamOptions:
    return StreamOptions(input=str(clip), loop=True, audio=False, name=f"test {number}", **changes)  # type: ignore[arg-type]


def test_a_session_that_sleeps_known_times_is_measured_to_the_part(clock: Clock, tiny: Path) -> None:
    parts = {"pre": 1.5, "network": 7.0, "post": 2.25}
    with closing(Load(engine(clock, **parts), [stream(tiny)], closed_loop=1)) as load:
        turn = load.turn(LONG_S, 0.0, frames=40)
    found = figures.queries(ground(), "single stream", [turn], 1)
    measured = {stage.name: stage.mean_ms for stage in found.stages}
    assert measured == pytest.approx(parts)
    assert found.figures["p50"].value == pytest.approx(sum(parts.values()))
    assert sum(measured.values()) == pytest.approx(found.figures["p50"].value, rel=0.02)


def test_a_query_of_several_frames_is_measured_as_one(clock: Clock, tiny: Path) -> None:
    with closing(Load(engine(clock, pre=1.0, network=5.0, post=1.0), [stream(tiny)], closed_loop=4)) as load:
        turn = load.turn(LONG_S, 0.0, frames=60)
    lengths = figures.queries(ground(), "multi stream", [turn], 4).figures["p50"]
    assert lengths.value == pytest.approx(4 * 7.0)  # whoever sleeps, the clock of all moves on
    assert lengths.n >= 14


def test_turns_give_frames_in_order_and_count_none_twice(clock: Clock, tiny: Path) -> None:
    with closing(Load(engine(clock, pre=1, network=1, post=1), [stream(tiny)], closed_loop=1)) as load:
        first, second = load.turn(LONG_S, 0.0, frames=10), load.turn(LONG_S, 0.0, frames=10)
    numbers = [*first.frames[0]["index"], *second.frames[0]["index"]]
    assert len(set(numbers)) == len(numbers) == 20
    assert numbers == sorted(numbers)
    assert second.settled >= 1  # the frame that lay there while the load rested


def test_frames_that_rested_in_queues_are_not_counted(tiny: Path) -> None:
    with closing(Load(engine(Clock(), pre=0, network=0, post=0), [stream(tiny)])) as load:
        load.turn(LONG_S, 0.0, frames=5)
        time.sleep(0.2)  # the queues fill; the test holds whether they do or not
        resumed_ns = time.monotonic_ns()
        second = load.turn(LONG_S, 0.0, frames=5)
    rows = second.frames[0]
    assert len(rows) >= 5
    assert (rows["available"] >= resumed_ns).all()
    assert (np.diff(rows["index"]) == 1).all()


def test_a_camera_that_stalls_when_its_turn_ends_has_the_stall_in_its_frames(tiny: Path) -> None:
    stalling = engine(Clock(), pre=0, network=0, post=0, stalls_at=4, stall_s=0.6)
    with closing(Load(stalling, [stream(tiny, pace=50.0)])) as load:
        turn = load.turn(0.3, 0.0)
    (rows,) = turn.frames
    late = rows["composed"] - rows["available"] > 0.4e9
    assert late.sum() >= 3  # all that were in the network, though they came out behind the turn's end
    assert (rows["available"] >= turn.began).all()
    assert (rows["available"] < turn.ended).all()


def test_a_load_rests_only_when_what_it_began_is_done(tiny: Path) -> None:
    working = engine(Clock(), pre=0, network=0, post=0, works_s=0.02)
    with closing(Load(working, [stream(tiny)])) as load:
        load.turn(LONG_S, 0.0, frames=5)
        load.rest()
        before = working.worked
        time.sleep(0.2)
        assert working.worked == before


def test_several_streams_run_at_once_and_each_is_told_apart(tiny: Path) -> None:
    streams = [stream(tiny, n) for n in range(3)]
    with closing(Load(engine(Clock(), pre=0, network=0, post=0), streams)) as load:
        turn = load.turn(LONG_S, 0.0, frames=8)
    assert len(turn.frames) == 3
    assert all(len(rows) >= 8 for rows in turn.frames)


def test_one_stream_that_fails_ends_the_turn_of_all(tiny: Path) -> None:
    streams = [stream(tiny, n) for n in range(2)]
    broken = engine(Clock(), pre=0, network=0, post=0, first_stream_fails_at=5)
    before = time.monotonic()
    with closing(Load(broken, streams)) as load, pytest.raises(DeviceError, match="gone"):
        load.turn(LONG_S, 0.0)
    assert time.monotonic() - before < LONG_S


def test_what_is_stopped_gives_what_there_is(tiny: Path) -> None:
    with closing(Load(engine(Clock(), pre=0, network=0, post=0), [stream(tiny)])) as load:
        load.turn(LONG_S, 0.0, frames=5)
        load.stop()
        turn = load.turn(LONG_S, LONG_S)
    assert len(turn.frames) == 1


def test_a_load_that_cannot_open_one_stream_leaves_none_open(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        Load(engine(Clock(), pre=0, network=0, post=0), [stream(tiny), stream(tmp_path / "missing.mp4", 1)])


def test_frames_reach_the_sink(clock: Clock, tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with closing(Load(engine(clock, pre=1, network=1, post=1), [stream(tiny, output=str(output))])) as load:
        load.turn(LONG_S, 0.0, frames=10)
    assert output.stat().st_size > 500


def test_the_network_alone_is_measured_from_both_sides(clock: Clock) -> None:
    sleeping = engine(clock, enqueue=0.5, network=8.0, h2d=1.0, compute=6.0, d2h=0.5)
    with closing(NetworkLoad(sleeping, FrameFormat(width=64, height=36))) as load:
        singles = load.one_by_one(4.25, lambda: False)
    found = figures.network(ground(), [singles], [])
    assert len(singles) == 500  # 8.5 ms each
    assert found.figures["latency.p50"].value == 7.5
    assert found.figures["enqueue.p50"].value == 0.5
    assert found.times[1].startEnqMs - found.times[0].startEnqMs == pytest.approx(8.5)


def test_a_saturated_network_has_one_inference_more_than_it_wants(clock: Clock) -> None:
    sleeping = engine(clock, enqueue=0.5, network=8.0, h2d=0, compute=8.0, d2h=0)
    with closing(NetworkLoad(sleeping, FrameFormat(width=64, height=36))) as load:
        rate = load.saturated(2.0, lambda: False)
    assert sleeping.sessions[0].most == 3
    assert sleeping.sessions[0].running == 0
    found = figures.network(ground(), [], [rate]).figures["fps"]
    assert found.value == pytest.approx(1000 / 8.5, rel=0.01)


def test_a_network_that_is_stopped_stops(clock: Clock) -> None:
    sleeping = engine(clock, enqueue=0.5, network=8.0, h2d=0, compute=8.0, d2h=0)
    with closing(NetworkLoad(sleeping, FrameFormat(width=64, height=36))) as load:
        assert load.one_by_one(1e9, lambda: True) == []
        assert load.saturated(1e9, lambda: True).frames == 0
