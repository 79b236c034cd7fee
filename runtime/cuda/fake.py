"""A driver without a GPU: it does the work on the host, late and in the least convenient order that is allowed.

Queued work waits until an event makes somebody wait for it, and then runs in a random order that respects streams and
events alone; so whoever forgets a dependency reads wrong bytes. Rules whose breaking a GPU would forgive, or punish
much later, raise RuleBroken at once:
    every copy and fill lies inside one live allocation, on the host in pinned memory, which has pages of its own
    nothing that queued work or a graph still uses is released; nothing released is used
    no default stream, no work from a thread that did not attach, no legacy synchronisation in a capture
    after still(): no allocation, no pinning, no new resource, no loading, no capture
Device addresses are host addresses of the memory that stands in for the device's.
"""

from __future__ import annotations

import ctypes
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, final

from cutline.runtime.cuda.driver import Device, Event, Graph, Grid, Kernel, Memory, Module, Pinned, Resource, Stream
from cutline.runtime.cuda.fake_memory import FakeMemory, Range, RuleBroken
from cutline.runtime.cuda.faults import STICKY, cuda_error
from cutline.runtime.cuda.watchdog import Call

__all__ = ["FakeDriver", "HostKernel", "RuleBroken"]

HostKernel = Callable[[Grid, Grid, bytes], None]  # grid, block, parameter struct
MAKING: Final = frozenset({"alloc", "pin", "stream", "event", "load", "kernel", "begin_capture", "end_capture"})
EXPLAINED: Final = {
    "CUDA_ERROR_OUT_OF_MEMORY": "out of memory",
    "CUDA_ERROR_STREAM_CAPTURE_ISOLATION": "dependency created on uncaptured work in another stream",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": "operation not permitted when stream is capturing",
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": "operation failed due to a previous error during capture",
    "CUDA_ERROR_ILLEGAL_STATE": "the operation cannot be performed in the present state",
}
A_CARD: Final = Device(
    ordinal=0, name="Fake GPU", sm="sm89", integrated=False, total_bytes=8 << 30, driver_version=(13, 0)
)


@dataclass(eq=False)
class _Work:
    """One queued thing: what it does, and what must have been done before, besides its stream's earlier work."""

    what: str
    act: Callable[[], object]
    ranges: tuple[Range, ...] = ()  # addresses that it touches: first, past the last
    after: tuple[_Work, ...] = ()
    done: bool = False
    hangs: bool = False


@dataclass(eq=False)
class _Mark:
    """An event: the work behind which it was recorded last, and when that was reached."""

    timing: bool
    waited: bool
    latest: _Work | None = None
    reached_ms: float | None = None


@dataclass(eq=False)
class _Queue:
    """A stream."""

    waiting: deque[_Work] = field(default_factory=deque)
    last: _Work | None = None
    held: tuple[_Work, ...] = ()  # what the next work waits for, besides the work before it
    capture: list[tuple[str, tuple[Any, ...]]] | None = None
    captured_by: int = 0  # thread
    spoilt: str | None = None


