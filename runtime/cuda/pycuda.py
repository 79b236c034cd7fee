"""The driver inside a program that lives on PyCUDA (extra `pycuda`): that program's context, streams and arrays.

PyCUDA has no stream capture, so every frame's work is queued call by call. Not run anywhere yet: PyCUDA does not import
without a driver. It is kept to calls that its documentation describes (PyCUDA 2024.1 and later), and a test holds it to
what PyCUDA demands of threads. The context stays current in every thread that calls attach().
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar, final

from cutline.runtime.cuda.driver import Device, Event, Graph, Grid, Kernel, Memory, Module, Pinned, Resource, Stream
from cutline.runtime.cuda.faults import STICKY, cuda_error
from cutline.runtime.cuda.watchdog import Call
from cutline.runtime.errors import DeviceError, DeviceLostError

__all__ = ["PyCuda"]

PORTABLE, DEVICEMAP = 1, 2  # CU_MEMHOSTREGISTER_*, cuda.h

R = TypeVar("R", Memory, Stream, Event, Module)


@final
class PyCuda:
    """Borrows the PyCUDA context that is current where it is made; owns what was made through it, until close()."""

    no_graphs: str | None = "PyCUDA has no stream capture"

    def __init__(self) -> None:
        """Use the current context.

        Raises:
            DeviceError: no PyCUDA, no driver, or no current context.
        """
        try:
            import pycuda
            import pycuda.driver as cuda
        except ImportError as error:
            remedy = "Install PyCUDA and the NVIDIA driver, or `pip install 'cutline[cuda]'`."
            raise DeviceError(f"PyCUDA cannot be imported: {error}", remedy=remedy) from error
        self._cuda = cuda
        self._context = self._call("looking for the current context", cuda.Context.get_current)
        if self._context is None:
            remedy = "Make one (import pycuda.autoinit) or push yours in this thread before calling Cutline."
            raise DeviceError("no PyCUDA context is current", remedy=remedy)
        self._library, self._handle = _libcuda(), ctypes.c_void_p()
        self._library.cuCtxGetCurrent(ctypes.byref(self._handle))
        self.name = f"PyCUDA {pycuda.VERSION_TEXT}"
        self.device = self._describe()
        self._owned: dict[int, Any] = {}  # handle or address -> PyCUDA's object, or what we pinned
        self._names: dict[int, Any] = {}  # kernel handle -> function
        self._lost = False

    @property
    def context(self) -> int:
        """The program's context."""
        return int(self._handle.value or 0)

    def attach(self) -> None:
        # not with PyCUDA's push(): where a thread ends that did not pop it, PyCUDA aborts the process
        self._library.cuCtxSetCurrent(self._handle)

    def stream_of(self, stream: Any) -> Stream:
        """Use a pycuda.driver.Stream of the program; it stays the program's."""
        self._names[int(stream.handle)] = stream
        return Stream(int(stream.handle))

    def alloc(self, nbytes: int) -> Memory:
        taken = self._make(f"taking {nbytes} bytes of device memory", self._cuda.mem_alloc, nbytes)
        return self._keep(Memory(int(taken), nbytes), taken)

    def pin(self, address: int, nbytes: int) -> Pinned:
        # not PyCUDA's register_host_memory: it refuses every array that does not own its memory
        doing, mapped = f"page-locking {nbytes} bytes of host memory", ctypes.c_uint64()
        at, size = ctypes.c_void_p(address), ctypes.c_size_t(nbytes)
        self._ask(doing, "cuMemHostRegister_v2", at, size, ctypes.c_uint(PORTABLE | DEVICEMAP))
        self._owned[address] = Pinned(address, nbytes, 0)
        self._ask(doing, "cuMemHostGetDevicePointer_v2", ctypes.byref(mapped), at, ctypes.c_uint(0))
        return Pinned(address, nbytes, mapped.value)

    def share(self, memory: Memory) -> bytes:
        return bytes(self._call("sharing device memory", self._cuda.mem_get_ipc_handle, memory.address))

    def release(self, resource: Resource) -> None:
        if resource[0] not in self._owned:
            raise ValueError(f"{resource} is not ours, or was released before")
        with self._on_stack():
            kept = self._owned.pop(resource[0])
            if isinstance(resource, Memory) and not self._lost:
                self._call("releasing memory", kept.free)
            elif isinstance(resource, Pinned) and not self._lost:
                self._unpin(resource)
            del kept  # streams, events and modules go with PyCUDA's object

    def free_bytes(self) -> int:
        return int(self._call("asking for free memory", self._cuda.mem_get_info)[0])

    def stream(self, *, urgent: bool = False) -> Stream:
        del urgent  # PyCUDA's streams have no priority
        made = self._make("making a stream", self._cuda.Stream, 1)  # CU_STREAM_NON_BLOCKING
        return self._keep(Stream(int(made.handle)), made)

    def event(self, *, timing: bool = False, waited: bool = True) -> Event:
        flags = self._cuda.event_flags
        wanted = (flags.BLOCKING_SYNC if waited else 0) | (0 if timing else flags.DISABLE_TIMING)
        made = self._make("making an event", self._cuda.Event, wanted)
        return self._keep(Event(id(made)), made)

    def copy(self, target: int, source: int, nbytes: int, *, stream: Stream) -> None:
        # pinned memory has an address on the device, so every copy of ours is one from device to device
        self._call("queueing a copy", self._cuda.memcpy_dtod_async, target, source, nbytes, self._stream(stream))

    def fill(self, target: int, value: int, nbytes: int, *, stream: Stream) -> None:
        self._call("queueing a fill", self._cuda.memset_d8_async, target, value, nbytes, self._stream(stream))

    def record(self, event: Event, *, stream: Stream) -> None:
        self._call("recording an event", self._owned[event.handle].record, self._stream(stream))

    def hold(self, event: Event, *, stream: Stream) -> None:
        self._call("waiting in a stream", self._stream(stream).wait_for_event, self._owned[event.handle])

    def synchronise(self, event: Event) -> None:
        self._call("waiting for a frame", self._owned[event.handle].synchronize)

    def elapsed_ms(self, first: Event, last: Event) -> float:
        return float(self._call("reading a time", self._owned[first.handle].time_till, self._owned[last.handle]))

    def load(self, image: bytes) -> Module:
        made = self._make("loading the kernels", self._cuda.module_from_buffer, image)
        return self._keep(Module(id(made)), made)

    def kernel(self, module: Module, name: str) -> Kernel:
        function = self._call(f"looking up the kernel {name}", self._owned[module.handle].get_function, name)
        self._names[id(function)] = function
        return Kernel(id(function), name)

    def launch(self, kernel: Kernel, grid: Grid, block: Grid, params: bytes, *, stream: Stream) -> None:
        function, queue = self._names[kernel.handle], self._stream(stream)
        function.prepare([f"{len(params)}s"])  # one struct, as its bytes
        self._call(f"launching {kernel.name}", function.prepared_async_call, grid, block, queue, params)

    def begin_capture(self, stream: Stream) -> None:
        raise DeviceError(f"{self.no_graphs}", remedy="Use the extra `cuda`.", stream=stream.handle)

    def end_capture(self, stream: Stream) -> Graph:
        raise DeviceError(f"{self.no_graphs}", remedy="Use the extra `cuda`.", stream=stream.handle)

    def replay(self, graph: Graph, *, stream: Stream) -> None:
        raise DeviceError(f"{self.no_graphs}", remedy="Use the extra `cuda`.", graph=graph.handle, stream=stream.handle)

    def close(self) -> None:
        with self._on_stack():
            pins = [kept for kept in self._owned.values() if isinstance(kept, Pinned)]
            self._owned.clear()
            self._names.clear()
        for pinned in pins:
            if not self._lost:
                with suppress(DeviceLostError):  # found now: then all of it is gone
                    self._unpin(pinned)

    def __enter__(self) -> PyCuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unpin(self, pinned: Pinned) -> None:
        self._ask("releasing pinned memory", "cuMemHostUnregister", ctypes.c_void_p(pinned.address))

    def _keep(self, resource: R, kept: Any) -> R:
        self._owned[int(resource[0])] = kept
        return resource

    def _stream(self, stream: Stream) -> Any:
        return self._owned.get(stream.handle) or self._names[stream.handle]

    @contextmanager
    def _on_stack(self) -> Iterator[None]:
        """PyCUDA makes only where its own stack of the thread has a context; what it frees elsewhere, it leaks."""
        current = self._cuda.Context.get_current()
        if current is not None and current == self._context:
            yield
            return
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def _make(self, doing: str, function: Any, *given: Any) -> Any:
        with self._on_stack():
            return self._call(doing, function, *given)

    def _ask(self, doing: str, name: str, *given: Any) -> None:
        """Call the driver's own library, in the program's context."""
        self.attach()
        with Call(doing):
            status = getattr(self._library, name)(*given)
        if status:
            error, words = _name_and_words(self._library, status)
            self._lost = self._lost or error in STICKY
            raise cuda_error(error, words, doing)

    def _call(self, doing: str, function: Any, *given: Any) -> Any:
        try:
            with Call(doing):
                return function(*given)
        except self._cuda.Error as error:
            # "cuMemAlloc failed: out of memory": the driver's explanation, and not the name of its error
            words = str(error).partition("failed: ")[2] or str(error)
            name = _names_by_words(self._library).get(words.split(" - ")[0], f"PyCUDA's {type(error).__name__}")
            self._lost = self._lost or name in STICKY
            raise cuda_error(name, words, doing) from error

    def _describe(self) -> Device:
        device = self._call("looking at the device", self._cuda.Context.get_device)
        major, minor = device.compute_capability()
        version = int(self._cuda.get_driver_version())
        others = [self._cuda.Device(index) for index in range(self._cuda.Device.count())]
        return Device(
            ordinal=[other.pci_bus_id() for other in others].index(device.pci_bus_id()),
            name=str(device.name()),
            sm=f"sm{major}{minor}",
            integrated=bool(device.get_attribute(self._cuda.device_attribute.INTEGRATED)),
            total_bytes=int(device.total_memory()),
            driver_version=(version // 1000, version % 1000 // 10),
        )


def _libcuda() -> Any:
    """The driver's own library, which PyCUDA has loaded."""
    return ctypes.CDLL("libcuda.so.1")


def _names_by_words(library: Any) -> dict[str, str]:
    """The name of every CUresult, by the driver's explanation of it."""
    known = (_name_and_words(library, code) for code in range(1, 1000))
    return {words: name for name, words in known if words}


def _name_and_words(library: Any, code: int) -> tuple[str, str]:
    """Name and explanation of a CUresult; no words for one that the driver does not know."""
    name, words = ctypes.c_char_p(), ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(name))
    library.cuGetErrorString(code, ctypes.byref(words))
    return (name.value or b"CUDA_ERROR_UNKNOWN").decode(), (words.value or b"").decode()
