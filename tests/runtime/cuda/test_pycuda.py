"""PyCuda on a module that keeps PyCUDA's rules of contexts and threads, as its sources have them (cuda.hpp).

PyCUDA keeps a stack of contexts for each thread. What it makes needs one on the stack of the thread that makes it. What
it frees in a thread that has another (or none) and did not make the context, it leaks without a word. A thread that
ends with a context on its stack aborts the process. Its errors carry the driver's explanation, not the error's name.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cutline.runtime.cuda import pycuda
from cutline.runtime.cuda.pycuda import PyCuda
from cutline.runtime.errors import DeviceError, DeviceLostError

CONTEXT = 0x77
NAMES = {2: ("OUT_OF_MEMORY", "out of memory"), 700: ("ILLEGAL_ADDRESS", "an illegal memory access was encountered")}


class Error(Exception):
    """pycuda.driver.Error."""


class Context:
    """The program's context, and the stacks of all threads."""

    maker = 0
    stacks: dict[int, list[Context]] = {}  # noqa: RUF012 - reset by the fixture
    leaked: list[str] = []  # noqa: RUF012

    @classmethod
    def stack(cls) -> list[Context]:
        return cls.stacks.setdefault(threading.get_ident(), [])

    def push(self) -> None:
        self.stack().append(self)

    @classmethod
    def pop(cls) -> None:
        cls.stack().pop()

    @classmethod
    def get_current(cls) -> Context | None:
        return cls.stack()[-1] if cls.stack() else None

    @staticmethod
    def get_device() -> Any:
        return Device(0)

    @classmethod
    def frees(cls, what: str) -> None:
        if cls.get_current() is None and threading.get_ident() != cls.maker:
            cls.leaked.append(what)


class Device:
    def __init__(self, index: int) -> None:
        self.index = index

    @staticmethod
    def count() -> int:
        return 1

    def __getattr__(self, name: str) -> Callable[..., Any]:
        known = {
            "name": "A card", "compute_capability": (8, 9), "pci_bus_id": "0", "get_attribute": 0,
            "total_memory": 1 << 30,
        }  # fmt: skip
        return lambda *_: known[name]


class Dependent:
    """Anything that belongs to a context."""

    handle = 4097

    def __init__(self, *given: Any) -> None:
        if Context.get_current() is None:
            raise Error("explicit_context_dependent failed: invalid device context - no currently active context?")
        self.given, self.calls = given, list[str]()

    def __del__(self) -> None:
        Context.frees(type(self).__name__)

    def __int__(self) -> int:
        return 0x10000

    def __getattr__(self, name: str) -> Any:
        if name == "free" and type(self) is not Memory:
            raise AttributeError(name)
        return lambda *_: self.calls.append(name)


class Memory(Dependent):
    """DeviceAllocation."""


class Function(Dependent):
    """What launches keep of themselves."""


FAULTS: dict[str, str] = {}


def driver_module() -> Any:
    module: Any = ModuleType("pycuda.driver")
    module.Error, module.Context, module.Device = Error, Context, Device
    module.Stream, module.Event = type("Stream", (Dependent,), {}), type("Event", (Dependent,), {})
    module.mem_alloc = lambda n: answer("mem_alloc", Memory, n)
    module.module_from_buffer = type("Module", (Dependent,), {})
    module.mem_get_info = lambda: answer("mem_get_info", lambda: (1, 2))
    module.get_driver_version = lambda: 13000
    module.event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)
    module.device_attribute = SimpleNamespace(INTEGRATED=18)
    return module


def answer(call: str, make: Callable[..., Any], *given: Any) -> Any:
    if words := FAULTS.get(call):
        raise Error(f"cu{call} failed: {words}")
    return make(*given)


