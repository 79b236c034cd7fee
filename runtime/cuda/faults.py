"""What a CUDA or TensorRT error means here: its name, the library's explanation, what we were doing, and a remedy.

A sticky error leaves the context unusable: every later call repeats it. The only cure is another process, so these
become DeviceLostError, which the supervisor of `cutline run` understands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cutline.runtime.errors import DeviceError, DeviceLostError

__all__ = ["STICKY", "cuda_error", "remedy_for", "tensorrt_error"]

STICKY: Final = frozenset(
    f"CUDA_ERROR_{name}"
    for name in (
        "ASSERT",
        "CONTAINED",
        "CONTEXT_IS_DESTROYED",
        "DEINITIALIZED",
        "ECC_UNCORRECTABLE",
        "EXTERNAL_DEVICE",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_ADDRESS",
        "ILLEGAL_INSTRUCTION",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
        "LAUNCH_TIMEOUT",
        "MISALIGNED_ADDRESS",
        "MPS_CLIENT_TERMINATED",
        "NVLINK_UNCORRECTABLE",
        "TENSOR_MEMORY_LEAK",
        "UNKNOWN",
    )
)

_REPORT: Final = "Report this with the command that was run and the output of `cutline doctor`."
_UPDATE: Final = "Update the NVIDIA driver, or rebuild the bundle with an older CUDA."
_HARDWARE: Final = "Look for an Xid line in `dmesg`; if it comes again, test or replace the card."
_TAKEN: Final = "End the other program on this GPU (see nvidia-smi), or choose another with --device cuda:N."

_REMEDIES: Final = {
    "OUT_OF_MEMORY": "Lower the number of streams or the frame size, or end other programs on this GPU.",
    "NO_DEVICE": "Check with nvidia-smi that the GPU is there and CUDA_VISIBLE_DEVICES does not hide it.",
    "INVALID_DEVICE": "Name a GPU that nvidia-smi lists, as in --device cuda:0.",
    "DEVICE_NOT_LICENSED": "License the virtual GPU, or use --device cpu.",
    "NOT_INITIALIZED": "Reboot, or reinstall the NVIDIA driver: it does not start.",
    "SYSTEM_NOT_READY": "Start nvidia-fabricmanager or wait until the driver is up, then try again.",
    "SYSTEM_DRIVER_MISMATCH": "Reboot: the loaded kernel module and the installed driver differ.",
    "COMPAT_NOT_SUPPORTED_ON_DEVICE": _UPDATE,
    "CALL_REQUIRES_NEWER_DRIVER": _UPDATE,
    "STUB_LIBRARY": "Take the folder `stubs` out of LD_LIBRARY_PATH: that libcuda is for linking only.",
    "DEVICE_UNAVAILABLE": _TAKEN,
    "CONTEXT_ALREADY_IN_USE": _TAKEN,
    "OPERATING_SYSTEM": "Check the permissions of /dev/nvidia*, and nvidia-smi.",
    "NOT_PERMITTED": "Check the permissions of /dev/nvidia*, and whether a profiler holds the GPU.",
    "NO_BINARY_FOR_GPU": "Rebuild the bundle for this GPU: `cutline build BUNDLE --target tensorrt`.",
    "UNSUPPORTED_PTX_VERSION": _UPDATE,
    "INVALID_IMAGE": "Rebuild the bundle; if that does not help, report it.",
    "INVALID_CONTEXT": "With PyCUDA, make its context current in this thread (context.push()) before calling Cutline.",
    "NOT_SUPPORTED": "This GPU or system does not offer it (Jetsons and WSL share no memory between processes); "
    "leave out what asks for it, such as --decoder.",
    "HOST_MEMORY_ALREADY_REGISTERED": _REPORT,
    "STREAM_CAPTURE_UNSUPPORTED": _REPORT,
    "LAUNCH_OUT_OF_RESOURCES": _REPORT,
    "LAUNCH_TIMEOUT": "Run on a GPU without a screen, or raise the display's watchdog time.",
    "ECC_UNCORRECTABLE": _HARDWARE,
    "NVLINK_UNCORRECTABLE": _HARDWARE,
    "EXTERNAL_DEVICE": _HARDWARE,
    "HARDWARE_STACK_ERROR": _HARDWARE,
    "MPS_CLIENT_TERMINATED": "Look at the log of nvidia-cuda-mps-server: another client failed.",
    "UNKNOWN": _HARDWARE,
}


def remedy_for(name: str) -> str:
    """What to do about a CUDA error, by the name of its CUresult."""
    return _REMEDIES.get(name.removeprefix("CUDA_ERROR_"), _REPORT)


def cuda_error(name: str, explanation: str, doing: str, *, opening: bool = False, **facts: object) -> DeviceError:
    """Make the error for one failed driver call.

    Args:
        name: of the CUresult, such as CUDA_ERROR_OUT_OF_MEMORY.
        explanation: the driver's own words.
        doing: what we were at, as in "launching post_full".
        opening: there is no context yet, so nothing can be lost.
    """
    kind = DeviceLostError if name in STICKY and not opening else DeviceError
    return kind(f"{name} while {doing}: {explanation}", remedy=remedy_for(name), **facts)


_CODE = re.compile(r"Error Code (\d+): ([A-Za-z ]+?)(?: \(|:|$)")
# the words of cudaGetErrorString, which TensorRT quotes, for errors that leave the context unusable
_STICKY_WORDS: Final = (
    "illegal memory access", "unspecified launch failure", "misaligned address", "illegal instruction",
    "device-side assert", "launch timed out", "uncorrectable", "hardware stack", "context is destroyed",
    "invalid program counter", "shared address space", "not completely freed",
)  # fmt: skip


def tensorrt_error(complaints: Sequence[str], doing: str, *, remedy: str, **facts: object) -> DeviceError:
    """Make the error for one failed TensorRT call, which itself says only False or None.

    Args:
        complaints: what TensorRT logged as errors since the call began, oldest first.
    """
    first = complaints[0] if complaints else "TensorRT gave no reason"
    found = _CODE.search(first)
    name = f"TensorRT error {found[1]}, {found[2].strip()}," if found else "TensorRT failed"
    said = " ".join(complaints).lower()
    lost = any(words in said for words in _STICKY_WORDS)
    if "out of memory" in said or "outofmemory" in said:
        remedy = remedy_for("CUDA_ERROR_OUT_OF_MEMORY")
    return (DeviceLostError if lost else DeviceError)(f"{name} while {doing}: {first}", remedy=remedy, **facts)
