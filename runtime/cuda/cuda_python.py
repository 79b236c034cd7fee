"""The driver through cuda-bindings (extra `cuda`), on the device's primary context, which TensorRT shares."""

from __future__ import annotations

import ctypes
import importlib.metadata
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar, final

from cutline.runtime.cuda.driver import Device, Event, Graph, Grid, Kernel, Memory, Module, Pinned, Resource, Stream
from cutline.runtime.cuda.faults import STICKY, cuda_error
from cutline.runtime.cuda.watchdog import Call
from cutline.runtime.errors import CutlineError, DeviceError, DeviceLostError

__all__ = ["CudaPython"]

NAME_BYTES: Final = 64  # CU_IPC_HANDLE_SIZE, cuda.h
DRIVER_TOO_OLD: Final = (12, 0)  # of CUDA: graphs with external events and cubins of our oldest compiler


class Shared(NamedTuple):
    """Device memory of another process, where it lies in this one."""

    address: int
    nbytes: int


R = TypeVar("R", Memory, Shared, Pinned, Stream, Event, Module, Graph)


@final
class CudaPython:
    """Owns a reference to the primary context of one device, and what was made and not released, until close()."""

    no_graphs: str | None = None

    def __init__(self, ordinal: int = 0) -> None:
        """Open a device.

        Raises:
            DeviceError: no cuda-bindings, no driver, one that is too old, or no such device.
        """
        self._cu = _bindings()
        self._owned: dict[tuple[str, int], Resource | Shared] = {}
        self._lock = threading.Lock()
        self._capturing: set[int] = set()
        self._lost = ""  # the error's name
        self._context: Any = None  # none before it is opened and after close()
        self.name = f"cuda-bindings {importlib.metadata.version('cuda-bindings')}"
        self._call("starting the NVIDIA driver", self._cu.cuInit, 0)
        self._handle = self._call(f"opening cuda:{ordinal}", self._cu.cuDeviceGet, ordinal)
        self.device = self._describe(ordinal)
        self._context = self._call(f"opening {self.device}", self._cu.cuDevicePrimaryCtxRetain, self._handle)
        try:
            self.attach()
            low, high = self._call("asking for stream priorities", self._cu.cuCtxGetStreamPriorityRange)
        except BaseException:  # whoever takes the CPU instead keeps no context that takes memory
            self.close()
            raise
        self._priorities = {False: int(low), True: int(high)}

    @property
    def context(self) -> int:
        """The device's primary context."""
        return int(self._context or 0)

    def attach(self) -> None:
        # every time: what was current may have changed, with another device's driver in the same thread
        if self._context is not None and not self._lost:
            with suppress(DeviceLostError):  # the next call says so; whoever closes goes on
                self._call("making the context current", self._cu.cuCtxSetCurrent, self._context)

    def alloc(self, nbytes: int) -> Memory:
        address = self._call(f"taking {nbytes} bytes of device memory", self._cu.cuMemAlloc, nbytes)
        return self._own(Memory(int(address), nbytes))

    def pin(self, address: int, nbytes: int) -> Pinned:
        doing = f"page-locking {nbytes} bytes of host memory"
        flags = self._cu.CU_MEMHOSTREGISTER_PORTABLE | self._cu.CU_MEMHOSTREGISTER_DEVICEMAP
        self._call(doing, self._cu.cuMemHostRegister, address, nbytes, flags)
        pinned = self._own(Pinned(address, nbytes, 0))
        mapped = self._call(doing, self._cu.cuMemHostGetDevicePointer, address, 0)
        return self._own(pinned._replace(device_address=int(mapped)))

    def share(self, memory: Memory) -> bytes:
        handle = self._call("sharing device memory", self._cu.cuIpcGetMemHandle, memory.address)
        return ctypes.string_at(handle.getPtr(), NAME_BYTES)

    def open_shared(self, name: bytes, nbytes: int) -> Shared:
        """Map what another process shares, until release(), which must come before that process lets go of it."""
        handle = self._cu.CUipcMemHandle()
        ctypes.memmove(handle.getPtr(), name, NAME_BYTES)
        flags = int(self._cu.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
        address = self._call("opening another process's device memory", self._cu.cuIpcOpenMemHandle, handle, flags)
        return self._own(Shared(int(address), nbytes))

    def release(self, resource: Resource | Shared) -> None:
        cu = self._cu
        with self._lock:
            if self._owned.pop(_key(resource), None) is None:
                raise ValueError(f"{resource} is not ours, or was released before")
        if self._lost:
            return  # the context is gone, and all that it held with it
        free = {
            Memory: cu.cuMemFree,
            Shared: cu.cuIpcCloseMemHandle,
            Pinned: cu.cuMemHostUnregister,
            Stream: cu.cuStreamDestroy,
            Event: cu.cuEventDestroy,
            Module: cu.cuModuleUnload,
            Graph: cu.cuGraphExecDestroy,
        }[type(resource)]
        self._call(f"releasing a {type(resource).__name__.lower()}", free, resource[0])

    def free_bytes(self) -> int:
        free, _ = self._call("asking for free memory", self._cu.cuMemGetInfo)
        return int(free)

    def stream(self, *, urgent: bool = False) -> Stream:
        flags = int(self._cu.CUstream_flags.CU_STREAM_NON_BLOCKING)
        make = self._cu.cuStreamCreateWithPriority
        return self._own(Stream(int(self._call("making a stream", make, flags, self._priorities[urgent]))))

    def event(self, *, timing: bool = False, waited: bool = True) -> Event:
        flags = self._cu.CUevent_flags
        wanted = int(flags.CU_EVENT_BLOCKING_SYNC) if waited else 0
        wanted |= 0 if timing else int(flags.CU_EVENT_DISABLE_TIMING)
        return self._own(Event(int(self._call("making an event", self._cu.cuEventCreate, wanted))))

    def copy(self, target: int, source: int, nbytes: int, *, stream: Stream) -> None:
        self._call("queueing a copy", self._cu.cuMemcpyAsync, target, source, nbytes, stream.handle)

    def fill(self, target: int, value: int, nbytes: int, *, stream: Stream) -> None:
        self._call("queueing a fill", self._cu.cuMemsetD8Async, target, value, nbytes, stream.handle)

    def record(self, event: Event, *, stream: Stream) -> None:
        if stream.handle in self._capturing:
            external = int(self._cu.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL)
            self._call("recording an event", self._cu.cuEventRecordWithFlags, event.handle, stream.handle, external)
        else:
            self._call("recording an event", self._cu.cuEventRecord, event.handle, stream.handle)

    def hold(self, event: Event, *, stream: Stream) -> None:
        flags = self._cu.CUevent_wait_flags
        kind = flags.CU_EVENT_WAIT_EXTERNAL if stream.handle in self._capturing else flags.CU_EVENT_WAIT_DEFAULT
        self._call("waiting in a stream", self._cu.cuStreamWaitEvent, stream.handle, event.handle, int(kind))

    def synchronise(self, event: Event) -> None:
        self._call("waiting for a frame", self._cu.cuEventSynchronize, event.handle)

    def elapsed_ms(self, first: Event, last: Event) -> float:
        return float(self._call("reading a time", self._cu.cuEventElapsedTime, first.handle, last.handle))

    def load(self, image: bytes) -> Module:
        return self._own(Module(int(self._call("loading the kernels", self._cu.cuModuleLoadData, image))))

    def kernel(self, module: Module, name: str) -> Kernel:
        doing = f"looking up the kernel {name}"
        return Kernel(int(self._call(doing, self._cu.cuModuleGetFunction, module.handle, name.encode())), name)

    def launch(self, kernel: Kernel, grid: Grid, block: Grid, params: bytes, *, stream: Stream) -> None:
        struct = ctypes.create_string_buffer(params, max(len(params), 1))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(struct))  # the driver copies what it points to
        self._call(
            f"launching {kernel.name}",
            self._cu.cuLaunchKernel,
            kernel.handle, *grid, *block, 0, stream.handle, ctypes.addressof(pointers), 0,
        )  # fmt: skip

    def begin_capture(self, stream: Stream) -> None:
        # other threads may allocate meanwhile: another stream of frames may be starting
        mode = self._cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("beginning a capture", self._cu.cuStreamBeginCapture, stream.handle, mode)
        self._capturing.add(stream.handle)

    def end_capture(self, stream: Stream) -> Graph:
        self._capturing.discard(stream.handle)
        recorded = self._call("ending a capture", self._cu.cuStreamEndCapture, stream.handle)
        try:
            ready = self._call("making a graph", self._cu.cuGraphInstantiate, recorded, 0)
        finally:
            self._call("releasing a recording", self._cu.cuGraphDestroy, recorded)
        graph = self._own(Graph(int(ready)))
        self._call("uploading a graph", self._cu.cuGraphUpload, graph.handle, stream.handle)
        return graph

    def replay(self, graph: Graph, *, stream: Stream) -> None:
        self._call("launching a graph", self._cu.cuGraphLaunch, graph.handle, stream.handle)

    def close(self) -> None:
        while self._owned:
            with suppress(DeviceLostError):  # found now: then all of it is gone
                self.release(next(reversed(self._owned.values())))
        context, self._context = self._context, None
        if context is not None and not self._lost:
            self._call("closing the device", self._cu.cuDevicePrimaryCtxRelease, self._handle)

    def __enter__(self) -> CudaPython:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own(self, resource: R) -> R:
        with self._lock:
            self._owned[_key(resource)] = resource
        return resource

    def _call(self, doing: str, function: Any, *given: Any) -> Any:
        """Call the driver; give what it returns beside its status."""
        if self._lost:
            raise self._error(self._lost, "the device was lost before", doing)
        try:
            with Call(doing, opening=self._context is None):
                status, *found = function(*given)
        except RuntimeError as error:  # cuda-bindings of a newer CUDA look for functions that the driver has not
            raise DeviceError(
                f"{self.name} looks for what this NVIDIA driver does not have while {doing}: {error}",
                remedy="Update the driver, or install the cuda-bindings of its CUDA: `pip install 'cuda-bindings<13'`.",
            ) from error
        except (KeyError, ValueError) as error:  # the driver is newer than cuda-bindings, and so is its error
            raise self._failed("CUDA_ERROR_UNKNOWN", str(error), doing) from error
        if status.value:
            explained = self._cu.cuGetErrorString(status)[1] or b"no explanation"
            raise self._failed(status.name, explained.decode(), doing)
        return found[0] if len(found) == 1 else found

    def _failed(self, name: str, explained: str, doing: str) -> DeviceError:
        if name in STICKY and self._context is not None:
            self._lost = name
        return self._error(name, explained, doing)

    def _error(self, name: str, explained: str, doing: str) -> DeviceError:
        facts = {"device": str(self.device)} if hasattr(self, "device") else {}
        return cuda_error(name, explained, doing, opening=self._context is None, **facts)

    def _describe(self, ordinal: int) -> Device:
        cu, doing = self._cu, f"looking at cuda:{ordinal}"
        version = int(self._call(doing, cu.cuDriverGetVersion))
        found = (version // 1000, version % 1000 // 10)
        if found < DRIVER_TOO_OLD:
            raise DeviceError(
                "the NVIDIA driver is too old",
                remedy="Update it.",
                found=".".join(map(str, found)),
                needed=".".join(map(str, DRIVER_TOO_OLD)),
            )
        kinds = cu.CUdevice_attribute

        def attribute(kind: Any) -> int:
            return int(self._call(doing, cu.cuDeviceGetAttribute, kind, self._handle))

        major = attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        minor = attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        name = self._call(doing, cu.cuDeviceGetName, 128, self._handle)
        return Device(
            ordinal=ordinal,
            name=bytes(name).split(b"\0")[0].decode(errors="replace"),
            sm=f"sm{major}{minor}",
            integrated=bool(attribute(kinds.CU_DEVICE_ATTRIBUTE_INTEGRATED)),
            total_bytes=int(self._call(doing, cu.cuDeviceTotalMem, self._handle)),
            driver_version=found,
        )


def _key(resource: Any) -> tuple[str, int]:
    return type(resource).__name__, int(resource[0])


def _bindings() -> Any:
    """The module cuda.bindings.driver, its library found.

    Raises:
        DeviceError: one of the two is not there.
    """
    try:
        import cuda.bindings.driver as bindings
    except ImportError as error:
        raise DeviceError(
            "cuda-bindings is not installed", remedy="Install it with `pip install 'cutline[cuda]'`."
        ) from error
    try:
        bindings.cuDriverGetVersion()
    except CutlineError:
        raise
    except Exception as error:  # the kind depends on the release: RuntimeError, or one of cuda-pathfinder's own
        raise DeviceError(
            "there is no NVIDIA driver (libcuda.so.1)", remedy="Install it, or use --device cpu."
        ) from error
    return bindings
