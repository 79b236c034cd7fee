"""The network alone: sessions on bare slots, no frames, nothing before and after. The field's yardstick is trtexec."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from cutline.benchmarks.schema import NetworkTime
from cutline.runtime.frame import FrameFormat
from cutline.runtime.sessions import Engine, TimedSession
from cutline.runtime.slots import Slot, SlotPool

__all__ = ["Inference", "NetworkLoad", "Rate"]

BLOCK_S: Final = 0.05  # length of the blocks over which a rate's bounds are drawn


@dataclass(frozen=True, slots=True)
class Inference:
    """One inference from the host's side, monotonic ns, and from the device's, ms, where it keeps time."""

    start: int
    enqueued: int
    end: int
    h2d_ms: float = 0.0
    compute_ms: float | None = None  # None: the device keeps no time of its own
    d2h_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """trtexec's latency: copies and compute; from the host's side where the device keeps no time."""
        if self.compute_ms is None:
            return (self.end - self.start) / 1e6
        return self.h2d_ms + self.compute_ms + self.d2h_ms

    def exported(self, origin: int) -> NetworkTime:
        """In trtexec's fields; stamps in ms since `origin`."""
        compute = self.total_ms if self.compute_ms is None else self.compute_ms
        begin = (self.start - origin) / 1e6
        after_h2d, after_compute = begin + self.h2d_ms, begin + self.h2d_ms + compute
        stamps = {
            "startEnqMs": begin, "endEnqMs": (self.enqueued - origin) / 1e6, "startH2dMs": begin,
            "endH2dMs": after_h2d, "startComputeMs": after_h2d, "endComputeMs": after_compute,
            "startD2hMs": after_compute, "endD2hMs": after_compute + self.d2h_ms, "h2dMs": self.h2d_ms,
            "computeMs": compute, "d2hMs": self.d2h_ms, "latencyMs": self.total_ms,
        }  # fmt: skip
        return NetworkTime(**{name: round(value, 5) for name, value in stamps.items()})


@dataclass(frozen=True, slots=True)
class Rate:
    """A saturated turn in blocks: frames per second, and seconds, of each."""

    fps: tuple[float, ...]
    seconds: tuple[float, ...]
    frames: int


@final
class NetworkLoad:
    """Owns slots and a session on them, until close(); borrows the engine."""

    def __init__(self, engine: Engine, frame: FrameFormat) -> None:
        """Allocate the slots and fill the inputs with noise, which costs a network what pictures cost.

        Raises:
            CutlineError: what the session raises.
        """
        self._depth = engine.in_flight + 1
        with ExitStack() as undo:
            pool = SlotPool(format=frame, depth=self._depth, arrays=engine.arrays(""), alpha=False)
            undo.callback(pool.close)
            self._session = engine.session(pool.slots, "")
            undo.callback(self._session.close)
            self._clock = self._session if isinstance(self._session, TimedSession) else None  # the device's own
            self._slots = pool.slots
            self._undo = undo.pop_all()
        rng = np.random.default_rng(0)
        for slot in self._slots:
            tensor = slot.arrays["input"]
            if tensor.dtype.itemsize == 1:
                tensor[...] = rng.integers(0, 128, tensor.shape)
                continue
            noise = rng.uniform(0.25, 1.0, tensor.shape).astype(np.float32)
            # bfloat16 travels as the upper half of a float32's bits
            tensor[...] = noise.view(np.uint32) >> 16 if tensor.dtype == np.uint16 else noise

    def one_by_one(self, seconds: float, stopped: Callable[[], bool]) -> list[Inference]:
        """One inference at a time, for so long."""
        found: list[Inference] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until and not stopped():
            found.append(self._infer(self._slots[len(found) % self._depth]))
        return found

    def saturated(self, seconds: float, stopped: Callable[[], bool]) -> Rate:
        """As many inferences at once as the engine wants and one more, for so long."""
        for slot in self._slots:
            self._session.start(slot)
        rates, lengths, frames = [], [], 0
        for _ in range(2 * self._depth):  # until they come out as evenly as they will
            self._next(frames)
            frames += 1
        until = time.monotonic() + seconds
        block_began, block_frames = time.monotonic(), 0
        while (now := time.monotonic()) < until and not stopped():
            if now - block_began >= BLOCK_S:
                rates.append(block_frames / (now - block_began))
                lengths.append(now - block_began)
                block_began, block_frames = now, 0
            self._next(frames)
            frames += 1
            block_frames += 1
        if block_frames:
            lengths.append(time.monotonic() - block_began)
            rates.append(block_frames / lengths[-1])
        for number in range(self._depth):
            self._session.wait(self._slots[(frames + number) % self._depth])
        return Rate(tuple(rates), tuple(lengths), sum(round(r * s) for r, s in zip(rates, lengths, strict=True)))

    def close(self) -> None:
        """Free the slots. Works twice."""
        self._slots = ()
        self._undo.close()

    def _next(self, number: int) -> None:
        slot = self._slots[number % self._depth]
        self._session.wait(slot)
        self._session.start(slot)

    def _infer(self, slot: Slot) -> Inference:
        start = time.monotonic_ns()
        self._session.start(slot)
        enqueued = time.monotonic_ns()
        self._session.wait(slot)
        end = time.monotonic_ns()
        if self._clock is None:
            return Inference(start, enqueued, end)
        told = self._clock.device_times(slot)
        return Inference(start, enqueued, end, told.h2d_ms, told.compute_ms, told.d2h_ms)
