"""TensorRT 10.3 to 11.x and TensorRT for RTX: the engine's identity first, its bytes last.

Deserialising an engine is running native code. So the bundle's signature and digests come first (bundle.py), then what
the engine was built for is compared with what is here, and only then the library sees a byte of it.

Differences between releases are looked up here by `hasattr`, and nowhere else at run time:
    get_engine_validity      TensorRT for RTX judges an engine by its header
    create_runtime_config    carries the allocation strategy; before it, create_execution_context takes that itself
    runtime cache            TensorRT for RTX keeps the kernels that it compiled for this very GPU
    device_memory_size_v2    10.1 and later; set_device_memory likewise
    is_stream_capturable     TensorRT for RTX
"""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, final

from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.contract_check import compare
from cutline.runtime.cuda.driver import Device, Stream
from cutline.runtime.cuda.faults import tensorrt_error
from cutline.runtime.cuda.network import STARTING
from cutline.runtime.errors import DeviceError, InternalError
from cutline.runtime.manifest import Target
from cutline.runtime.sessions import EngineOptions
from cutline.runtime.sessions.rtx_cache import RuntimeCache

__all__ = ["MODULES", "Complaints", "Library", "TensorRtNetwork", "choose_target", "load_library"]

MODULES: Final = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
INSTALL: Final = {
    "tensorrt": "Install TensorRT from NVIDIA (on Jetson it comes with JetPack), or use --device cpu.",
    "tensorrt-rtx": "Install it with `pip install 'cutline[tensorrt-rtx]'`, or use --device cpu.",
}
REBUILD: Final = "Rebuild the bundle on this device: `cutline build BUNDLE --target {kind}`."
# DataType -> bytes of one element, and NumPy's name
TYPES: Final = {
    "FLOAT": (4, "float32"),
    "HALF": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "INT8": (1, "int8"),
    "UINT8": (1, "uint8"),
}


def choose_target(bundle: Bundle, options: EngineOptions, device: Device) -> Target:
    """The first TensorRT target, in the bundle's order, that was built for this device and fits the demand.

    Raises:
        DeviceError: there is none; it says what there is.
    """
    targets = [t for t in bundle.manifest.targets if t.kind in MODULES]
    if not targets:
        raise DeviceError(
            "the bundle has no engine for a GPU",
            remedy=f"Rebuild it with --target tensorrt or tensorrt-rtx:{device.sm}, or use --device cpu.",
            bundle=bundle.manifest.name,
        )
    here = [t for t in targets if t.device == device.sm]
    if not here:
        raise DeviceError(
            f"the bundle has no engine for {device.sm}",
            remedy=f"Rebuild it with --target tensorrt or tensorrt-rtx:{device.sm}, or use --device cpu.",
            bundle=bundle.manifest.name,
            have=" ".join(sorted({str(t.device) for t in targets})),
        )
    found = [t for t in here if options.precision in ("auto", t.precision)]
    if not found:
        raise DeviceError(
            "the bundle has no engine of the demanded precision for this GPU",
            remedy=f"Use one of: {', '.join(sorted({t.precision for t in here}))}.",
            precision=options.precision,
        )
    return found[0]


@final
class Complaints:
    """What one of the two modules logs as errors, which it says nowhere else. Owns its logger."""

    def __init__(self, trt: Any) -> None:
        kept: deque[str] = deque(maxlen=20)

        class Listener(trt.ILogger):  # type: ignore[misc]  # the module is a parameter
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    kept.append(" ".join(message.split())[:400])

        self._kept, self.logger, self._lock = kept, Listener(), threading.Lock()

    def take(self) -> list[str]:
        """What was said since it was asked last, oldest first."""
        with self._lock:  # two engines may fail at the same time
            return [self._kept.popleft() for _ in range(len(self._kept))]


@cache
def complaints_of(trt: Any) -> Complaints:
    """One for the process: the library keeps the first logger that it is given, and ignores those of later engines."""
    return Complaints(trt)


