"""Which device runs a network: what was demanded, or what `auto` finds, with the reason in words."""

from __future__ import annotations

import ctypes
import re
from typing import NamedTuple

from cutline.runtime.bundle import Bundle
from cutline.runtime.cuda.driver import Driver
from cutline.runtime.errors import DeviceError, UsageError
from cutline.runtime.sessions import Engine, EngineOptions

__all__ = ["Demand", "driver_is_there", "engine_on", "open_on_gpu", "parse_device", "why_not_gpu"]


class Demand(NamedTuple):
    """What --device says."""

    kind: str  # auto, cpu or cuda
    ordinal: int = 0  # of the GPU


def parse_device(text: str) -> Demand:
    """Read --device.

    Raises:
        UsageError: none of auto, cpu, cuda, cuda:N.
    """
    found = re.fullmatch(r"(auto|cpu|cuda)(?::(\d{1,3}))?", text)
    if found is None or (found[2] and found[1] != "cuda"):
        raise UsageError("unknown device", remedy="Use auto, cpu, cuda or cuda:N.", device=text)
    return Demand(found[1], int(found[2] or 0))


def driver_is_there() -> bool:
    """Whether the NVIDIA driver's library can be loaded."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def why_not_gpu(bundle: Bundle, options: EngineOptions) -> str | None:
    """Why `auto` does not even try the GPU; None: it should. Starts no driver."""
    if not driver_is_there():
        return "there is no NVIDIA driver"
    if all(target.kind == "openvino" for target in bundle.manifest.targets):
        return "the bundle has no engine for a GPU"
    if options.precision == "bf16":
        return "the demanded precision is one of CPUs"
    return None


def open_on_gpu(bundle: Bundle, options: EngineOptions, ordinal: int) -> Engine:
    """Load the bundle's engine on a GPU.

    Raises:
        DeviceError: driver, library, GPU, engine or kernels are missing or do not fit.
    """
    from cutline.runtime.cuda.cuda_python import CudaPython

    if not driver_is_there():
        raise DeviceError(
            "there is no NVIDIA driver (libcuda.so.1)",
            remedy="Install it, or use --device cpu.",
            device=options.device,
        )
    return engine_on(CudaPython(ordinal), bundle, options)


def engine_on(driver: Driver, bundle: Bundle, options: EngineOptions) -> Engine:
    """Load the bundle's engine through an open driver, which the engine then owns.

    Raises:
        DeviceError: library, engine or kernels are missing or do not fit; the driver is closed then.
    """
    from cutline.runtime.cuda.cubin import kernel_image
    from cutline.runtime.cuda.engine import CudaEngine
    from cutline.runtime.sessions.tensorrt import TensorRtNetwork, choose_target, load_library

    try:
        target = choose_target(bundle, options, driver.device)
        kernels = kernel_image(bundle, driver.device)
        library = load_library(target.kind)
        contract = bundle.manifest.contract
        network = TensorRtNetwork(bundle.read(target.member), target, library, driver.device, contract)
        return CudaEngine(
            driver,
            network,
            kernels,
            contract,
            name=bundle.manifest.name,
            precision=target.precision,
            library=library.name,
        )
    except BaseException:
        driver.close()
        raise
