"""What an NVIDIA GPU tells of itself through NVML, the driver's own library; nothing where there is none."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final, final

__all__ = ["MEMORY_CLOCK", "SM_CLOCK", "Gpu", "driver_version", "gpu_at", "open_gpus"]

SUCCESS: Final = 0
SM_CLOCK: Final = 1  # nvmlClockType_t
MEMORY_CLOCK: Final = 2
# nvmlClocksThrottleReasons: those that cost speed; idle and the user's own settings are no trouble
REASONS: Final = {
    0x04: "power cap", 0x08: "hardware slowdown", 0x10: "sync boost", 0x20: "temperature, software",
    0x40: "temperature, hardware", 0x80: "power brake",
}  # fmt: skip
MANY: Final = 64  # processes that are looked at


class _Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t."""

    _fields_ = (
        ("pid", ctypes.c_uint), ("memory", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint),
    )  # fmt: skip


@final
class Gpu:
    """Borrows one device of the library. What the driver does not support is None."""

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self._nvml, self._handle = library, handle
        text = ctypes.create_string_buffer(96)
        known = self._ask("nvmlDeviceGetName", text, len(text))
        self.name = text.value.decode("ascii", "replace") if known else "NVIDIA GPU"

    def energy_mj(self) -> int | None:
        """Energy since the driver was loaded, in mJ; Volta and newer."""
        value = ctypes.c_ulonglong()
        return value.value if self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(value)) else None

    def clock_mhz(self, kind: int = SM_CLOCK) -> int | None:
        """One clock now: SM_CLOCK or MEMORY_CLOCK."""
        value = ctypes.c_uint()
        return value.value if self._ask("nvmlDeviceGetClockInfo", kind, ctypes.byref(value)) else None

    def throttle_reason(self) -> str | None:
        """Why the clock is lower than it could be now; None where it is not."""
        bits = ctypes.c_ulonglong()
        if not self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.byref(bits)):
            return None
        return ", ".join(text for bit, text in REASONS.items() if bits.value & bit) or None

    def other_processes(self, *, drawing: bool = False) -> int | None:
        """Processes on the device besides this one: those that compute, or those that draw (a desktop's)."""
        count = ctypes.c_uint(MANY)
        found = (_Process * MANY)()
        kind = "Graphics" if drawing else "Compute"
        if not self._ask(f"nvmlDeviceGet{kind}RunningProcesses_v3", ctypes.byref(count), found):
            return None
        return sum(bool(found[n].pid != os.getpid()) for n in range(min(count.value, MANY)))

    def _ask(self, name: str, *words: Any) -> bool:
        """Call one function on the device; False where the driver has none of that name, or it refuses."""
        function = getattr(self._nvml, name, None)
        return function is not None and bool(function(self._handle, *words) == SUCCESS)


def open_gpus() -> list[Gpu]:
    """Every NVIDIA device; none where the library or the driver is missing."""
    library = _library()
    if library is None:
        return []
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == SUCCESS:
            gpus.append(Gpu(library, handle))
    return gpus


def gpu_at(address: bytes) -> Gpu | None:
    """The device at a PCI address such as 0000:41:00.0; CUDA counts devices in an order of its own."""
    library, handle = _library(), ctypes.c_void_p()
    if library is None or library.nvmlDeviceGetHandleByPciBusId_v2(address, ctypes.byref(handle)) != SUCCESS:
        return None
    return Gpu(library, handle)


def driver_version() -> str | None:
    """The NVIDIA driver's own version, such as 580.65.06."""
    library, text = _library(), ctypes.create_string_buffer(80)
    if library is None or library.nvmlSystemGetDriverVersion(text, len(text)) != SUCCESS:
        return None
    return text.value.decode("ascii", "replace")


def _library() -> Any:
    """NVML, started; None where it is missing, or the driver is."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == SUCCESS else None