@final
class Library:
    """Borrows one of the two modules."""

    def __init__(self, trt: Any, kind: str) -> None:
        self.trt, self.kind = trt, kind
        self.version = str(trt.__version__)
        self._complaints = complaints_of(trt)
        self.runtime = self._make_runtime()

    @property
    def name(self) -> str:
        """The library and its version, as bundles name them."""
        return f"{MODULES[self.kind]} {self.version}"

    def demand(self, truth: object, doing: str, *, remedy: str, **facts: object) -> None:
        """Turn a falsy answer of the library into an error that says what it complained of.

        Raises:
            DeviceError: `truth` is falsy.
        """
        complaints = self._complaints.take()
        if not truth:
            raise tensorrt_error(complaints, doing, remedy=remedy, library=self.name, **facts)

    def _make_runtime(self) -> Any:
        try:
            runtime = self.trt.Runtime(self._complaints.logger)
        except (RuntimeError, TypeError) as error:  # no driver; pybind11 turns a null pointer into TypeError
            raise DeviceError(
                f"{self.name} cannot start here: {error}", remedy="See `cutline doctor`, or use --device cpu."
            ) from error
        self.demand(runtime, "starting", remedy="See `cutline doctor`, or use --device cpu.")
        return runtime


def load_library(kind: str) -> Library:
    """Load TensorRT or TensorRT for RTX.

    Raises:
        DeviceError: it is not installed, or does not load.
    """
    try:
        module = importlib.import_module(MODULES[kind])
    except (ImportError, OSError) as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DeviceError(f"{MODULES[kind]} cannot be loaded: {text}", remedy=INSTALL[kind]) from error
    return Library(module, kind)


def check_identity(target: Target, library: Library, device: Device) -> None:
    """Compare what an engine was built for and with, as its bundle says, with what is here.

    Raises:
        DeviceError: another GPU or another release.
    """
    remedy = REBUILD.format(kind=target.kind if target.kind == "tensorrt" else f"{target.kind}:{device.sm}")
    if target.device != device.sm:
        raise DeviceError("engine was built for another GPU", remedy=remedy, built=target.device, found=device.sm)
    built = str(target.facts.get("library", ""))
    if built != library.name:
        raise DeviceError(
            "engine was built with another release", remedy=remedy, built=built or "not said", found=library.name
        )


