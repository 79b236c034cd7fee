"""The kernels that travel in a bundle: which cubin fits this GPU.

A cubin made for sm_XY runs on every sm_XZ with Z >= Y, and on no other: the major number is the architecture.
"""

from __future__ import annotations

import re
from typing import Final

from cutline.runtime.bundle import Bundle
from cutline.runtime.cuda.driver import Device
from cutline.runtime.errors import DeviceError

__all__ = ["MEMBER", "choose_cubin", "read_cubin"]

MEMBER: Final = "cubins/{sm}.cubin"
_NAMED: Final = re.compile(r"cubins/(sm\d+)\.cubin\Z")


def read_cubin(bundle: Bundle, device: Device) -> bytes:
    """The bundle's kernels for a device.

    Raises:
        DeviceError: it has none that run there.
        BundleError: the file was changed after it was opened.
    """
    have = [match[1] for member in bundle.manifest.members if (match := _NAMED.match(member.name))]
    return bundle.read(MEMBER.format(sm=choose_cubin(have, device, bundle.manifest.name)))


def choose_cubin(have: list[str], device: Device, bundle: str) -> str:
    """The closest of several, such as sm86 for sm89.

    Raises:
        DeviceError: none runs on the device.
    """
    major, minor = _parts(device.sm)
    fitting = [sm for sm in have if _parts(sm)[0] == major and _parts(sm)[1] <= minor]
    if not fitting:
        raise DeviceError(
            f"the bundle has no kernels for {device.sm}",
            remedy=f"Rebuild it with `cutline build {bundle}.cutline` for this GPU, or use --device cpu.",
            bundle=bundle,
            have=" ".join(sorted(have)) or "none",
        )
    return max(fitting, key=_parts)


def _parts(sm: str) -> tuple[int, int]:
    """Architecture and revision: sm89 is 8 and 9, sm120 is 12 and 0."""
    number = int(sm.removeprefix("sm"))
    return number // 10, number % 10
