"""The checks in their order, each as independent of the others as it can be, and what one leaves behind for the next.

What uses the device in processes of its own comes first, before this process makes a context there: on a GPU in
exclusive mode there is room for one. What needs the kernels alone comes before the network is opened.
"""

from __future__ import annotations

import importlib.util
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final, Literal, final

from cutline.benchmarks.gpu import bandwidth, correct, files, runs, soak, speed, video
from cutline.benchmarks.gpu.bed import Bed, SpinNetwork, kernels_for
from cutline.benchmarks.gpu.card import multiprocessors
from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.benchmarks.gpu.recorder import Recorder, Work
from cutline.benchmarks.nvml import Gpu
from cutline.engine.cache import Cache
from cutline.engine.targets import BuildTarget
from cutline.engine.tensorrt_builder import Plan, PlanOptions, build_plan
from cutline.runtime.bundle import Bundle
from cutline.runtime.cuda.driver import Device, Driver
from cutline.runtime.cuda.network import Network
from cutline.runtime.errors import DeviceError
from cutline.runtime.manifest import Target
from cutline.runtime.sessions.tensorrt import MODULES, TensorRtNetwork, load_library

__all__ = ["KINDS", "Steps"]

Kind = Literal["tensorrt", "tensorrt-rtx"]
KINDS: Final[tuple[Kind, ...]] = ("tensorrt", "tensorrt-rtx")
STAND_IN_MS: Final = 2.0
PRECISION: Final = "FP32 source, in which TensorRT may take TF32"
QUICK_MS: Final = 0.3  # of a stand-in that hides less of what is around it
PLANS_S: Final = 150.0  # by the clock, for all engines together