@final
class TensorRtNetwork:
    """Owns one deserialised engine and, for RTX, the cache of its compiled kernels."""

    def __init__(self, plan: bytes, target: Target, library: Library, device: Device, contract: ModelContract) -> None:
        """Load an engine; the caller's thread has the device's context current.

        Raises:
            DeviceError: it was built for another device or release, or the library refuses it.
            ContractError: its tensors are not those of the contract.
        """
        check_identity(target, library, device)
        self._library, self._trt = library, library.trt
        self._remedy = REBUILD.format(kind=target.kind)
        self._demand_valid(plan, device)
        with STARTING:
            self._engine = library.runtime.deserialize_cuda_engine(plan)
        self._cache: RuntimeCache | None = None
        try:
            library.demand(self._engine, f"loading {target.member}", remedy=self._remedy, engine_mib=len(plan) >> 20)
            described = self._describe()
            compare(contract, described["INPUT"], described["OUTPUT"])
            self.tensors: Mapping[str, int] = self._sizes()
            size = getattr(self._engine, "device_memory_size_v2", None)
            self.scratch_bytes = int(self._engine.device_memory_size if size is None else size)
            self._config = self._make_config(plan, device)
        except BaseException:  # the traceback would keep the engine for longer than the driver has a context
            self.close()
            raise

    def inference(self, addresses: Mapping[str, int], scratch: int) -> TensorRtInference:
        """Make a context; every tensor at its address, scratch memory at `scratch`.

        Raises:
            DeviceError: the library refuses it.
        """
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        given = strategy if self._config is None else self._config
        context = self._engine.create_execution_context(given)
        self._library.demand(context, "making an execution context", remedy="Run fewer streams, or smaller frames.")
        if self.scratch_bytes and hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch, self.scratch_bytes)
        elif self.scratch_bytes:
            context.device_memory = scratch
        for name, address in addresses.items():
            self._library.demand(
                context.set_tensor_address(name, address), "binding a tensor", remedy=self._remedy, tensor=name
            )
        if self._cache is not None:
            self._cache.save()  # making a context is what compiles kernels
        return TensorRtInference(context, self._library)

    def close(self) -> None:
        """Let go of the engine. Works twice."""
        with STARTING:
            self._cache = self._config = self._engine = None

    def _demand_valid(self, plan: bytes, device: Device) -> None:
        """Ask the library what it thinks of the engine's header, where it can be asked."""
        judge = getattr(self._library.runtime, "get_engine_validity", None)
        if judge is None:
            return
        verdict, reasons = judge(plan)
        if verdict == self._trt.EngineValidity.INVALID:
            known = self._trt.EngineInvalidityDiagnostics.__members__
            named = [name for name, value in known.items() if int(reasons) & int(value)]
            self._library.demand(named, "asking whether the engine fits", remedy=self._remedy, device=str(device))
            raise DeviceError(
                f"{self._library.name} does not accept the engine: {', '.join(named)}",
                remedy=self._remedy,
                device=str(device),
            )

    def _describe(self) -> dict[str, dict[str, tuple[tuple[int, ...], str]]]:
        """Shape (0 where not fixed) and type of every tensor, by INPUT and OUTPUT."""
        found: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {"INPUT": {}, "OUTPUT": {}}
        for name in self._names():
            shape = tuple(max(0, int(n)) for n in self._engine.get_tensor_shape(name))
            kind = self._engine.get_tensor_dtype(name).name
            found[self._engine.get_tensor_mode(name).name][name] = (shape, TYPES.get(kind, (0, kind.lower()))[1])
        return found

    def _sizes(self) -> dict[str, int]:
        sizes = {}
        for name in self._names():
            count = 1
            for side in self._engine.get_tensor_shape(name):
                count *= int(side)
            kind = self._engine.get_tensor_dtype(name).name
            if count <= 0 or kind not in TYPES:
                remedy = "Freeze the shapes and types of the network's outputs, then rebuild the bundle."
                raise DeviceError("a tensor of the engine has no fixed size", remedy=remedy, tensor=name, type=kind)
            sizes[name] = count * TYPES[kind][0]
        return sizes

    def _names(self) -> list[str]:
        return [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]

    def _make_config(self, plan: bytes, device: Device) -> Any:
        """How contexts are made; None where the strategy alone is given."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if hasattr(config, "cuda_graph_strategy"):
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.DISABLED  # the network is part of a larger one
        if hasattr(config, "create_runtime_cache"):
            self._cache = RuntimeCache(config.create_runtime_cache(), plan, self._library.name, device)
            config.set_runtime_cache(self._cache.handle)
        return config


@final
class TensorRtInference:
    """Owns one execution context, until close()."""

    def __init__(self, context: Any, library: Library) -> None:
        self._context, self._library = context, library

    def queue(self, stream: Stream) -> None:
        """Queue one inference.

        Raises:
            DeviceError: the library refuses, or found the device lost.
        """
        if self._context is None:
            raise InternalError("an inference after close()", remedy="Report this with the command that was run.")
        if not self._context.execute_async_v3(stream.handle):
            self._library.demand(False, "running the network", remedy="Run `cutline verify` on the bundle.")

    def not_captured(self, stream: Stream) -> str | None:
        """Why the network cannot be captured."""
        ask = getattr(self._context, "is_stream_capturable", None)
        if ask is None or ask(stream.handle):
            return None
        return f"{self._library.name} says that this network cannot be captured"

    def close(self) -> None:
        """Let go of the context. Works twice."""
        self._context = None
