"""An engine that does nothing but sleep, for known times, on a clock that only sleeping moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import DeviceError
from cutline.runtime.sessions import DeviceTimes
from cutline.runtime.slots import ArraySpec, Slot

WIDTH, HEIGHT = 32, 16


class Clock:
    """Stands in for the module `time` where a pipeline asks for the time."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000
        self._lock = threading.Lock()

    def monotonic_ns(self) -> int:
        return self.ns

    def thread_time_ns(self) -> int:
        return 1

    def sleep_ms(self, ms: float) -> None:
        with self._lock:
            self.ns += round(ms * 1e6)


class SleepingPath:
    """Sleeps where pre, the network and post would work."""

    arrays: Mapping[str, ArraySpec] = {}
    surfaces = None

    def __init__(self, clock: Clock, parts: Mapping[str, float], fails_at: float, worked: Callable[[], None]) -> None:
        self._clock, self._parts, self._fails_at, self._worked = clock, parts, fails_at, worked
        self._started = self._waited = 0

    def bind(self, pool: object) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's signature
        return ()

    def start(self, slot: Slot, stamp: object, *, first: bool) -> None:  # noqa: ARG002
        self._clock.sleep_ms(self._parts["pre"])
        self._started += 1
        if self._started == self._fails_at:
            raise DeviceError("the device is gone", remedy="Plug it in.")

    def wait(self, slot: Slot) -> None:  # noqa: ARG002
        self._clock.sleep_ms(self._parts["network"])
        self._waited += 1
        if self._waited == self._parts.get("stalls_at"):
            time.sleep(self._parts["stall_s"])

    def finish(self, slot: Slot, stamp: object, *, first: bool) -> None:  # noqa: ARG002
        self._clock.sleep_ms(self._parts["post"])
        until = time.thread_time() + self._parts.get("works_s", 0.0)
        while time.thread_time() < until:
            pass
        self._worked()

    def surface(self, slot: Slot) -> None:
        pass

    def close(self) -> None:
        pass


class SleepingSession:
    """Keeps times of its own, as a GPU does."""

    def __init__(self, clock: Clock, parts: Mapping[str, float]) -> None:
        self._clock, self._parts = clock, parts
        self.running = 0
        self.most = 0

    def start(self, slot: Slot) -> None:  # noqa: ARG002
        self._clock.sleep_ms(self._parts["enqueue"])
        self.running += 1
        self.most = max(self.most, self.running)

    def wait(self, slot: Slot) -> None:  # noqa: ARG002
        self._clock.sleep_ms(self._parts["network"])
        self.running -= 1

    def device_times(self, slot: Slot) -> DeviceTimes:  # noqa: ARG002
        return DeviceTimes(self._parts["h2d"], 0.0, self._parts["compute"], 0.0, self._parts["d2h"])

    def close(self) -> None:
        pass


class SleepingEngine:
    """An engine of one such network."""

    contract = ModelContract(
        task="matte", frame=Image(tensor="x", width=WIDTH, height=HEIGHT),
        outputs=(Output(tensor="a", meaning="alpha", width=WIDTH, height=HEIGHT),),
    )  # fmt: skip
    name, device, gpu, precision, in_flight = "sleeper", "none", None, "fp32", 2

    def __init__(self, clock: Clock, parts: Mapping[str, float]) -> None:
        self._clock, self._parts = clock, parts
        self.sessions: list[SleepingSession] = []
        self.paths = self.worked = 0  # worked: frames that post is done with

    def path(self, *given: object) -> SleepingPath:  # noqa: ARG002
        self.paths += 1
        fails_at = self._parts.get("first_stream_fails_at", 0.0) if self.paths == 1 else 0.0
        return SleepingPath(self._clock, self._parts, fails_at, self._count)

    def _count(self) -> None:
        self.worked += 1

    def arrays(self, prefix: str) -> dict[str, ArraySpec]:
        return {f"{prefix}input": ArraySpec((1, 3, HEIGHT, WIDTH), "float32")}

    def session(self, slots: Sequence[Slot], prefix: str) -> SleepingSession:
        assert all(np.isfinite(slot.arrays[f"{prefix}input"]).all() for slot in slots)
        self.sessions.append(SleepingSession(self._clock, self._parts))
        return self.sessions[-1]

    def close(self) -> None:
        pass


def engine(clock: Clock, **parts: float) -> Any:
    """A sleeping engine, for what wants an Engine."""
    return SleepingEngine(clock, parts)