@final
class Steps:
    """Owns the bed from the step that opens the device to close()."""

    def __init__(
        self, open_driver: Callable[[], Driver], device: Device, bundle: Bundle, recorder: Recorder, gpu: Gpu | None,
        *, soak_s: float, seconds: float,
    ) -> None:  # fmt: skip
        self._open_driver, self._device, self._bundle, self._recorder = open_driver, device, bundle, recorder
        self._gpu, self._soak_s, self._seconds = gpu, soak_s, seconds
        self._plans_s = PLANS_S  # left
        self._plans: dict[Kind, Plan] = {}
        self._bed: Bed | None = None
        self._network = ""  # what runs it

    def all(self) -> Mapping[str, Work]:
        """Every check by its name."""
        seconds = self._seconds
        steps: dict[str, Work] = {
            "driver: conformance suite": lambda: correct.check_conformance(self._device.ordinal),
            video.NAME: lambda: video.check_video(self._device.ordinal),
            files.NAME: lambda: files.check_files(f"nvenc:{self._device.ordinal}"),
            **{f"{kind}: engine": partial(self._build, kind) for kind in KINDS},
            "device opened": self._open,
            "kernels against float64 twins": self._on_bed(correct.check_twins),
            "copy bandwidth": self._on_bed(bandwidth.check_copy),
        }
        for size in speed.SIZES:
            steps[f"kernels' bandwidth at {size}"] = self._on_bed(partial(bandwidth.check_bandwidth, size=size))
        steps |= {f"{kind}: network": self._on_bed(partial(self._load, kind)) for kind in KINDS}
        steps["stand-in network"] = self._on_bed(self._stand_in)
        steps["graphs against plain launches"] = self._on_bed(correct.check_graphs)
        for size in speed.SIZES:
            steps[f"one stream flat out at {size}"] = self._on_bed(
                partial(speed.check_streams, size=size, seconds=seconds)
            )
            steps[f"one stream flat out at {size}, quick stand-in"] = self._on_bed(partial(self._quick, size))
        steps[runs.NAME] = self._on_bed(runs.check_runs)
        steps["paced"] = self._on_bed(partial(speed.check_latency, seconds=2 * seconds))
        steps["cameras"] = self._on_bed(partial(speed.check_cameras, seconds=2 * seconds))
        steps["soak"] = self._on_bed(self._soak)
        return steps

    def close(self) -> Check:
        """Let go of the device."""
        bed, self._bed = self._bed, None
        if bed is not None:
            bed.close()
        return Check(name="closing", verdict="passed", goal="everything is given back")

    def _on_bed(self, check: Callable[[Bed], Check | list[Check]]) -> Work:
        def work() -> Check | list[Check]:
            if self._bed is None:
                raise NotRun("the device could not be opened")
            with self._bed.scope():
                return check(self._bed)

        return work

    def _build(self, kind: Kind) -> Check:
        """An engine for this device, in a child process."""
        if not importlib.util.find_spec(MODULES[kind]):
            raise NotRun(f"{MODULES[kind]} is not installed")
        if kind == "tensorrt" and self._device.ordinal:
            raise NotRun("TensorRT builds on the first GPU: make this one the first with CUDA_VISIBLE_DEVICES")
        build = BuildTarget(kind=kind, device=self._device.sm if kind == "tensorrt-rtx" else None)
        began = time.monotonic()
        try:
            with _within(self._plans_s, MODULES[kind]):
                plan = build_plan(self._bundle.read("source.onnx"), build, PlanOptions(), Cache())
        except DeviceError as error:  # the library does not know this SM, say; this process has lost nothing
            raise NotRun(str(error)) from error
        finally:
            self._plans_s -= time.monotonic() - began
        self._plans[kind] = plan
        figures = {"MB": len(plan.data) / 1e6, "precision": PRECISION, **_plain(plan)}
        return Check(name=f"{kind}: engine", verdict="passed", figures=figures)

    def _open(self) -> Check:
        cubin = kernels_for(self._device, self._bundle)
        with ExitStack() as undo:
            driver = self._open_driver()
            undo.callback(driver.close)
            free = driver.free_bytes() / (1 << 20)
            self._bed = Bed(driver, cubin, self._bundle.manifest.contract)
            undo.pop_all()
        return Check(name="device opened", verdict="passed", figures={"MiB free": free})

    def _load(self, kind: Kind, bed: Bed) -> Check:
        """The shipped network from the engine that was built, tried once."""
        if self._network:
            raise NotRun(f"the network runs on {self._network}")
        if kind not in self._plans:
            raise NotRun("there is no engine")
        plan, library, manifest = self._plans[kind], load_library(kind), self._bundle.manifest
        target = Target(
            kind=kind, precision="fp32", member="built now", device=self._device.sm,
            facts={"library": plan.facts["library"]},
        )  # fmt: skip
        shown = f"{manifest.name} version {manifest.version}, {PRECISION}, {library.name}"
        opened = TensorRtNetwork(plan.data, target, library, bed.driver.device, manifest.contract)
        check = self._take(f"{kind}: network", opened, library.name, bed)
        self._recorder.describe(network=shown, lead=f"The network is {shown}, built on this device.")
        return check

    def _stand_in(self, bed: Bed) -> Check:
        """Takes the network's place where that could not be opened, and says so in the first line."""
        if self._network:
            raise NotRun("not needed")
        because = "; ".join(self._why(kind) for kind in KINDS)
        opened = SpinNetwork(
            bed.driver, bed.contract, cost_ms=STAND_IN_MS, multiprocessors=multiprocessors(self._device.ordinal)
        )
        check = self._take("stand-in network", opened, "a stand-in", bed)
        shown = f"stand-in of {check.figures['ms']:.3g} ms"
        lead = f"NO NETWORK RAN: a {shown}, as measured, took its place: {because}."
        self._recorder.describe(network=shown, lead=lead)
        return check

    def _quick(self, size: str, bed: Bed) -> Check:
        """The same stream around a stand-in that takes less time."""
        network = bed.engine.network
        if not isinstance(network, SpinNetwork):
            raise NotRun("not needed")
        network.cost(QUICK_MS)
        try:
            return speed.check_streams(bed, size, self._seconds, note=f", stand-in of {QUICK_MS:g} ms")
        finally:
            network.cost(STAND_IN_MS)

    def _why(self, kind: Kind) -> str:
        """Why there is no engine, else why that does not run."""
        notes = self._recorder.notes(f"{kind}: engine") or self._recorder.notes(f"{kind}: network")
        return notes[0].rstrip(".") if notes else f"{kind} gave no reason"

    def _take(self, name: str, opened: Network, shown: str, bed: Bed) -> Check:
        """Hand an open network to the bed, once it has run."""
        with ExitStack() as undo:
            undo.callback(opened.close)
            alone = speed.network_ms(bed, opened)
            undo.pop_all()
        bed.take(opened, shown)
        self._network = shown
        return Check(name=name, verdict="measured", figures={"ms": alone, "library": shown})

    def _soak(self, bed: Bed) -> Check:
        if not self._soak_s:
            raise NotRun("left out, as was asked")
        return soak.check_soak(bed, self._soak_s, self._gpu)


@contextmanager
def _within(seconds: float, library: str) -> Iterator[None]:
    """End what is done here after so long, by the clock; in the main thread.

    Raises:
        NotRun: it took longer.
    """

    def late(*_: object) -> None:
        raise NotRun(f"{library} built no engine within the {PLANS_S:g} s that there are for all")

    if seconds <= 0:
        late()
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _plain(plan: Plan) -> dict[str, Any]:
    return {name: value for name, value in plan.facts.items() if isinstance(value, (int, float, str))}
