"""Which kernels a GPU gets from a bundle, and what is said when there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cutline.runtime.cuda.cubin import kernel_image, pick
from cutline.runtime.cuda.driver import Device
from cutline.runtime.errors import DeviceError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Cubin

ORIN = Device(ordinal=0, name="Orin", sm="sm87", integrated=True, total_bytes=8 << 30, driver_version=(12, 6))


def cubin(device: str, *, toolkit: tuple[int, int] = (12, 9), source: str = "") -> Cubin:
    return Cubin(device=device, member=f"cubins/{device}.cubin", source=source or sources_digest(), toolkit=toolkit)


def bundle(*cubins: Cubin) -> Any:
    manifest = SimpleNamespace(cubins=cubins)
    return SimpleNamespace(path=Path("small.cutline"), manifest=manifest, read=lambda member: member.encode())


def test_a_gpu_gets_its_own_kernels() -> None:
    assert kernel_image(bundle(cubin("sm86"), cubin("sm87")), ORIN) == b"cubins/sm87.cubin"


@pytest.mark.parametrize(
    ("have", "sm", "found"),
    [
        (("sm80", "sm86"), "sm89", "sm86"),
        (("sm80", "sm89"), "sm86", "sm80"),
        (("sm86", "sm89"), "sm80", None),
        (("sm100",), "sm103", "sm100"),
        (("sm100",), "sm120", None),
        (("sm80", "sm86"), "sm87", None),
        (("sm87",), "sm89", None),
        (("sm120",), "sm121", "sm120"),
    ],
)
def test_kernels_run_on_newer_minors_of_their_family_and_never_between_tegra_and_others(
    have: tuple[str, ...], sm: str, found: str | None
) -> None:
    chosen = pick([cubin(device) for device in have], sm)
    assert (chosen.device if chosen else None) == found


@pytest.mark.parametrize(
    ("cubins", "said"),
    [
        ((), "no CUDA target.*cuda:sm87"),
        ((cubin("sm86"),), "no kernels for this GPU.*sm86.*sm87"),
        ((cubin("sm87", source="0" * 64),), "another version"),
        ((cubin("sm87", toolkit=(13, 0)),), "driver is too old.*12.6.*13.0"),
    ],
)
def test_kernels_that_cannot_run_are_one_line_and_no_fault_of_the_bundle(cubins: tuple[Cubin, ...], said: str) -> None:
    """The same bundle runs on a CPU, which is what `auto` then takes: it does so for a DeviceError alone."""
    with pytest.raises(DeviceError, match=said) as caught:
        kernel_image(bundle(*cubins), ORIN)
    assert "\n" not in str(caught.value)


def test_a_newer_driver_runs_what_an_older_compiler_made() -> None:
    thor = replace(ORIN, sm="sm110", driver_version=(13, 2))
    assert kernel_image(bundle(cubin("sm110", toolkit=(13, 0))), thor)