class Libcuda:
    """The calls of the driver's own library."""

    def __init__(self) -> None:
        self.current: dict[int, int] = {}  # thread -> context
        self.pinned: dict[int, tuple[int, int]] = {}  # address -> bytes, flags
        self.maps = True

    def cuCtxGetCurrent(self, found: Any) -> int:  # noqa: N802 - the library's name
        found._obj.value = CONTEXT
        return 0

    def cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:  # noqa: N802
        self.current[threading.get_ident()] = context.value or 0
        return 0

    def cuMemHostRegister_v2(self, address: Any, nbytes: Any, flags: Any) -> int:  # noqa: N802
        assert self.current[threading.get_ident()] == CONTEXT
        if nbytes.value > 1 << 40:
            return 2
        self.pinned[address.value] = (nbytes.value, flags.value)
        return 0

    def cuMemHostGetDevicePointer_v2(self, found: Any, address: Any, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        found._obj.value = address.value + 1
        return 0 if self.maps else 700

    def cuMemHostUnregister(self, address: Any) -> int:  # noqa: N802
        del self.pinned[address.value]
        return 0

    def cuGetErrorName(self, code: int, found: Any) -> int:  # noqa: N802
        found._obj.value = b"CUDA_ERROR_" + NAMES[code][0].encode() if code in NAMES else None
        return 0 if code in NAMES else 1

    def cuGetErrorString(self, code: int, found: Any) -> int:  # noqa: N802
        found._obj.value = NAMES[code][1].encode() if code in NAMES else None
        return 0 if code in NAMES else 1


@pytest.fixture
def libcuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Libcuda]:
    """The program: it imported PyCUDA and made a context in this thread."""
    library, package, driver = Libcuda(), ModuleType("pycuda"), driver_module()
    package.VERSION_TEXT, package.driver = "2026.1", driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setattr(pycuda, "_libcuda", lambda: library)
    Context.maker, Context.stacks, Context.leaked = threading.get_ident(), {}, []
    FAULTS.clear()
    Context().push()
    yield library
    assert len(Context.stack()) == 1


def in_a_thread(body: Callable[[], Any]) -> Any:
    """Run it in a thread that ends. PyCUDA aborts where that thread's stack is not empty then."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(body())
        except BaseException as error:
            found.append(error)
        assert not Context.stack(), "the process would be aborted"
        found.append("ended well")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[1:] == ["ended well"]
    return found[0]


def test_without_a_context_it_says_what_to_do(libcuda: Libcuda) -> None:  # noqa: ARG001
    Context.stack().clear()
    with pytest.raises(DeviceError, match="no PyCUDA context is current") as caught:
        PyCuda()
    assert "pycuda.autoinit" in caught.value.remedy
    Context().push()


def test_a_thread_that_attached_has_the_context_and_may_end(libcuda: Libcuda) -> None:
    with PyCuda() as driver:

        def body() -> Any:
            driver.attach()
            return libcuda.current[threading.get_ident()]

        assert in_a_thread(body) == CONTEXT


def test_host_memory_is_pinned_and_mapped_by_the_driver_itself(libcuda: Libcuda) -> None:
    """PyCUDA's own call refuses arrays that do not own their memory, and ours lies in shared mappings."""
    with PyCuda() as driver:
        pinned = driver.pin(1 << 20, 64)
        assert (pinned, libcuda.pinned) == ((1 << 20, 64, (1 << 20) + 1), {1 << 20: (64, 1 | 2)})
        with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY while page-locking"):
            driver.pin(1 << 20, 1 << 41)
        libcuda.maps = False
        with pytest.raises(DeviceLostError, match="CUDA_ERROR_ILLEGAL_ADDRESS while page-locking"):
            driver.pin(1 << 21, 64)


def test_what_another_thread_makes_is_made_and_what_it_frees_is_freed(libcuda: Libcuda) -> None:
    with PyCuda() as driver:
        memory, stream, pinned = driver.alloc(64), driver.stream(), driver.pin(1 << 20, 64)
        kept = driver._owned[memory.address]

        def body() -> Any:
            driver.attach()
            driver.release(driver.event())
            for resource in (memory, pinned, stream):
                driver.release(resource)

        assert in_a_thread(body) is None
        assert kept.calls == ["free"]
        assert libcuda.pinned == {}
        assert Context.leaked == []


def test_closing_in_another_thread_frees_all(libcuda: Libcuda) -> None:
    driver = PyCuda()
    driver.alloc(64), driver.stream(), driver.event(), driver.load(b"cubin"), driver.pin(1 << 20, 64)
    assert in_a_thread(driver.close) is None
    assert libcuda.pinned == {}
    assert Context.leaked == []
    driver.close()


def test_an_error_has_the_driver_s_name_for_it(libcuda: Libcuda) -> None:  # noqa: ARG001
    with PyCuda() as driver:
        FAULTS["mem_alloc"] = "out of memory"
        with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY while taking 64 bytes") as caught:
            driver.alloc(64)
        assert not isinstance(caught.value, DeviceLostError)
        FAULTS["mem_get_info"] = "an illegal memory access was encountered"
        with pytest.raises(DeviceLostError, match="CUDA_ERROR_ILLEGAL_ADDRESS while asking for free memory"):
            driver.free_bytes()
        FAULTS["mem_get_info"] = "something that a newer driver says"
        with pytest.raises(DeviceError, match="PyCUDA's Error while asking for free memory: something that"):
            driver.free_bytes()
