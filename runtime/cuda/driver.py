"""What Cutline asks of a CUDA driver: the few calls that a frame's way needs, and no more.

cuda_python.py  over cuda-bindings: the default
pycuda.py       inside a program that already lives on PyCUDA: its context; no graphs
fake.py         no GPU: enforces order, lifetimes and a still steady state; the tests' ground

Nothing here synchronises a whole stream or device: the host waits for events. No stream is the default one, but in the
source process that decodes on the GPU (sources/nvdec.py), where FFmpeg works in it.
Addresses are plain integers (unified virtual addressing: one address means one place, on the host or the device).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol

__all__ = [
    "Device",
    "Driver",
    "Event",
    "Graph",
    "Grid",
    "Kernel",
    "Memory",
    "Module",
    "Pinned",
    "Resource",
    "Stream",
]

Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU, as the driver describes it."""

    ordinal: int
    name: str
    sm: str  # compute capability, such as sm89
    integrated: bool  # shares the host's memory: slots are mapped, not copied
    total_bytes: int
    driver_version: tuple[int, int]  # newest CUDA that the driver runs, such as (13, 0)

    def __str__(self) -> str:
        return f"cuda:{self.ordinal} ({self.name}, {self.sm})"


class Memory(NamedTuple):
    """Device memory."""

    address: int
    nbytes: int


class Pinned(NamedTuple):
    """Host memory that the device may reach."""

    address: int  # on the host
    nbytes: int
    device_address: int  # of the same bytes, for kernels


class Stream(NamedTuple):
    """A queue of work, by the driver's handle (CUstream)."""

    handle: int


class Event(NamedTuple):
    """A mark in a stream's queue, by the driver's handle (CUevent)."""

    handle: int


class Module(NamedTuple):
    """A loaded cubin (CUmodule)."""

    handle: int


class Kernel(NamedTuple):
    """One function of a module (CUfunction)."""

    handle: int
    name: str


class Graph(NamedTuple):
    """Captured work that can be launched again and again (CUgraphExec)."""

    handle: int


Resource = Memory | Pinned | Stream | Event | Module | Graph


class Driver(Protocol):
    """Owns (or, with PyCUDA, borrows) a context on one device, and all that was made through it and not released.

    Every call raises DeviceError, or DeviceLostError after which this process can do nothing more on the device; both
    name the driver's error, what was being done, and what to do. Calls are safe from any thread that called attach().
    """

    name: str  # the library and its version
    device: Device
    no_graphs: str | None  # why this driver cannot capture graphs; None: it can

    @property
    def context(self) -> int:
        """The driver's handle of the context (CUcontext), for libraries that want to be told; 0 after close()."""
        ...

    def attach(self) -> None:
        """Make the context current in the calling thread; cheap when it is."""
        ...

    def alloc(self, nbytes: int) -> Memory:
        """Take device memory, aligned to at least 256 bytes, its content undefined."""
        ...

    def pin(self, address: int, nbytes: int) -> Pinned:
        """Page-lock host memory that somebody else owns and map it for the device, until release()."""
        ...

    def share(self, memory: Memory) -> bytes:
        """A name of this memory, of 64 bytes, by which CudaPython in other processes opens it while it lives."""
        ...

    def release(self, resource: Resource) -> None:
        """Give one resource back. The work that uses it must have ended."""
        ...

    def free_bytes(self) -> int:
        """Device memory that is free now, for all programs together."""
        ...

    def stream(self, *, urgent: bool = False) -> Stream:
        """Make a stream that never waits for the default stream; `urgent` ones go first where work competes."""
        ...

    def event(self, *, timing: bool = False, waited: bool = True) -> Event:
        """Make an event on which the host sleeps; with `timing`, one that elapsed_ms takes.

        Not `waited`: streams alone wait for it, which the driver then does with less effort.
        """
        ...

    def copy(self, target: int, source: int, nbytes: int, *, stream: Stream) -> None:
        """Queue a copy. Both addresses are the device's; pinned memory goes by its `device_address`."""
        ...

    def fill(self, target: int, value: int, nbytes: int, *, stream: Stream) -> None:
        """Queue setting `nbytes` bytes of device memory to one value, 0..255."""
        ...

    def record(self, event: Event, *, stream: Stream) -> None:
        """Put the mark behind all that is queued. In a capture: each launch of the graph records it anew."""
        ...

    def hold(self, event: Event, *, stream: Stream) -> None:
        """Let the stream wait for the event's latest record. In a capture: for the latest before each launch."""
        ...

    def synchronise(self, event: Event) -> None:
        """Sleep until the event's latest record has been reached. The only call on which the host waits."""
        ...

    def elapsed_ms(self, first: Event, last: Event) -> float:
        """Milliseconds between two records that have been reached."""
        ...

    def load(self, image: bytes) -> Module:
        """Load a cubin."""
        ...

    def kernel(self, module: Module, name: str) -> Kernel:
        """Look a function up."""
        ...

    def launch(self, kernel: Kernel, grid: Grid, block: Grid, params: bytes, *, stream: Stream) -> None:
        """Queue a kernel whose parameters are `params`, laid out as one struct passed by value."""
        ...

    def begin_capture(self, stream: Stream) -> None:
        """From now on, work queued in the stream by this thread is recorded and not run."""
        ...

    def end_capture(self, stream: Stream) -> Graph:
        """Stop recording and make what was recorded launchable. A capture that failed raises and is discarded."""
        ...

    def replay(self, graph: Graph, *, stream: Stream) -> None:
        """Queue the whole graph. One launch of a graph at a time: the next one waits for it."""
        ...

    def close(self) -> None:
        """Release what is left and let go of the context. Works twice, and after the device was lost."""
        ...

    def __enter__(self) -> Driver: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
