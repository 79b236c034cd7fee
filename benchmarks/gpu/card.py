"""What the driver's own library says of a GPU beyond what Cutline's driver asks it."""

from __future__ import annotations

import ctypes
from typing import Final

from cutline.benchmarks.nvml import Gpu, gpu_at
from cutline.runtime.errors import DeviceError

__all__ = ["multiprocessors", "nvml_gpu"]

MULTIPROCESSOR_COUNT: Final = 16  # CUdevice_attribute, cuda.h


def multiprocessors(ordinal: int) -> int:
    """How many streaming multiprocessors the GPU has.

    Raises:
        DeviceError: there is no driver, or no such GPU.
    """
    found, count = _open(ordinal), ctypes.c_int()
    if found is None or found[0].cuDeviceGetAttribute(ctypes.byref(count), MULTIPROCESSOR_COUNT, found[1]):
        raise DeviceError("the NVIDIA driver does not describe this GPU", remedy="See `cutline doctor`.", gpu=ordinal)
    return count.value


def nvml_gpu(ordinal: int) -> Gpu | None:
    """The GPU as NVML knows it; None where there is no driver or no NVML."""
    found, address = _open(ordinal), ctypes.create_string_buffer(32)
    if found is None or found[0].cuDeviceGetPCIBusId(address, len(address), found[1]):
        return None
    return gpu_at(address.value)


def _open(ordinal: int) -> tuple[ctypes.CDLL, ctypes.c_int] | None:
    """The driver's library and its handle of the device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    return None if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), ordinal) else (driver, device)
