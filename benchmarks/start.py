"""From the start of a process to its first composite, with and without what earlier starts left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import final

import msgspec

from cutline.benchmarks.figures import Ground
from cutline.benchmarks.fresh import FreshJob, FreshResult
from cutline.benchmarks.schema import Figure, Scenario
from cutline.benchmarks.setting import Setting, Watch
from cutline.benchmarks.statistics import figure_of_few
from cutline.runtime.errors import DeviceError

__all__ = ["fresh_job", "run_fresh", "run_start"]

RUN_ON_S = 0.3  # after the last start's first frame, for its memory
LIMIT_S = 120.0


@final
class _Process:
    """Owns one fresh process."""

    def __init__(self, job: FreshJob, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "cutline.benchmarks.fresh", msgspec.json.encode(job).decode()]
        self.began_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def stop(self) -> None:
        """End it."""
        self._process.kill()

    def result(self, stopped: Callable[[], bool]) -> FreshResult | None:
        """Wait for its result; None when it was stopped.

        Raises:
            DeviceError: it failed, or took LIMIT_S.
        """
        try:
            out, err = self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.stop()
            out, err = self._process.communicate()
        if self._process.returncode == 0:
            return msgspec.json.decode(out, type=FreshResult)
        if stopped():
            return None
        lines = err.decode(errors="replace").strip().splitlines()
        raise DeviceError(
            "a new process did not come to its first frame",
            remedy="Try `cutline run` on the same input.",
            said=lines[-1] if lines else f"exit code {self._process.returncode}",
        )


def run_fresh(setting: Setting, job: FreshJob, cache: str | None = None) -> tuple[float, FreshResult] | None:
    """Seconds from the start of a new process to its first composite, and what else it found; None when stopped.

    Args:
        cache: XDG_CACHE_HOME, where it is not to be the usual one.
    Raises:
        DeviceError: the process failed.
    """
    environment = dict(os.environ) | ({"XDG_CACHE_HOME": cache} if cache else {})
    process = _Process(job, environment)
    with setting.stopping.hears(process):
        result = process.result(lambda: setting.stopping.stopped)
    return None if result is None else ((result.first_ns - process.began_ns) / 1e9, result)


def fresh_job(setting: Setting, **changes: object) -> FreshJob:
    """A job on the setting's bundle and clip."""
    job = FreshJob(
        bundle=setting.options.bundle,
        clip=str(setting.clip.at_size(setting.size)),
        device=setting.options.device,
        precision=setting.precision,
        allow_unsigned=setting.options.allow_unsigned,
        plate=setting.plate,
    )
    return msgspec.structs.replace(job, **changes)


@dataclass
class _Starts:
    """Seconds of each start."""

    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    memory_mib: dict[str, float] = field(default_factory=dict)


def run_start(setting: Setting) -> list[Scenario]:
    """Start processes, first without compiled networks in the cache, then with.

    Raises:
        DeviceError: a process failed.
    """
    found, watch, job = _Starts(), Watch(setting.gpus), fresh_job(setting)
    with watch.turn():
        for _ in range(setting.plan.cold_starts):
            with TemporaryDirectory() as cache:
                if not setting.stopping.stopped and (seen := run_fresh(setting, job, cache)):
                    found.cold.append(seen[0])
        for number in range(setting.plan.warm_starts):
            last = number == setting.plan.warm_starts - 1
            if setting.stopping.stopped:
                break
            if seen := run_fresh(setting, fresh_job(setting, seconds=RUN_ON_S if last else 0.0)):
                found.warm.append(seen[0])
                found.memory_mib |= seen[1].memory_mib
    return [_scenario(setting.ground(watch), found)] if found.cold or found.warm else []


def _scenario(ground: Ground, found: _Starts) -> Scenario:
    starts = {"cold": found.cold, "warm": found.warm}
    seen = {name: figure_of_few(values, "s") for name, values in starts.items() if values}
    for name, size in found.memory_mib.items():
        seen[f"memory.{name}"] = Figure(value=size, unit="MiB", better="lower", n=1)
    return ground.scenario(
        "start",
        ["cold: no compiled network in the cache; the files may be in memory", "medians, too few starts for bounds"],
        figures=seen,
        repeats=max(len(found.cold), len(found.warm)),
    )
