"""What an NVIDIA GPU tells of itself through NVML, the driver's own library; nothing where there is none."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final, final

__all__ = ["Gpu", "open_gpus"]

SUCCESS: Final = 0
GRAPHICS_CLOCK: Final = 0
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

    def clock_mhz(self) -> int | None:
        """The graphics clock now."""
        value = ctypes.c_uint()
        return value.value if self._ask("nvmlDeviceGetClockInfo", GRAPHICS_CLOCK, ctypes.byref(value)) else None

    def throttle_reason(self) -> str | None:
        """Why the clock is lower than it could be now; None where it is not."""
        bits = ctypes.c_ulonglong()
        if not self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.byref(bits)):
            return None
        return ", ".join(text for bit, text in REASONS.items() if bits.value & bit) or None

    def other_processes(self) -> int | None:
        """Compute processes on the device besides this one."""
        count = ctypes.c_uint(MANY)
        found = (_Process * MANY)()
        if not self._ask("nvmlDeviceGetComputeRunningProcesses_v3", ctypes.byref(count), found):
            return None
        return sum(bool(found[n].pid != os.getpid()) for n in range(min(count.value, MANY)))

    def _ask(self, name: str, *words: Any) -> bool:
        """Call one function on the device; False where the driver has none of that name, or it refuses."""
        function = getattr(self._nvml, name, None)
        return function is not None and bool(function(self._handle, *words) == SUCCESS)


def open_gpus() -> list[Gpu]:
    """Every NVIDIA device; none where the library or the driver is missing."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if library.nvmlInit_v2() != SUCCESS:
        return []
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == SUCCESS:
            gpus.append(Gpu(library, handle))
    return gpus
