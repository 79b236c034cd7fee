"""Does it last? A minute of frames flat out, memory and rate watched."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Final

from cutline.benchmarks.gpu.bed import Bed, Frames
from cutline.benchmarks.gpu.record import Check, Verdict
from cutline.benchmarks.gpu.speed import SIZES
from cutline.benchmarks.nvml import Gpu

__all__ = ["check_soak"]

LOOK_S: Final = 2.0
GROWTH_MIB: Final = 20.0  # of this process, after the first look
DEVICE_MIB: Final = 1.0  # of the device, for all programs together
DRIFT: Final = 0.05


def check_soak(bed: Bed, seconds: float, gpu: Gpu | None) -> Check:
    """One 1080p stream flat out. The first looks warm up and do not count.

    Free memory is the whole device's: its loss is ours where NVML shows no other program, before and after.
    """
    shared = [_shared(bed, gpu)]
    looks: list[tuple[float, float, float]] = []  # ms per frame, MiB of this process, MiB free on the device
    with closing(Frames(bed.engine, SIZES["1080p"], background="#00ff00")) as frames:
        began = time.perf_counter()
        while not looks or time.perf_counter() - began < seconds:
            rate = frames.flat_out(min(LOOK_S, seconds / 6))
            looks.append((rate, _resident_mib(), bed.driver.free_bytes() / (1 << 20)))
    shared.append(_shared(bed, gpu))
    settled = looks[len(looks) // 4 :]
    growth, device = settled[-1][1] - settled[0][1], settled[0][2] - settled[-1][2]
    half = max(1, len(settled) // 2)
    early, late = (sum(look[0] for look in part) / len(part) for part in (settled[:half], settled[-half:]))
    whose = next(filter(None, shared), "")
    steady = growth <= GROWTH_MIB and (device <= DEVICE_MIB or bool(whose))
    verdict: Verdict = "failed" if not steady else "passed" if late <= early * (1 + DRIFT) else "missed"
    return Check(
        name=f"soak of {seconds:.0f} s",
        verdict=verdict,
        goal=f"process at most +{GROWTH_MIB:.0f} MiB, device at most +{DEVICE_MIB:.0f} MiB, rate within {DRIFT:.0%}",
        figures={
            "process growth MiB": growth, "device growth MiB": device, "ms per frame, first half": early,
            "ms per frame, second half": late, "looks": len(looks),
        },
        notes=(f"the device's free memory fell by {device:.1f} MiB, which may be others': {whose}",) if whose else (),
    )  # fmt: skip


def _shared(bed: Bed, gpu: Gpu | None) -> str:
    """Why the device's memory may be taken by others; empty: it is not."""
    if bed.driver.device.integrated:
        return "it is the host's"
    found = (gpu.other_processes(), gpu.other_processes(drawing=True)) if gpu is not None else (None, None)
    if None in found:
        return "NVML does not say who is on the device"
    return f"NVML shows {sum(n or 0 for n in found)} other processes" if any(found) else ""


def _resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
