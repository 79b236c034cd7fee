"""From a typed ONNX graph to a TensorRT plan, for `tensorrt` on this device or `tensorrt_rtx` for any."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutline.engine.cache import Cache
from cutline.engine.sandbox import Limits, run_in_child
from cutline.engine.targets import BuildTarget
from cutline.runtime.errors import DeviceError

__all__ = ["Plan", "PlanOptions", "build_plan", "demand_library", "library_version"]

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
PLAN_LIMITS = Limits(seconds=4 * 3600.0, memory=None)  # Jetson takes minutes; nothing takes hours
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute, cuda.h


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """How hard TensorRT tries. None leaves its own default."""

    level: int | None = None  # builder optimisation level, 0 to 5
    workspace_mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A serialised engine, where it runs and what made it."""

    data: bytes
    device: str
    facts: dict[str, Any]


def library_version(target: BuildTarget) -> str:
    """Version of the library that builds for a target, without loading it.

    Raises:
        DeviceError: it is not installed.
    """
    module = MODULES[target.kind]
    if importlib.util.find_spec(module) is None:
        remedy = {
            "tensorrt": "Install TensorRT from NVIDIA on the device itself, or use --target tensorrt-rtx:sm89.",
            "tensorrt-rtx": "Install it with `pip install 'cutline[tensorrt-rtx]'`, or leave the target out.",
        }[target.kind]
        raise DeviceError(f"{target.kind} is not installed", remedy=remedy, target=str(target))
    try:
        return importlib.metadata.version(module).partition(".post")[0]  # of the package alone: the library has none
    except importlib.metadata.PackageNotFoundError:
        return str(importlib.import_module(module).__version__)  # from apt, as on Jetson


def demand_library(target: BuildTarget) -> str:
    """Check before long work that a target's library is there, and its GPU where it needs one. Returns the device.

    Raises:
        DeviceError: something is missing.
    """
    library_version(target)
    return target.device or _this_device()


def build_plan(
    model: bytes,
    target: BuildTarget,
    options: PlanOptions,
    cache: Cache,
    tell: Callable[[float, str], None] | None = None,
) -> Plan:
    """Build one plan, or take it from the cache.

    Args:
        model: a typed ONNX graph; its types are the plan's precision.
        tell: called with the fraction done and the name of the phase.
    Raises:
        DeviceError: the library is missing, or fails on this graph for this device.
    """
    version = library_version(target)
    device = target.device or _this_device()
    facts = {
        "library": f"{MODULES[target.kind]} {version}",
        "level": options.level,
        "workspace_mib": options.workspace_mib,
    }
    key = cache.key("plan", model, facts, device)
    if (kept := cache.get(key)) is None:
        kept = _build(model, target, options, _timing_cache_path(cache, facts["library"], device), tell)
        cache.put(key, kept)
    return Plan(data=kept, device=device, facts=facts)


def _build(
    model: bytes, target: BuildTarget, options: PlanOptions, timing: Path, tell: Callable[[float, str], None] | None
) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cutline-plan-") as folder:
        source, plan = Path(folder) / "model.onnx", Path(folder) / "model.plan"
        source.write_bytes(model)
        request = {
            "module": MODULES[target.kind],
            "model": str(source),
            "plan": str(plan),
            "timing_cache": str(timing),
            "device": target.device,
            "workspace_mib": options.workspace_mib,
            "level": options.level,
        }

        def news(message: dict[str, Any]) -> None:
            if tell is not None:
                tell(message["fraction"], message["phase"])

        run_in_child("plan", request, limits=PLAN_LIMITS, tell=news)
        return plan.read_bytes()


def _timing_cache_path(cache: Cache, library: str | int | None, device: str) -> Path:
    return cache.folder / f"timing-{str(library).replace(' ', '-')}-{device}.bin"


def _this_device() -> str:
    """Compute capability of the first GPU, from the driver itself.

    Raises:
        DeviceError: there is no driver or no GPU.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            "TensorRT builds on the device itself, and this machine has no NVIDIA driver",
            remedy="Build there, or use --target tensorrt-rtx:sm89.",
        ) from error
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0)
    status = status or driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
    status = status or driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
    if status:
        raise DeviceError("the NVIDIA driver finds no GPU", remedy="See `cutline doctor`.", status=status)
    return f"sm{major.value}{minor.value}"
