"""What `cutline doctor` says of NVIDIA GPUs: driver, packages, TensorRT, and why frames do not run there."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from typing import Final, NamedTuple

from cutline.runtime.sinks.codec import ENCODING, explaining, is_there, why_no_nvenc
from cutline.runtime.sources.nvdec import LIBRARY as DECODING
from cutline.runtime.sources.nvdec import why_no_nvdec
from cutline.tools.finding import Finding

__all__ = ["cuda_packages", "gpu_engine", "gpu_video", "nvidia", "tensorrt"]

MAJOR, MINOR, INTEGRATED = 75, 76, 18  # CUdevice_attribute, cuda.h
GIB: Final = 1 << 30
ORIN: Final = "sm87"
ORIN_PIPE: Final = (
    "gst-launch-1.0 -q filesrc location=INPUT ! qtdemux ! h264parse ! nvv4l2decoder ! nvvidconv ! "
    "video/x-raw,format=I420 ! y4menc ! fdsink | cutline run - OUTPUT"
)


class _Card(NamedTuple):
    name: str
    sm: str
    total_bytes: int
    integrated: bool


def nvidia() -> Finding:
    """Driver and GPUs, straight from the driver's library: no package is needed for this."""
    try:
        version, cards = _cards()
    except OSError:
        return Finding("NVIDIA driver", "optional", "no libcuda.so.1: the CPU is used", "Install the NVIDIA driver.")
    except RuntimeError as error:
        return Finding("NVIDIA driver", "optional", f"{error}: no GPU usable", "Run nvidia-smi.")
    shown = [
        f"cuda:{i} {c.name}, {c.sm}, {c.total_bytes / GIB:.0f} GiB{', shares memory' if c.integrated else ''}"
        for i, c in enumerate(cards)
    ]
    return Finding("NVIDIA driver", "ok", f"runs CUDA up to {version}; {'; '.join(shown)}")


def cuda_packages() -> Finding:
    """What drives the GPU from Python."""
    found = [f"{name} {v}" for name in ("cuda-bindings", "pycuda") if (v := _version(name))]
    if not _version("cuda-bindings"):
        seen = f"cuda-bindings is not installed{'; ' + found[0] if found else ''}"
        return Finding("CUDA packages", "optional", seen, "pip install 'cutline[cuda]'")
    shown = ", ".join(found)
    try:
        version, _ = _cards()
    except (OSError, RuntimeError):
        return Finding("CUDA packages", "ok", shown)
    newest = version.partition(".")[0]
    if int(str(_version("cuda-bindings")).partition(".")[0]) > int(newest):
        seen = f"{shown}; the driver runs CUDA up to {version}, and has not all that newer bindings look for"
        return Finding("CUDA packages", "optional", seen, f"pip install 'cuda-bindings<{int(newest) + 1}'")
    return Finding("CUDA packages", "ok", shown)


def tensorrt() -> Finding:
    """What runs networks on the GPU."""
    found = [
        f"{name} {_version(name) or 'of the system'}"
        for name, module in (("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx"))
        if importlib.util.find_spec(module)
    ]
    if not found:
        return Finding(
            "TensorRT", "optional", "neither tensorrt nor tensorrt-rtx", "pip install 'cutline[tensorrt-rtx]'"
        )
    return Finding("TensorRT", "ok", ", ".join(found))


def gpu_engine() -> Finding:
    """Whether the default model has an engine for the first GPU, and what makes one if not."""
    from cutline.runtime.bundle import open_bundle

    try:
        _, cards = _cards()
    except (OSError, RuntimeError):
        return Finding("model on the GPU", "optional", "no GPU to look for an engine for")
    sm = cards[0].sm
    with open_bundle("cutout") as bundle:
        name, targets = bundle.manifest.name, bundle.manifest.targets
    if any(target.device == sm and target.kind.startswith("tensorrt") for target in targets):
        return Finding("model on the GPU", "ok", f"{name} has an engine for {sm}")
    kind = f"tensorrt-rtx:{sm}" if importlib.util.find_spec("tensorrt_rtx") else "tensorrt"
    build = f"cutline build {name} --target {kind} --precision fp16 -o {name}-{sm}.cutline"
    return Finding("model on the GPU", "optional", f"{name} has no engine for {sm}", build)


def gpu_video() -> Finding:
    """The GPU's decoder and encoder for `cutline run`."""
    cpu = "`cutline run` decodes and encodes on the CPU"
    try:
        _, cards = _cards()
    except (OSError, RuntimeError):
        return Finding("video on the GPU", "optional", f"{cpu}; there is no GPU for it")
    if cards[0].sm == ORIN:
        return Finding("video on the GPU", "optional", f"{cpu}; an Orin's decoder can feed it by a pipe", ORIN_PIPE)
    if lacking := next((name for name in (DECODING, ENCODING) if not is_there(name)), None):
        remedy = "In a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."
        return Finding("video on the GPU", "optional", f"{cpu}; the driver came without {lacking}", remedy)
    with explaining():
        decoder = why_no_nvdec()
    encoder = why_no_nvenc()
    decodes = f"decodes on the CPU ({decoder})" if decoder else "decodes on the GPU with --decoder nvdec"
    encodes = f"encodes on the CPU ({encoder})" if encoder else "encodes H.264 on the GPU with --encoder nvenc"
    found = _version("PyNvVideoCodec")
    programs = [f"PyNvVideoCodec {found} is there for programs"] if found else []
    seen = "; ".join([f"`cutline run` {decodes}, {encodes}", *programs])
    if decoder or encoder:
        return Finding(
            "video on the GPU", "optional", seen, "Update the NVIDIA driver and PyAV; some GPUs have no encoder."
        )
    return Finding("video on the GPU", "ok", seen)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cards() -> tuple[str, list[_Card]]:
    """The newest CUDA that the driver runs, and the GPUs that it shows.

    Raises:
        OSError: there is no driver.
        RuntimeError: it does not start, or shows no GPU.
    """
    driver = ctypes.CDLL("libcuda.so.1")

    def number(call: str, *given: object) -> int:
        found = ctypes.c_int()
        if status := getattr(driver, call)(ctypes.byref(found), *given):
            raise RuntimeError(f"{call} gives error {status}")
        return found.value

    if status := driver.cuInit(0):
        raise RuntimeError(f"cuInit gives error {status}")
    version, cards = number("cuDriverGetVersion"), []
    for ordinal in range(number("cuDeviceGetCount")):
        device = number("cuDeviceGet", ordinal)
        name, total = ctypes.create_string_buffer(128), ctypes.c_size_t()
        driver.cuDeviceGetName(name, 128, device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        major, minor, shared = (number("cuDeviceGetAttribute", kind, device) for kind in (MAJOR, MINOR, INTEGRATED))
        cards.append(_Card(name.value.decode(errors="replace"), f"sm{major}{minor}", total.value, bool(shared)))
    if not cards:
        raise RuntimeError("the driver shows no GPU")
    return f"{version // 1000}.{version % 1000 // 10}", cards
