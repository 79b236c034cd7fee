"""Modules that answer like TensorRT 10.3 and TensorRT for RTX 1.x, as far as Cutline asks them; plans are JSON."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = ["Engine", "Runtime", "make_module", "plan_of"]


class Named:
    """A value of a pybind11 enum."""

    def __init__(self, name: str, value: int = 0) -> None:
        self.name, self.value = name, value

    def __int__(self) -> int:
        return self.value


class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal error", "warning"


def plan_of(tensors: dict[str, tuple[str, str, list[int]]], **facts: Any) -> bytes:
    """A plan: name -> (INPUT or OUTPUT, type, shape)."""
    return json.dumps({"tensors": tensors, **facts}).encode()


class Context:
    def __init__(self, engine: Engine, given: Any) -> None:
        self.engine, self.given = engine, given
        self.bound: dict[str, int] = {}
        self.memory: tuple[int, ...] = ()
        self.queued: list[int] = []

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in self.engine.plan["tensors"]:
            self.engine.log("Error Code 3: API Usage Error (no such tensor)")
            return False
        self.bound[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle, "the default stream"
        if self.engine.plan.get("fails"):
            self.engine.log(self.engine.plan["fails"])
            return False
        self.queued.append(stream_handle)
        return True


class NewContext(Context):
    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = (memory, size)


class RtxContext(NewContext):
    def is_stream_capturable(self, stream: int) -> bool:  # noqa: ARG002
        return not self.engine.plan.get("uncapturable")


class Engine:
    def __init__(self, plan: dict[str, Any], runtime: Runtime) -> None:
        self.plan, self.log, self.contexts = plan, runtime.complain, []
        self.num_io_tensors = len(plan["tensors"])
        self.device_memory_size = self.device_memory_size_v2 = plan.get("scratch", 1024)

    def get_tensor_name(self, index: int) -> str:
        return list(self.plan["tensors"])[index]

    def get_tensor_mode(self, name: str) -> Named:
        return Named(self.plan["tensors"][name][0])

    def get_tensor_dtype(self, name: str) -> Named:
        return Named(self.plan["tensors"][name][1])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.plan["tensors"][name][2])

    def create_execution_context(self, given: Any) -> Any:
        kind = {"10.0": Context, "10.3": NewContext, "rtx": RtxContext}[self.plan.get("api", "10.3")]
        made = kind(self, given)
        self.contexts.append(made)
        return made


class Cache:
    def __init__(self) -> None:
        self.content = b"kernels compiled here"
        self.loaded: bytes | None = None

    def deserialize(self, blob: bytes) -> bool:
        self.loaded = blob
        return blob.startswith(b"kernels")

    def serialize(self) -> bytes:
        return self.content


class Config:
    cuda_graph_strategy: Any = None

    def __init__(self) -> None:
        self.strategy: Any = None
        self.cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> Cache:
        return Cache()

    def set_runtime_cache(self, cache: Cache) -> bool:
        self.cache = cache
        return True


class RtxEngine(Engine):
    def create_runtime_config(self) -> Config:
        self.config = Config()
        return self.config


class Runtime:
    engine_kind = Engine

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.engines: list[Engine] = []

    def complain(self, text: str) -> None:
        self._logger.log(ILogger.ERROR, text)

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            found = json.loads(plan)
        except ValueError:
            self.complain("Error Code 4: Internal Error (Engine deserialization failed.)")
            return None
        self.engines.append(self.engine_kind(found, self))
        return self.engines[-1]


class RtxRuntime(Runtime):
    engine_kind = RtxEngine

    def get_engine_validity(self, plan: bytes) -> tuple[Any, int]:
        if b'"stale"' in plan:
            return RtxModule.EngineValidity.INVALID, 1 + 2
        return RtxModule.EngineValidity.VALID, 0


DIAGNOSTICS = {"VERSION_MISMATCH": Named("VERSION_MISMATCH", 1), "UNSUPPORTED_CC": Named("UNSUPPORTED_CC", 2)}


class RtxModule:
    EngineValidity = SimpleNamespace(VALID=Named("VALID"), INVALID=Named("INVALID", 2))


def make_module(*, rtx: bool = False, version: str = "10.3.0") -> Any:
    """A module of either kind."""
    strategies = SimpleNamespace(USER_MANAGED=Named("USER_MANAGED", 2))
    module: Any = ModuleType("tensorrt")
    module.__version__, module.ILogger, module.Runtime = version, ILogger, Runtime
    module.ExecutionContextAllocationStrategy = strategies
    if rtx:
        module.Runtime = RtxRuntime
        module.EngineValidity = RtxModule.EngineValidity
        module.EngineInvalidityDiagnostics = SimpleNamespace(__members__=DIAGNOSTICS)
        module.CudaGraphStrategy = SimpleNamespace(DISABLED=Named("DISABLED"))
    return module
