"""What all scenarios of one precision share: the options, the engines, the clip, and the word to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

import msgspec

from cutline.benchmarks.clips import Clip
from cutline.benchmarks.energy import EnergyMeter
from cutline.benchmarks.figures import Ground
from cutline.benchmarks.machine import Conditions
from cutline.benchmarks.nvml import Gpu
from cutline.benchmarks.options import BenchOptions, TimePlan
from cutline.benchmarks.stages import bytes_moved
from cutline.runtime import StreamOptions
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import UsageError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.sessions import Engine, EngineOptions, open_engine

__all__ = ["Engines", "Setting", "Stopping", "Watch"]

BACKGROUND: Final = "#e8eef2"


class Stoppable(Protocol):
    """What runs, and can be told to end soon."""

    def stop(self) -> None:
        """End soon. Safe in a signal handler."""
        ...


@final
class Stopping:
    """The word to stop, and who must hear it. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._running: list[Stoppable] = []

    @property
    def stopped(self) -> bool:
        """Whether it was said."""
        return self._event.is_set()

    def stop(self) -> None:
        """Say it. Safe in a signal handler."""
        self._event.set()
        for running in tuple(self._running):
            running.stop()

    def wait(self, seconds: float) -> None:
        """Sleep, unless it is said before."""
        self._event.wait(seconds)

    @contextmanager
    def hears(self, running: Stoppable) -> Iterator[None]:
        """Pass the word on to what runs inside the block."""
        self._running.append(running)
        if self.stopped:
            running.stop()
        try:
            yield
        finally:
            self._running.remove(running)


@final
class Watch:
    """Conditions and energy of all turns of one scenario."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = gpus
        self._conditions = Conditions(gpus)
        self._spent: Counter[str] = Counter()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Watch while something is measured; may be entered again, for the next turn."""
        meter = EnergyMeter(self._gpus)
        try:
            with self._conditions.turn():
                yield
        finally:
            self._spent.update(meter.stop())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may have disturbed the scenario."""
        return self._conditions.warnings()

    @property
    def energy_mj(self) -> dict[str, float]:
        """By who told."""
        return dict(self._spent)


@final
class Engines:
    """Owns one network compiled twice, as `cutline run` would: for one camera, and for files or several cameras."""

    def __init__(self, bundle: Bundle, options: BenchOptions, precision: str) -> None:
        """Compile.

        Raises:
            UsageError: no such precision.
            DeviceError: the device or the precision is not available here, or not in the bundle.
        """
        with ExitStack() as undo:
            self.latency = _open(bundle, options.device, precision, "latency", undo)
            # a GPU computes the same for both
            self.throughput = (
                self.latency
                if not self.latency.device.startswith("cpu")
                else _open(bundle, options.device, precision, "throughput", undo)
            )
            self._undo = undo.pop_all()

    @property
    def on_gpu(self) -> bool:
        """Whether it is not the processor that computes."""
        return not self.throughput.device.startswith("cpu")

    def close(self) -> None:
        """Free both. Works twice."""
        self._undo.close()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Borrows everything."""

    options: BenchOptions
    plan: TimePlan
    clip: Clip
    size: tuple[int, int]  # of the frames
    engines: Engines
    gpus: Sequence[Gpu]
    stopping: Stopping
    deadline: float  # time.monotonic(): what has not begun then is left out or cut short

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative behind it."""
        return self.deadline - time.monotonic()

    @property
    def precision(self) -> str:
        """What is really computed in."""
        return self.engines.throughput.precision

    @property
    def format(self) -> FrameFormat:
        """Of the frames."""
        return FrameFormat(width=self.size[0], height=self.size[1])

    @property
    def plate(self) -> str | None:
        """A picture for networks that take a plate."""
        needed = self.engines.throughput.contract.plate is not None
        return str(self.clip.still(self.size)) if needed else None

    def stream(self, name: str, number: int = 0, **changes: Any) -> StreamOptions:
        """A stream over the clip, for ever. The name tells its threads from those of streams that rest meanwhile."""
        plain: dict[str, Any] = {"input": str(self.clip.at_size(self.size)), "loop": True, "audio": False}
        plain["plate"] = self.plate
        if changes.get("output", "null://") == "null://":
            plain["background"] = BACKGROUND
        return StreamOptions(name=f"{name} {number}", **(plain | changes))

    def ground(self, watch: Watch, **changes: Any) -> Ground:
        """What a scenario's figures stand on."""
        plain: dict[str, Any] = {
            "device": self.engines.throughput.device, "precision": self.precision, "width": self.size[0],
            "height": self.size[1], "warnings": watch.warnings, "energy_mj": watch.energy_mj,
            "moved": bytes_moved(self.format, self.engines.throughput.contract),
        }  # fmt: skip
        return Ground(**(plain | changes))


def _open(bundle: Bundle, device: str, precision: str, optimise: str, undo: ExitStack) -> Engine:
    words = {"device": device, "precision": precision, "optimise": optimise}
    try:
        options = msgspec.convert(words, EngineOptions)
    except msgspec.ValidationError as error:
        raise UsageError(str(error), remedy="See `cutline bench --help`.", precision=precision) from error
    engine = open_engine(bundle, options)
    undo.callback(engine.close)
    return engine
