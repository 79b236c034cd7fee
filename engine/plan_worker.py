"""Builds one TensorRT plan in a child process: `tensorrt` 10.3 to 11 and `tensorrt_rtx`, told apart by what they have.

Every difference between the releases is looked up here by `hasattr`, and nowhere else:
    STRONGLY_TYPED          a creation flag until typing became the only way
    compute capabilities    TensorRT for RTX alone builds for devices that are not there
    progress monitor, timing cache, workspace pool, optimisation level
Precision is a property of the graph: no precision flag is ever set.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cutline.runtime.errors import DeviceError, InternalError
from cutline.runtime.sessions.tensorrt import Complaints

__all__ = ["task"]

Tell = Callable[[dict[str, Any]], None]


def task(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Worker entry: request has module, model, plan, timing_cache, device, workspace_mib, level.

    Raises:
        DeviceError: the library is missing, does not know the device, or fails on the graph.
    """
    trt = _load(request["module"])
    started = time.monotonic()
    complaints = Complaints(trt)
    builder = _make(lambda: trt.Builder(complaints.logger), request["module"], complaints)
    network = builder.create_network(_creation_flags(trt))
    _parse(trt, network, Path(request["model"]), complaints)
    config = builder.create_builder_config()
    _set_device(trt, config, request["device"])
    _set_limits(trt, config, request)
    cache_in_use = _load_timing_cache(config, Path(request["timing_cache"]))
    if hasattr(config, "progress_monitor"):
        config.progress_monitor = _make_monitor(trt, tell)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"{request['module']} cannot build this graph: {(complaints.take() or ['no reason given'])[-1]}",
            remedy="Use another --precision for this device, or leave the device out.",
            device=request["device"],
        )
    data = bytes(plan)
    Path(request["plan"]).write_bytes(data)
    if cache_in_use:
        _save_timing_cache(config, Path(request["timing_cache"]))
    return {"version": str(trt.__version__), "bytes": len(data), "seconds": round(time.monotonic() - started, 3)}


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DeviceError(
            f"{module} cannot be loaded: {text}", remedy="Install it, or leave its target out."
        ) from error


def _make(create: Callable[[], Any], module: str, complaints: Complaints) -> Any:
    try:
        return create()
    except (RuntimeError, TypeError) as error:  # TensorRT: no driver; pybind11 turns a null builder into TypeError
        reason = (complaints.take() or [str(error)])[-1]
        raise DeviceError(
            f"{module} cannot start here: {reason}", remedy="Build on the device itself, or see `cutline doctor`."
        ) from error


def _creation_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _parse(trt: Any, network: Any, model: Path, complaints: Complaints) -> None:
    parser = trt.OnnxParser(network, complaints.logger)
    if not parser.parse(model.read_bytes()):
        errors = [" ".join(str(parser.get_error(i)).split())[:400] for i in range(parser.num_errors)]
        reason = (errors or complaints.take() or ["no reason given"])[0]
        raise DeviceError(f"TensorRT cannot read this graph: {reason}", remedy="Export the model with other operators.")
    if network.num_outputs == 0:
        raise InternalError("TensorRT read a graph without outputs", remedy="Report this together with the model.")


def _set_device(trt: Any, config: Any, device: str | None) -> None:
    """Build for a device that need not be there, where the library can."""
    if device is None:
        return
    known = [name for name in dir(getattr(trt, "ComputeCapability", None)) if name.startswith("SM")]
    if not known or not hasattr(config, "set_compute_capability"):
        raise DeviceError(
            "this TensorRT cannot build for a device that it does not run on",
            remedy="Update tensorrt-rtx, or build on the device itself.",
            device=device,
        )
    if device.upper() not in known:
        raise DeviceError(
            f"{trt.__name__} {trt.__version__} does not know {device}",
            remedy="Use another --target for this device (tensorrt, on the device itself), or update tensorrt-rtx.",
            known=" ".join(name.lower() for name in known),
        )
    capability = getattr(trt.ComputeCapability, device.upper())
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)


def _set_limits(trt: Any, config: Any, request: dict[str, Any]) -> None:
    if request["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_mib"] << 20)
    if request["level"] is not None:
        config.builder_optimization_level = request["level"]


def _load_timing_cache(config: Any, path: Path) -> bool:
    """Whether a timing cache is in use. One that TensorRT refuses (another release, another device) is begun anew."""
    if not hasattr(config, "create_timing_cache"):
        return False
    data = path.read_bytes() if path.is_file() else b""
    return bool(config.set_timing_cache(config.create_timing_cache(data), False)) or bool(
        config.set_timing_cache(config.create_timing_cache(b""), False)
    )


def _save_timing_cache(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        path.write_bytes(bytes(cache.serialize()))


def _make_monitor(trt: Any, tell: Tell) -> Any:
    """Turn TensorRT's nested phases into one fraction; called from several of its threads."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module is a parameter
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._phases: dict[str, PhaseProgress] = {}
            self._told = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                parent = self._phases.get(parent_phase or "")
                self._phases[phase_name] = PhaseProgress(max(num_steps, 1), parent)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                phase = self._phases.get(phase_name)
                if phase is not None:
                    phase.done = min(step + 1, phase.steps)
                    fraction = phase.whole()
                    if fraction > self._told + 0.01:
                        self._told = fraction
                        tell({"fraction": round(fraction, 4), "phase": phase_name})
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.pop(phase_name, None)

    return Monitor()


class PhaseProgress:
    """One open phase: how far it is, and the phase of which it is one step."""

    def __init__(self, steps: int, parent: PhaseProgress | None) -> None:
        self.steps, self.parent, self.done = steps, parent, 0

    def whole(self) -> float:
        """How far the outermost phase is, 0..1."""
        fraction, phase = self.done / self.steps, self.parent
        while phase is not None:
            fraction = min(1.0, (phase.done + fraction) / phase.steps)
            phase = phase.parent
        return fraction
