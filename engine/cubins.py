"""The CUDA kernels, compiled ahead for each GPU that a bundle is for, with what each kernel takes of the GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from cutline.engine.cache import Cache
from cutline.engine.nvrtc import Nvrtc, find_compilers
from cutline.engine.progress import Progress
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import DeviceError, InternalError
from cutline.runtime.kernels.cuda_sources import MAIN, read_sources, sources_digest
from cutline.runtime.manifest import Cubin, KernelFigures

__all__ = [
    "BuiltCubin",
    "build_cubins",
    "carried_cubins",
    "cubin_member",
    "demand_compilers",
    "listed",
    "read_figures",
]

OPTIONS = ("--std=c++17", "--ptxas-options=-v")


class BuiltCubin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cubin and where it comes from."""

    device: str  # such as sm86
    source: str  # sources_digest()
    toolkit: tuple[int, int]  # CUDA release of the compiler
    kernels: dict[str, KernelFigures]
    image: bytes


def cubin_member(device: str) -> str:
    """Name of a cubin in a bundle."""
    return f"cubins/{device}.cubin"


def listed(cubin: BuiltCubin) -> Cubin:
    """What the manifest says of a cubin."""
    return Cubin(
        device=cubin.device,
        member=cubin_member(cubin.device),
        source=cubin.source,
        toolkit=cubin.toolkit,
        kernels=cubin.kernels,
    )


def carried_cubins(bundle: Bundle) -> dict[str, BuiltCubin]:
    """The cubins of a bundle, by device."""
    return {
        cubin.device: BuiltCubin(
            device=cubin.device,
            source=cubin.source,
            toolkit=cubin.toolkit,
            kernels=cubin.kernels,
            image=bundle.read(cubin.member),
        )
        for cubin in bundle.manifest.cubins
    }


def demand_compilers(devices: Iterable[str], carried: Mapping[str, BuiltCubin]) -> dict[str, Nvrtc | BuiltCubin]:
    """Where each device's cubin will come from: the oldest compiler that knows the device, else the source bundle.

    The oldest, because drivers run what compilers of their own major release or an older one made: JetPack 6 (CUDA 12)
    takes nothing that CUDA 13 compiled, and a driver of CUDA 13 takes both.

    Raises:
        DeviceError: there is neither.
    """
    wanted, found = list(dict.fromkeys(devices)), dict[str, Nvrtc | BuiltCubin]()
    compilers = find_compilers() if wanted else []
    for device in wanted:
        able = [compiler for compiler in compilers if device in compiler.devices]
        kept = carried.get(device)
        if able:
            found[device] = able[0]
        elif kept is not None and kept.source == sources_digest():
            found[device] = kept
        elif compilers:
            known = ", ".join(compilers[-1].devices)
            raise DeviceError(
                f"no NVRTC here compiles for {device}",
                remedy="Install another release of nvidia-cuda-nvrtc.",
                known=known,
            )
        else:
            raise DeviceError(
                "the CUDA kernels cannot be compiled: NVRTC is not installed",
                remedy="Install it with `pip install 'cutline[cuda]'`, or leave the GPU targets out.",
                device=device,
            )
    return found


def build_cubins(origins: Mapping[str, Nvrtc | BuiltCubin], cache: Cache, progress: Progress) -> dict[str, BuiltCubin]:
    """Compile, or take from the cache or the source bundle, one cubin per device.

    Raises:
        InternalError: the kernels do not compile.
    """
    with ThreadPoolExecutor() as pool:  # the compiler runs without the interpreter lock
        made = list(pool.map(lambda device: _build(device, origins[device], cache), origins))
    for cubin in made:
        spilled = [name for name, figures in cubin.kernels.items() if figures.spilled_bytes]
        progress.say(
            f"kernels for {cubin.device}: {len(cubin.image) / 1e3:.0f} kB by CUDA {cubin.toolkit[0]}.{cubin.toolkit[1]}"
            + (f"; registers do not suffice for {', '.join(spilled)}" if spilled else "")
        )
    return {cubin.device: cubin for cubin in made}


def _build(device: str, origin: Nvrtc | BuiltCubin, cache: Cache) -> BuiltCubin:
    if isinstance(origin, BuiltCubin):
        return origin
    key = cache.key("cubin", sources_digest(), device, origin.version, OPTIONS)
    if (kept := cache.get(key)) is not None:
        return msgspec.msgpack.decode(kept, type=BuiltCubin)
    compiled = origin.compile(MAIN, read_sources(), device, OPTIONS)
    cubin = BuiltCubin(
        device=device,
        source=sources_digest(),
        toolkit=origin.version,
        kernels=read_figures(compiled.log),
        image=compiled.image,
    )
    cache.put(key, msgspec.msgpack.encode(cubin))
    return cubin


def read_figures(log: str) -> dict[str, KernelFigures]:
    """Read ptxas's verbose log.

    Raises:
        InternalError: it says nothing of any kernel, so its form has changed.
    """
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.partition("'")[0]
        stack, stores, loads = _numbers(
            part, r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        )
        (registers,) = _numbers(part, r"Used (\d+) registers")
        shared = re.search(r"(\d+) bytes smem", part)
        found[name] = KernelFigures(
            registers=registers,
            spilled_bytes=stores + loads,
            stack_bytes=stack,
            shared_bytes=int(shared[1]) if shared else 0,
        )
    if not found:
        raise _unread()
    return found


def _numbers(text: str, pattern: str) -> Sequence[int]:
    found = re.search(pattern, text)
    if found is None:
        raise _unread()
    return [int(number) for number in found.groups()]


def _unread() -> InternalError:
    return InternalError("the compiler's figures cannot be read", remedy="Report it, with the compiler's version.")
