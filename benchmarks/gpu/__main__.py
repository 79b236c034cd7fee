"""Device checks of one NVIDIA GPU: is it right, is it fast, does it last.

    python -m benchmarks.gpu [--device 0] [--json FILE] [--html FILE] [--soak 60]

Under eight minutes. Where TensorRT cannot run the network, a stand-in of known cost takes its place on the same stream,
and the first line of the report says so. On a machine without a GPU it says that in one line and ends with 69.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from cutline.benchmarks.gpu import correct, soak, speed
from cutline.benchmarks.gpu.bed import Bed, SpinNetwork
from cutline.benchmarks.gpu.record import Check, Record, encode, html
from cutline.benchmarks.machine import describe_machine, source_commit
from cutline.benchmarks.nvml import open_gpus
from cutline.engine.cache import Cache
from cutline.engine.cubins import build_cubins, demand_compilers
from cutline.engine.progress import Silent
from cutline.engine.targets import BuildTarget
from cutline.engine.tensorrt_builder import PlanOptions, build_plan
from cutline.runtime.bundle import Bundle, open_bundle
from cutline.runtime.cuda.cubin import kernel_image
from cutline.runtime.cuda.driver import Driver
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.network import Network
from cutline.runtime.errors import CutlineError, DeviceError
from cutline.runtime.manifest import Target
from cutline.runtime.sessions.tensorrt import MODULES, TensorRtNetwork, load_library

STAND_IN_MS: Final = 2.0


def checks(bed: Bed, soak_s: float, seconds: float, tell: Callable[[str], None]) -> list[Check]:
    """Run everything; a check that fails with an error is a failed check."""
    found: list[Check] = []

    def add(name: str, run: Callable[[], Check | list[Check]]) -> None:
        tell(name)
        began = time.perf_counter()
        try:
            with bed.scope():
                made = run()
        except CutlineError as error:
            made = Check(name=name, verdict="failed", notes=(str(error),))
        took = round(time.perf_counter() - began, 1)
        found.extend(msgspec.structs.replace(c, seconds=took) for c in (made if isinstance(made, list) else [made]))

    copy_gbs = 0.0

    def copies() -> Check:
        nonlocal copy_gbs
        copy_gbs = speed.copy_bandwidth(bed)
        return Check(name="copy bandwidth", verdict="measured", figures={"GB/s, read and written": copy_gbs})

    def bandwidth(size: str) -> list[Check]:
        return speed.check_bandwidth(bed, size, copy_gbs)

    add("driver: conformance suite", correct.check_conformance)
    add("kernels against float64 twins", lambda: correct.check_twins(bed))
    add("graphs against plain launches", lambda: correct.check_graphs(bed.driver, bed.engine))
    add("copy bandwidth", copies)
    for size in speed.SIZES:
        add(f"bandwidth at {size}", partial(bandwidth, size))
        add(f"one stream flat out at {size}", partial(speed.check_streams, bed, size, seconds))
    add("paced", lambda: speed.check_latency(bed, 2 * seconds))
    add("cameras", lambda: speed.check_cameras(bed, 2 * seconds))
    add("soak", lambda: soak.check_soak(bed, soak_s))
    return found


def open_network(driver: Driver, bundle: Bundle) -> tuple[Network, str, str]:
    """The shipped network by TensorRT, else the stand-in. Returns it, its name, and the report's first line."""
    reasons = []
    for kind, module in MODULES.items():
        if not importlib.util.find_spec(module):
            reasons.append(f"{module} is not installed")
            continue
        try:
            device = driver.device.sm if kind == "tensorrt-rtx" else None
            build = BuildTarget(kind=kind, device=device)  # type: ignore[arg-type]  # MODULES' keys are kinds
            plan = build_plan(bundle.read("source.onnx"), build, PlanOptions(), Cache())
            facts = {"library": plan.facts["library"]}
            target = Target(kind=kind, precision="fp32", member="built now", device=driver.device.sm, facts=facts)  # type: ignore[arg-type]
            library = load_library(kind)
            network = TensorRtNetwork(plan.data, target, library, driver.device, bundle.manifest.contract)
            name = f"{bundle.manifest.name} version {bundle.manifest.version}, fp32, {library.name}"
            return network, name, f"The network is {name}, built on this device."
        except DeviceError as error:
            reasons.append(error.what)
    spin = SpinNetwork(driver, bundle.manifest.contract, cost_ms=STAND_IN_MS)
    name = f"stand-in of {STAND_IN_MS:g} ms"
    because = "; ".join(reasons)
    return spin, name, f"NO NETWORK RAN: a stand-in of known cost ({STAND_IN_MS:g} ms) took its place: {because}."


def kernels_for(driver: Driver, bundle: Bundle) -> bytes:
    """The bundle's kernels for this GPU, else compiled now."""
    try:
        return kernel_image(bundle, driver.device)
    except CutlineError:
        sm = driver.device.sm
        return build_cubins(demand_compilers([sm], {}), Cache(), Silent())[sm].image


def run(driver: Driver, *, soak_s: float, seconds: float, tell: Callable[[str], None]) -> Record:
    """Everything on one open driver, which it closes."""
    began, created = time.monotonic(), datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with ExitStack() as undo:
        bundle = undo.enter_context(open_bundle("cutout"))
        undo.callback(driver.close)
        network, shown, lead = open_network(driver, bundle)
        cubin = kernels_for(driver, bundle)
        engine = CudaEngine(
            driver, network, cubin, bundle.manifest.contract, name="cutout", precision="fp32", library=shown
        )
        undo.callback(engine.close)
        bed = Bed(driver, engine, network, cubin)
        undo.callback(bed.close)
        gpus = open_gpus()
        before = [_clocks(gpu) for gpu in gpus]
        found = checks(bed, soak_s, seconds, tell)
        version = ".".join(map(str, driver.device.driver_version))
        return Record(
            lead=lead,
            created=created,
            commit=source_commit(),
            device=str(driver.device),
            driver={"CUDA of the driver": version, "binding": driver.name},
            network=shown,
            machine=describe_machine(gpus, None),
            clocks={"before": str(before), "after": str([_clocks(gpu) for gpu in gpus])},
            seconds=round(time.monotonic() - began, 1),
            checks=tuple(found),
        )


def _clocks(gpu: Any) -> dict[str, Any]:
    return {name: getattr(gpu, name)() for name in ("clock_mhz", "throttle_reason", "other_processes")}


def main() -> int:
    """Run, write JSON and HTML, and say what was missed. 69 without a GPU, 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=int, default=0, help="ordinal of the GPU")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--html", type=Path, default=Path("gpu.html"))
    parser.add_argument("--soak", type=float, default=60.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    given = parser.parse_args()
    from cutline.runtime.cuda.cuda_python import CudaPython

    try:
        record = run(
            CudaPython(given.device), soak_s=given.soak, seconds=given.seconds,
            tell=lambda name: print(f"{name} ...", file=sys.stderr, flush=True),
        )  # fmt: skip
    except CutlineError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return error.exit_code
    print(record.lead)
    for check in record.checks:
        print(f"{check.verdict:<9} {check.name}: " + ", ".join(f"{k} {v}" for k, v in list(check.figures.items())[:4]))
    for path, content in ((given.json, encode(record)), (given.html, html(record).encode())):
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    return 1 if any(check.verdict == "failed" for check in record.checks) else 0


if __name__ == "__main__":
    sys.exit(main())
