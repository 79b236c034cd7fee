"""Finding the kernels for a GPU in a bundle. They were compiled ahead: a device needs no compiler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cutline.runtime.bundle import Bundle
from cutline.runtime.cuda.driver import Device
from cutline.runtime.errors import DeviceError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Cubin

__all__ = ["kernel_image", "pick"]

TEGRA: Final = ("sm72", "sm87", "sm101", "sm110")  # share no binary code with any other


def kernel_image(bundle: Bundle, device: Device) -> bytes:
    """The cubin for a device.

    Raises:
        DeviceError: the bundle carries no kernels, or those of another version of Cutline, or none that run on this
            GPU, or its driver is older than the compiler that made them.
    """
    cubins = bundle.manifest.cubins
    if not cubins:
        remedy = f"Rebuild it: `cutline build {bundle.path.name} --target openvino,cuda:{device.sm} -o NEW.cutline`."
        raise DeviceError("the bundle has no CUDA target", remedy=remedy, bundle=str(bundle.path))
    cubin = pick(cubins, device.sm)
    if cubin is None:
        remedy = f"Rebuild the bundle with `--target cuda:{device.sm}`."
        have = ", ".join(c.device for c in cubins)
        raise DeviceError(
            "the bundle has no kernels for this GPU", remedy=remedy, bundle=str(bundle.path), have=have, found=device.sm
        )
    if cubin.source != sources_digest():
        remedy = f"Rebuild the bundle with this version and `--target cuda:{device.sm}`."
        raise DeviceError(
            "the bundle's kernels are those of another version of Cutline", remedy=remedy, bundle=str(bundle.path)
        )
    if cubin.toolkit[0] > device.driver_version[0]:
        remedy = "Update the driver, or rebuild the bundle with the NVRTC of an older CUDA (see engine/DESIGN.md)."
        raise DeviceError(
            "the driver is too old for the bundle's kernels",
            remedy=remedy,
            driver=_text(device.driver_version),
            compiled_with=_text(cubin.toolkit),
        )
    return bundle.read(cubin.member)


def pick(cubins: Sequence[Cubin], sm: str) -> Cubin | None:
    """The cubin that runs on a GPU: its own, else that of the nearest older one of the same family.

    Source: CUDA C++ Programming Guide, Binary Compatibility: within one major compute capability, on newer minors,
    and never from or to Tegra.
    """
    found = {c.device: c for c in cubins}
    if sm in found or sm in TEGRA:
        return found.get(sm)
    major, minor = _capability(sm)
    older = [c for c in cubins if c.device not in TEGRA and _capability(c.device)[0] == major]
    older = [c for c in older if _capability(c.device)[1] < minor]
    return max(older, key=lambda c: _capability(c.device)[1], default=None)


def _capability(sm: str) -> tuple[int, int]:
    number = re.sub(r"\D", "", sm) or "0"
    return int(number) // 10, int(number) % 10


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