@final
class FakeDriver:
    """Owns the memory that stands in for the device's, and everything made through it."""

    name = "fake"
    context = 0xC0

    def __init__(
        self,
        *,
        device: Device = A_CARD,
        kernels: Mapping[str, HostKernel] | None = None,
        no_graphs: str | None = None,
        faults: Mapping[tuple[str, int], str] | None = None,
        seed: int = 0,
    ) -> None:
        """Make a device.

        Args:
            kernels: what each kernel does; a module then holds these. None: any name is there, and does nothing.
            faults: (call, how many of that call went before) -> the name of the error that it gives. A fault of
                ("work", n) strikes while queued work runs, and is found out by whoever waits for it.
            seed: of the order in which independent work runs.
        """
        self.device, self.no_graphs = device, no_graphs
        self.calls: Counter[str] = Counter()
        self.launched: list[str] = []  # names of the kernels that ran, in order
        self._kernels, self._faults = kernels, dict(faults or {})
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)  # of what hung
        self._attached: set[int] = set()
        self._next = 1000  # far from the handles that mean a default stream
        self._queues: dict[int, _Queue] = {}
        self._marks: dict[int, _Mark] = {}
        self._modules: set[int] = set()
        self._functions: dict[int, str] = {}
        self._graphs: dict[int, list[tuple[str, tuple[Any, ...]]]] = {}
        self._memory = FakeMemory(device.total_bytes)
        self._lost: str | None = None
        self._still = False
        self._clock_ms = 0.0
        self.attach()

    # ---- what tests ask ---------------------------------------------------------------------------------------------

    @property
    def live(self) -> set[Resource]:
        """Everything that was made and not released."""
        found: set[Resource] = {*self._memory.live}
        found |= {Stream(h) for h in self._queues} | {Event(h) for h in self._marks}
        return found | {Module(h) for h in self._modules} | {Graph(h) for h in self._graphs}

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within: the steady state, in which nothing may be made."""
        self._still = True
        try:
            yield
        finally:
            self._still = False

    def host_work(self, stream: Stream, what: str, act: Callable[[], object]) -> None:
        """Queue a function, as a library that was given the stream's handle does (a network in tests)."""
        with self._lock:
            self._queue(stream, "host_work", what, act)

    def hang(self, stream: Stream) -> None:
        """Let what comes next in the stream never end: whoever waits for that, or for what is behind it, waits on."""
        with self._lock:
            self._stream(stream).waiting[0].hangs = True

    def lose(self, name: str) -> None:
        """Let the device fail now, which also ends what hangs."""
        with self._ended:
            self._lost = name
            self._ended.notify_all()

    # ---- the driver -------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        self._attached.add(threading.get_ident())

    def alloc(self, nbytes: int) -> Memory:
        with self._enter("alloc", f"taking {nbytes} bytes of device memory"):
            self._not_in_capture()
            taken = self._memory.alloc(nbytes)
            if taken is None:
                raise self._error("CUDA_ERROR_OUT_OF_MEMORY", f"taking {nbytes} bytes of device memory")
            return taken

    def pin(self, address: int, nbytes: int) -> Pinned:
        with self._enter("pin", f"page-locking {nbytes} bytes"):
            self._not_in_capture()
            pinned = self._memory.pin(address, nbytes)
            if pinned is None:
                raise self._error("CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", f"page-locking {nbytes} bytes")
            return pinned

    def share(self, memory: Memory) -> bytes:
        with self._enter("share", "sharing device memory"):
            return self._memory.share(memory)

    def release(self, resource: Resource) -> None:
        with self._enter("release", f"releasing {resource}"):
            if resource not in self.live:
                raise RuleBroken("this was released before, or never ours", resource=resource)
            if self._lost is None:
                self._unused(resource)
            if isinstance(resource, (Memory, Pinned)):
                self._memory.release(resource)
            elif isinstance(resource, Module):
                self._modules.remove(resource.handle)
            elif isinstance(resource, Stream):
                del self._queues[resource.handle]
            elif isinstance(resource, Event):
                del self._marks[resource.handle]
            else:
                del self._graphs[resource.handle]

    def free_bytes(self) -> int:
        with self._enter("free_bytes", "asking for free memory"):
            return self._memory.free_bytes

    def stream(self, *, urgent: bool = False) -> Stream:  # noqa: ARG002 - order is random anyway
        with self._enter("stream", "making a stream"):
            return Stream(self._made(self._queues, _Queue()))

    def event(self, *, timing: bool = False, waited: bool = True) -> Event:
        with self._enter("event", "making an event"):
            return Event(self._made(self._marks, _Mark(timing, waited)))

    def copy(self, target: int, source: int, nbytes: int, *, stream: Stream) -> None:
        with self._enter("copy", "queueing a copy"):
            ranges = (self._memory.inside(target, nbytes, "copy to"), self._memory.inside(source, nbytes, "copy from"))
            self._queue(stream, "copy", "copy", lambda: ctypes.memmove(target, source, nbytes), ranges)

    def fill(self, target: int, value: int, nbytes: int, *, stream: Stream) -> None:
        with self._enter("fill", "queueing a fill"):
            ranges = (self._memory.inside(target, nbytes, "fill"),)
            self._queue(stream, "fill", "fill", lambda: ctypes.memset(target, value, nbytes), ranges)

    def record(self, event: Event, *, stream: Stream) -> None:
        with self._enter("record", "recording an event"):
            mark, queue = self._mark(event), self._stream(stream)
            if queue.capture is not None:
                queue.capture.append(("record", (event,)))
                return
            self._recorded(mark, queue)

    def hold(self, event: Event, *, stream: Stream) -> None:
        with self._enter("hold", "waiting in a stream"):
            mark, queue = self._mark(event), self._stream(stream)
            if queue.capture is not None:
                queue.capture.append(("hold", (event,)))
            elif mark.latest is not None:
                queue.held += (mark.latest,)

    def synchronise(self, event: Event) -> None:
        with self._enter("synchronise", "waiting for a frame"):
            self._not_in_capture()
            mark = self._mark(event)
            if not mark.waited:
                raise RuleBroken("the host waits for an event that is for streams alone", handle=event.handle)
            if mark.latest is not None:
                self._run_until(mark.latest)
            self._demand_alive("waiting for a frame")

    def elapsed_ms(self, first: Event, last: Event) -> float:
        with self._enter("elapsed_ms", "reading a time"):
            marks = self._mark(first), self._mark(last)
            if not all(m.timing and m.reached_ms is not None for m in marks):
                raise self._error("CUDA_ERROR_INVALID_HANDLE", "reading a time")
            return float((marks[1].reached_ms or 0) - (marks[0].reached_ms or 0))

    def load(self, image: bytes) -> Module:
        with self._enter("load", "loading the kernels"):
            if not image:
                raise self._error("CUDA_ERROR_INVALID_IMAGE", "loading the kernels")
            self._next += 1
            self._modules.add(self._next)
            return Module(self._next)

    def kernel(self, module: Module, name: str) -> Kernel:
        doing = f"looking up the kernel {name}"
        with self._enter("kernel", doing):
            unknown = self._kernels is not None and name not in self._kernels
            if module.handle not in self._modules or unknown:
                raise self._error("CUDA_ERROR_NOT_FOUND", doing)
            return Kernel(self._made(self._functions, name), name)

    def launch(self, kernel: Kernel, grid: Grid, block: Grid, params: bytes, *, stream: Stream) -> None:
        with self._enter("launch", f"launching {kernel.name}"):
            threads = block[0] * block[1] * block[2]
            if kernel.handle not in self._functions or not (min(*grid, *block) > 0 and threads <= 1024):
                raise self._error("CUDA_ERROR_INVALID_VALUE", f"launching {kernel.name}")
            body = self._kernels.get(kernel.name) if self._kernels is not None else None

            def act() -> None:
                self.launched.append(kernel.name)
                if body is not None:
                    body(grid, block, params)

            self._queue(stream, "launch", kernel.name, act, self._memory.pointed(params, kernel.name))

    def begin_capture(self, stream: Stream) -> None:
        with self._enter("begin_capture", "beginning a capture"):
            queue = self._stream(stream)
            if self.no_graphs is not None or queue.capture is not None:
                raise self._error("CUDA_ERROR_ILLEGAL_STATE", "beginning a capture")
            queue.capture, queue.captured_by, queue.spoilt = [], threading.get_ident(), None

    def end_capture(self, stream: Stream) -> Graph:
        queue = self._stream(stream)
        recorded, queue.capture = queue.capture, None  # it ends, even where ending it fails
        with self._enter("end_capture", "ending a capture"):
            if recorded is None:
                raise self._error("CUDA_ERROR_ILLEGAL_STATE", "ending a capture")
            if queue.spoilt is not None:
                raise self._error("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "ending a capture")
            return Graph(self._made(self._graphs, recorded))

    def replay(self, graph: Graph, *, stream: Stream) -> None:
        with self._enter("replay", "launching a graph"):
            queue = self._stream(stream)
            recorded = self._graphs.get(graph.handle)
            if recorded is None:
                raise RuleBroken("a graph is launched that is not there", graph=graph.handle)
            if queue.capture is not None:
                raise self._error("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "launching a graph")
            for kind, given in recorded:
                if kind == "record":
                    self._recorded(self._mark(given[0]), queue)
                elif kind == "hold":
                    latest = self._mark(given[0]).latest
                    queue.held += (latest,) if latest is not None else ()
                else:
                    what, act, ranges = given
                    for first, last in ranges:
                        self._memory.inside(first, last - first, what)
                    self._append(queue, what, act, ranges)

    def close(self) -> None:
        with self._lock:
            self._lost = None
            for queue in self._queues.values():
                queue.waiting.clear()
            for table in (self._queues, self._marks, self._graphs):
                table.clear()
            self._modules.clear()
            self._memory.clear()

    def __enter__(self) -> FakeDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- how it works -----------------------------------------------------------------------------------------------

    @contextmanager
    def _enter(self, call: str, doing: str) -> Iterator[None]:
        with Call(doing), self._lock:
            if threading.get_ident() not in self._attached:
                raise RuleBroken("this thread did not attach()", call=call)
            if self._still and call in MAKING:
                raise RuleBroken("something is made while frames run", call=call, doing=doing)
            if call != "release":
                self._demand_alive(doing)
            fault = self._faults.pop((call, self.calls[call]), None)
            self.calls[call] += 1
            if fault is not None:
                raise self._error(fault, doing)
            yield

    def _demand_alive(self, doing: str) -> None:
        if self._lost is not None:
            raise self._error(self._lost, doing)

    def _error(self, name: str, doing: str) -> Exception:
        if name in STICKY:
            self.lose(name)
        words = EXPLAINED.get(name, name.removeprefix("CUDA_ERROR_").lower().replace("_", " "))
        return cuda_error(name, words, doing, device=str(self.device))

    def _made(self, table: dict[int, Any], what: Any) -> int:
        self._next += 1
        table[self._next] = what
        return self._next

    def _stream(self, stream: Stream) -> _Queue:
        if stream.handle in (0, 1, 2):  # 0 and the two special handles of cuda.h
            raise RuleBroken("the default stream is used", handle=stream.handle)
        if stream.handle not in self._queues:
            raise RuleBroken("a stream is used that is not there", handle=stream.handle)
        return self._queues[stream.handle]

    def _mark(self, event: Event) -> _Mark:
        if event.handle not in self._marks:
            raise RuleBroken("an event is used that is not there", handle=event.handle)
        return self._marks[event.handle]

    def _not_in_capture(self) -> None:
        """Fail as the driver does where this thread captures, and spoil its capture."""
        for queue in self._queues.values():
            if queue.capture is not None and queue.captured_by == threading.get_ident():
                queue.spoilt = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
                raise self._error(queue.spoilt, "capturing a frame")

    def _queue(
        self,
        stream: Stream,
        call: str,
        what: str,
        act: Callable[[], object],
        ranges: tuple[Range, ...] = (),
    ) -> None:
        queue = self._stream(stream)
        if queue.capture is None:
            self._append(queue, what, act, ranges)
        elif queue.captured_by != threading.get_ident():
            queue.spoilt = "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"
            raise self._error(queue.spoilt, what)
        else:
            queue.capture.append((call, (what, act, ranges)))

    def _append(self, queue: _Queue, what: str, act: Callable[[], object], ranges: tuple[Range, ...]) -> None:
        before = (queue.last,) if queue.last is not None else ()
        work = _Work(what, act, ranges, tuple(w for w in before + queue.held if not w.done))
        queue.last, queue.held = work, ()
        queue.waiting.append(work)

    def _recorded(self, mark: _Mark, queue: _Queue) -> None:
        def reached() -> None:
            self._clock_ms += 0.001
            mark.reached_ms = self._clock_ms

        self._append(queue, "record", reached, ())
        mark.latest, mark.reached_ms = queue.last, None

    def _run_until(self, wanted: _Work) -> None:
        while not wanted.done and self._lost is None:
            heads = [q for q in self._queues.values() if q.waiting and all(w.done for w in q.waiting[0].after)]
            ready = [q for q in heads if not q.waiting[0].hangs]
            if not heads:
                raise RuleBroken("work waits for itself", work=wanted.what)
            if not ready:
                self._ended.wait()
                continue
            work = self._random.choice(ready).waiting.popleft()
            fault = self._faults.pop(("work", self.calls["work"]), None)
            self.calls["work"] += 1
            if fault is not None:
                self.lose(fault)
                return
            work.act()
            work.done, work.after = True, ()

    def _unused(self, resource: Resource) -> None:
        """Refuse to release what queued work or a graph uses."""
        pending = [w for q in self._queues.values() for w in q.waiting]
        if isinstance(resource, Stream) and self._queues[resource.handle].waiting:
            raise RuleBroken("a stream is released that has work to do", handle=resource.handle)
        if isinstance(resource, (Memory, Pinned)):
            first, last = resource.address, resource.address + resource.nbytes
            recorded = [(g[1][0], g[1][2]) for r in self._graphs.values() for g in r if g[0] not in ("record", "hold")]
            for what, ranges in [*((w.what, w.ranges) for w in pending), *recorded]:
                if any(a < last and first < b for a, b in ranges):
                    raise RuleBroken("memory is released that is still used", by=what, address=hex(first))
