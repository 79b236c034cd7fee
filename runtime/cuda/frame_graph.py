"""One slot's work for a frame, captured once and launched for every frame.

    COLD ──warm()──► WARM ──capture()──► CAPTURING ──► CAPTURED     launch() launches the graph
                       │                     │
                       └─────────────────────┴───────► PLAIN        launch() queues call by call; `reason` says why

Libraries allocate and load kernels when they run for the first time, which no capture allows: so one plain run comes
before it. A capture that fails is discarded; frames then take the plain way and the user is told.
"""

from __future__ import annotations

import enum
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import final

from cutline.runtime.cuda.driver import Driver, Event, Graph, Stream
from cutline.runtime.errors import DeviceError, DeviceLostError, InternalError

__all__ = ["CaptureState", "FrameGraph"]


class CaptureState(enum.Enum):
    """Where a frame's work is on its way to a graph."""

    COLD = "cold"
    WARM = "warm"
    CAPTURING = "capturing"
    CAPTURED = "captured"
    PLAIN = "plain"


@final
class FrameGraph:
    """Owns the graph of one slot; borrows its stream."""

    def __init__(self, driver: Driver, stream: Stream, queue: Callable[[Stream], None]) -> None:
        """Prepare.

        Args:
            queue: queues all of a frame's work in the stream, with the same calls every time.
        """
        self.stream = stream
        self.reason: str | None = None  # why frames are queued call by call, once it is known
        self._driver, self._queue = driver, queue
        self._state = CaptureState.COLD
        self._graph: Graph | None = None

    @property
    def state(self) -> CaptureState:
        """Where the work is on its way to a graph."""
        return self._state

    def warm(self, done: Event) -> None:
        """Run the work once, call by call, and wait for its end.

        Raises:
            DeviceError: it does not run.
        """
        self._demand(CaptureState.COLD)
        self._queue(self.stream)
        self._driver.record(done, stream=self.stream)
        self._driver.synchronise(done)
        self._state = CaptureState.WARM

    def capture(self, refusal: str | None) -> None:
        """Make the graph, or settle for plain launches.

        Args:
            refusal: why nothing should be captured; None: try.
        Raises:
            DeviceLostError: the device was lost on the way.
        """
        self._demand(CaptureState.WARM)
        refusal = self._driver.no_graphs or refusal
        if refusal is not None:
            self._settle(refusal)
            return
        self._state = CaptureState.CAPTURING
        collecting = gc.isenabled()
        gc.disable()  # what it finds may belong to CUDA, as in a program with PyTorch; freeing that spoils the capture
        try:
            self._driver.begin_capture(self.stream)
            try:
                self._queue(self.stream)
            except BaseException:
                with suppress(DeviceError):  # the first error is the telling one
                    self._driver.release(self._driver.end_capture(self.stream))
                raise
            self._graph = self._driver.end_capture(self.stream)
        except DeviceLostError:
            raise
        except DeviceError as error:
            self._settle(error.what)
        else:
            self._state = CaptureState.CAPTURED
        finally:
            if collecting:
                gc.enable()

    def launch(self) -> None:
        """Queue one frame's work.

        Raises:
            DeviceError: the device failed.
            InternalError: capture() has not been called.
        """
        if self._graph is not None:
            self._driver.replay(self._graph, stream=self.stream)
        else:
            self._demand(CaptureState.PLAIN)
            self._queue(self.stream)

    def close(self) -> None:
        """Free the graph; its last launch must have ended. Works twice."""
        graph, self._graph = self._graph, None
        if graph is not None:
            self._driver.release(graph)
            self._settle("closed")

    def _settle(self, reason: str) -> None:
        self.reason, self._state = reason, CaptureState.PLAIN

    def _demand(self, state: CaptureState) -> None:
        if self._state is not state:
            raise InternalError(
                "a frame's work is not where it should be on its way to a graph",
                remedy="Report this with the command that was run.",
                found=self._state.value,
                wanted=state.value,
            )
