"""Every frame is accounted for, whatever is slow and whatever fails: in = out + dropped, and nothing hangs.

Everything is real but for three things: decoders run in threads instead of processes, and network and sink only take
their time. Sizes are the smallest there are, so that hundreds of runs take seconds.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutline.runtime import runner as runner_module
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, StorageError
from cutline.runtime.frame import Frame, FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.runner import Runner, RunReport, run_together
from cutline.runtime.slots import ArraySpec, Counts, Slot, SlotPool
from cutline.runtime.sources import custom, source, worker
from cutline.runtime.sources.messages import child_end, parent_end
from cutline.runtime.sources.trouble import LogTail

SIDE = 16  # pixels
PATIENCE_S = 60  # for one example; it takes a tenth of a second

Place = Literal["nowhere", "source", "start", "wait", "finish", "sink", "stop"]
FAILURES: Mapping[Place, int] = {"source": 65, "start": 69, "wait": 69, "finish": 69, "sink": 74}


@dataclass(frozen=True)
class Plan:
    """One stream: how slow each part is (mean milliseconds), and what happens at which frame."""

    frames: int
    policy: Literal["block", "latest"]
    live: bool
    source_ms: float
    network_ms: float
    sink_ms: float
    failing: Place
    at: int
    seed: int


class Pauses:
    """Random rests of one part, exponential as queues have them; most take none."""

    def __init__(self, seed: int, mean_ms: float) -> None:
        self._random, self._mean_s = random.Random(seed), mean_ms / 1e3

    def take(self) -> None:
        if self._mean_s and self._random.random() < 0.5:
            time.sleep(self._random.expovariate(1 / self._mean_s))


class Generator:
    """A source of another package: so many grey pictures, and then the end or a failure."""

    width = height = SIDE
    frame_rate = Fraction(25)
    frames = None

    def __init__(self, plan: Plan) -> None:
        self._plan, self.live = plan, plan.live
        self.made = 0
        self._pauses = Pauses(plan.seed, plan.source_ms)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for _ in range(self._plan.frames):
            self._pauses.take()
            if self._plan.failing == "source" and self.made == self._plan.at:
                raise BadInputError("it broke", remedy="Mend it.")
            self.made += 1
            yield np.full((SIDE, SIDE, 3), self.made % 200, np.uint8)


class ThreadChild:
    """A source process, as a thread."""

    pid = 0

    def __init__(self, redactor: Any, *, pass_stdin: bool) -> None:  # noqa: ARG002 - Child's own
        ours, theirs = socket.socketpair()
        self.channel = parent_end(ours)
        self._pipe = os.pipe()
        self._log = LogTail(self._pipe[0])
        self._thread = threading.Thread(target=self._run, args=(theirs,))
        self._thread.start()

    def _run(self, end: socket.socket) -> None:
        with closing(child_end(end)) as channel:
            worker.Worker(channel, self._log).run()

    def facts(self) -> dict[str, object]:
        return {}

    def obituary(self) -> CutlineError:
        raise AssertionError("a thread does not crash")

    def close(self, *, kill: bool = False) -> None:  # noqa: ARG002 - Child's own
        self.channel.close()
        self._thread.join()
        if self._pipe:
            self._log.close()
            os.close(self._pipe[1])
            self._pipe = ()  # type: ignore[assignment]


class SlowPath:
    """A network and kernels that compute nothing."""

    arrays: Mapping[str, ArraySpec] = {}
    surfaces = None

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count = {"start": 0, "wait": 0, "finish": 0}
        self._pauses = {name: Pauses(plan.seed + number, plan.network_ms) for number, name in enumerate(self._count)}

    def bind(self, pool: SlotPool) -> Sequence[str]:  # noqa: ARG002
        return ()

    def _step(self, name: Place) -> None:
        self._pauses[name].take()
        if self._plan.failing == name and self._count[name] == self._plan.at:
            raise DeviceError("it broke", remedy="Mend it.")
        self._count[name] += 1

    def start(self, slot: Slot, time: Timestamp, *, first: bool) -> None:  # noqa: ARG002
        self._step("start")

    def wait(self, slot: Slot) -> None:  # noqa: ARG002
        self._step("wait")

    def finish(self, slot: Slot, time: Timestamp, *, first: bool) -> None:  # noqa: ARG002
        self._step("finish")

    def surface(self, slot: Slot) -> None:
        """It has none."""

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """It has none."""

    def set_strength(self, strength: float) -> None:
        """It has none."""

    def close(self) -> None:
        """Nothing is open."""


class SlowEngine:
    """What the streams share: nothing."""

    contract = ModelContract(
        task="matte",
        frame=Image(tensor="image", width=SIDE, height=SIDE),
        outputs=(Output(tensor="alpha", meaning="alpha", width=SIDE, height=SIDE),),
    )
    name, device, gpu, precision, chosen = "slow", "none", None, "none", ""

    def __init__(self, plans: Mapping[str, Plan], in_flight: int) -> None:
        self._plans, self.in_flight = plans, in_flight

    def path(self, frame: FrameFormat, options: StreamOptions, style: Any) -> SlowPath:  # noqa: ARG002
        return SlowPath(self._plans[options.name])

    def attach(self) -> None:
        """There is no GPU."""

    def arrays(self, prefix: str) -> Mapping[str, ArraySpec]:
        raise AssertionError(prefix)

    def session(self, slots: Sequence[Slot], prefix: str) -> Any:
        raise AssertionError((slots, prefix))

    def close(self) -> None:
        """Nothing is open."""


class SlowSink:
    """Remembers which frames it was given."""

    wants_alpha = carries_alpha = live = ended = False

    def __init__(self, plan: Plan) -> None:
        self._plan, self._pauses = plan, Pauses(plan.seed + 9, plan.sink_ms)
        self.seen: list[int] = []

    def write(self, frame: Frame) -> None:
        self._pauses.take()
        if self._plan.failing == "sink" and len(self.seen) == self._plan.at:
            raise StorageError("it broke", remedy="Mend it.")
        self.seen.append(frame.index)

    def close(self, *, complete: bool) -> None:
        """Nothing is open."""

    def report(self) -> dict[str, object]:
        return {}


class Theatre:
    """Runs plans, and knows afterwards what each part saw."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._plans: dict[str, Plan] = {}
        self.generators: dict[str, list[Generator]] = {}
        self.sinks: dict[str, SlowSink] = {}
        patch.setattr(source, "Child", ThreadChild)
        patch.setattr(source, "FIRST_WAIT_S", 0.002)
        patch.setattr(source, "LONGEST_WAIT_S", 0.02)
        patch.setattr(worker, "_limit_memory", lambda nbytes: None)  # it would be ours
        patch.setattr(custom, "entry_points", lambda group: [self])
        patch.setattr(runner_module, "open_sink", lambda spec, info, options: self.sinks[info.name])

    name = "slow"  # as an entry point has one

    def load(self) -> Any:
        def opened(uri: str) -> Generator:
            stream = uri.removeprefix("slow://")
            self.generators[stream].append(Generator(self._plans[stream]))
            return self.generators[stream][-1]

        return opened

    def run(self, plans: Sequence[Plan], in_flight: int) -> list[RunReport]:
        """Run the plans side by side as streams 0, 1, ..."""
        self._plans = {str(number): plan for number, plan in enumerate(plans)}
        self.generators = {name: [] for name in self._plans}
        self.sinks = {name: SlowSink(plan) for name, plan in self._plans.items()}
        engine = SlowEngine(self._plans, in_flight)
        runners = []
        for name, plan in self._plans.items():
            options = StreamOptions(
                input=f"slow://{name}", name=name, policy=plan.policy, frames=plan.frames if plan.live else None
            )
            runners.append(Counting(engine, options, plan))
        reports: list[RunReport] = []
        thread = threading.Thread(target=lambda: reports.extend(run_together(runners)), daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "it hangs"
        return reports


class Counting:
    """A runner that looks at the sums at every frame, and stops where the plan says so."""

    def __init__(self, engine: Any, options: StreamOptions, plan: Plan) -> None:
        self.options, self._plan = options, plan
        self._runner = Runner(engine, options)
        self._frames = 0

    def run(self) -> RunReport:
        return self._runner.run(self._look)

    def _look(self, counts: Counts) -> None:
        assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight
        self._frames += 1
        if self._plan.failing == "stop" and self._frames > self._plan.at:
            self.stop()

    def stop(self) -> None:
        self._runner.stop()


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    with pytest.MonkeyPatch.context() as patch:
        yield Theatre(patch)


PAUSE = st.sampled_from([0.0, 0.0, 0.5, 3.0])
PLANS = st.builds(
    Plan,
    frames=st.integers(1, 30),
    policy=st.sampled_from(["block", "latest"]),
    live=st.booleans(),
    source_ms=PAUSE,
    network_ms=PAUSE,
    sink_ms=PAUSE,
    failing=st.sampled_from(["nowhere", "nowhere", "nowhere", *FAILURES, "stop"]),
    at=st.integers(0, 29),
    seed=st.integers(0, 1000),
)
SLOW_SINK = Plan(30, "latest", live=False, source_ms=0, network_ms=0, sink_ms=3, failing="nowhere", at=0, seed=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(plans=[SLOW_SINK], in_flight=2)
@given(plans=st.lists(PLANS, min_size=1, max_size=3), in_flight=st.integers(1, 3))
def test_sums_add_up_under_random_slowness_and_failures(theatre: Theatre, plans: list[Plan], in_flight: int) -> None:
    # a source that fails before its first frame is not there at all: that is another test's matter
    plans = [Plan(**{**vars(p), "at": max(1, p.at)}) if p.failing == "source" else p for p in plans]
    reports = theatre.run(plans, in_flight)
    assert [report.name for report in reports] == [str(number) for number in range(len(plans))]
    for plan, report in zip(plans, reports, strict=True):
        seen = theatre.sinks[report.name].seen
        made = sum(generator.made for generator in theatre.generators[report.name])
        assert report.frames_in == report.frames_out + report.dropped
        assert report.in_flight == 0
        assert report.frames_out == len(seen)
        assert seen == sorted(set(seen))
        assert report.frames_in <= made
        failed = report.exit_code != 0
        assert report.exit_code in (0, FAILURES.get(plan.failing, 0))
        if plan.live:
            assert report.frames_in <= plan.frames
        elif plan.failing == "nowhere" or (plan.failing == "source" and failed):
            assert report.frames_in == made  # whatever was made came out or was counted as dropped
        if plan.failing == "nowhere":
            assert not failed
            assert seen or plan.live  # the newest frame of a recording comes out, whatever is slow
            if plan.policy == "block":
                assert (report.dropped, seen) == (0, list(range(report.frames_in)))
        if plan.failing == "source" and not plan.live and plan.at < plan.frames:
            assert failed
