"""Device checks of one NVIDIA GPU: is it right, is it fast, does it last.

    python -m benchmarks.gpu [--device 0] [--json FILE] [--html FILE] [--soak 60]

Under eight minutes. Both files hold what was found so far after every check, whatever becomes of the next one. Where
TensorRT cannot run the network, a stand-in of known cost takes its place on the same stream, and the first line of the
report says so. On a machine without a GPU it says that in one line and ends with 69.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from cutline.benchmarks.gpu.card import nvml_gpu
from cutline.benchmarks.gpu.record import Record
from cutline.benchmarks.gpu.recorder import Recorder, demand_place
from cutline.benchmarks.gpu.steps import Steps
from cutline.benchmarks.machine import describe_machine, source_commit
from cutline.benchmarks.nvml import driver_version, open_gpus
from cutline.runtime.bundle import open_bundle
from cutline.runtime.cuda.driver import Driver
from cutline.runtime.cuda.watchdog import Watchdog
from cutline.runtime.errors import CutlineError, UsageError

INTERRUPTED: Final = 130
LONGEST_S: Final = 24 * 3600.0


def run(
    open_driver: Callable[[], Driver], json: Path, page: Path, *, soak_s: float, seconds: float,
    tell: Callable[[str], None],
) -> Record:  # fmt: skip
    """Every check on one device; `open_driver` is called twice.

    Raises:
        OutputError: the report cannot be created, said before anything else is done.
        DeviceError: there is no device.
        StorageError: the finished report could not be written.
    """
    for place in (json, page):
        demand_place(place)
    with open_driver() as driver:  # a look at it: other processes use it first
        device, binding = driver.device, driver.name
    record = Record(
        lead="NO NETWORK RAN: none could be opened.",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=source_commit(),
        device=str(device),
        driver={
            "NVIDIA driver": driver_version() or "not told",
            "CUDA of the driver": ".".join(map(str, device.driver_version)),
            "binding": binding,
        },
        network="none",
        machine=describe_machine(open_gpus(), None),
    )
    gpu = nvml_gpu(device.ordinal)
    recorder = Recorder(record, json, page, tell, gpu)
    with open_bundle("cutout") as bundle:
        steps = Steps(open_driver, device, bundle, recorder, gpu, soak_s=soak_s, seconds=seconds)
        try:
            recorder.run(steps.all())
        finally:
            if recorder.record.checks:  # else nothing was begun, and an earlier run's report stays
                recorder.check("closing", steps.close)
    recorder.save()
    return recorder.record


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy="See --help.")


def read_words(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UsageError: an unknown word, or a number that makes no sense.
    """
    parser = _Parser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", type=int, default=0, help="ordinal of the GPU")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--html", type=Path, default=Path("gpu.html"))
    parser.add_argument("--soak", type=float, default=60.0, help="seconds; 0 leaves it out")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    given = parser.parse_args(words)
    if not 0.1 <= given.seconds <= LONGEST_S or not 0 <= given.soak <= LONGEST_S:
        raise UsageError(
            "nothing can be measured so", remedy="Give --seconds from 0.1 on, and --soak from 0 on; at most a day."
        )
    return given


def main(words: Sequence[str]) -> int:
    """Run, and say what was missed. 69 without a GPU, 1 when something is wrong."""
    try:
        given = read_words(words)
        from cutline.runtime.cuda.cuda_python import CudaPython

        record = run(
            partial(CudaPython, given.device), given.json, given.html, soak_s=given.soak, seconds=given.seconds,
            tell=lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
    except CutlineError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmarks.gpu: interrupted; the report holds what was found before", file=sys.stderr)
        return INTERRUPTED
    print(record.lead)
    for check in record.checks:
        found = ", ".join([*(f"{k} {v}" for k, v in list(check.figures.items())[:4]), *check.notes])
        print(f"{check.verdict:<9} {check.name}: {found}")
    return 1 if any(check.verdict == "failed" for check in record.checks) else 0


def _end_hung(error: CutlineError) -> NoReturn:
    """The report holds what was found before; a thread inside the driver cannot be called back."""
    print(f"benchmarks.gpu: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


if __name__ == "__main__":
    faulthandler.enable()  # a crash in a library says where
    Watchdog(_end_hung)
    sys.exit(main(sys.argv[1:]))
