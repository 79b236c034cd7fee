"""The checks in their order, each as independent of the others as it can be, and what one leaves behind for the next.

What uses the device in processes of its own comes first, before this process makes a context there: on a GPU in
exclusive mode there is room for one. What needs the kernels alone comes before the network is opened.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, Literal, final

from cutline.benchmarks.gpu import correct, files, soak, speed, video
from cutline.benchmarks.gpu.bed import Bed, SpinNetwork, kernels_for
from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.benchmarks.gpu.recorder import Recorder, Work
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


@final
class Steps:
    """Owns the bed from the step that opens the device to close()."""

    def __init__(
        self, open_driver: Callable[[], Driver], device: Device, bundle: Bundle, recorder: Recorder, *,
        soak_s: float, seconds: float,
    ) -> None:  # fmt: skip
        self._open_driver, self._device, self._bundle, self._recorder = open_driver, device, bundle, recorder
        self._soak_s, self._seconds = soak_s, seconds
        self._plans: dict[Kind, Plan] = {}
        self._bed: Bed | None = None
        self._copy_gbs: float | None = None
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
            "copy bandwidth": self._on_bed(self._copy),
        }
        for size in speed.SIZES:
            steps[f"kernels' bandwidth at {size}"] = self._on_bed(partial(self._bandwidth, size))
        steps |= {f"{kind}: network": self._on_bed(partial(self._load, kind)) for kind in KINDS}
        steps["stand-in network"] = self._on_bed(self._stand_in)
        steps["graphs against plain launches"] = self._on_bed(correct.check_graphs)
        for size in speed.SIZES:
            steps[f"one stream flat out at {size}"] = self._on_bed(
                partial(speed.check_streams, size=size, seconds=seconds)
            )
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
        build = BuildTarget(kind=kind, device=self._device.sm if kind == "tensorrt-rtx" else None)
        try:
            plan = build_plan(self._bundle.read("source.onnx"), build, PlanOptions(), Cache())
        except DeviceError as error:  # the library does not know this SM, say; this process has lost nothing
            raise NotRun(str(error)) from error
        self._plans[kind] = plan
        return Check(name=f"{kind}: engine", verdict="passed", figures={"MB": len(plan.data) / 1e6, **_plain(plan)})

    def _open(self) -> Check:
        cubin = kernels_for(self._device, self._bundle)
        with ExitStack() as undo:
            driver = self._open_driver()
            undo.callback(driver.close)
            free = driver.free_bytes() / (1 << 20)
            self._bed = Bed(driver, cubin, self._bundle.manifest.contract)
            undo.pop_all()
        return Check(name="device opened", verdict="passed", figures={"MiB free": free})

    def _copy(self, bed: Bed) -> Check:
        self._copy_gbs = speed.copy_bandwidth(bed)
        return Check(name="copy bandwidth", verdict="measured", figures={"GB/s, read and written": self._copy_gbs})

    def _bandwidth(self, size: str, bed: Bed) -> list[Check]:
        return speed.check_bandwidth(bed, size, self._copy_gbs)

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
        shown = f"{manifest.name} version {manifest.version}, fp32, {library.name}"
        opened = TensorRtNetwork(plan.data, target, library, bed.driver.device, manifest.contract)
        check = self._take(f"{kind}: network", opened, library.name, bed)
        self._recorder.describe(network=shown, lead=f"The network is {shown}, built on this device.")
        return check

    def _stand_in(self, bed: Bed) -> Check:
        """Takes the network's place where that could not be opened, and says so in the first line."""
        if self._network:
            raise NotRun("not needed")
        because = "; ".join(self._why(kind) for kind in KINDS)
        shown = f"stand-in of {STAND_IN_MS:g} ms"
        opened = SpinNetwork(bed.driver, bed.contract, cost_ms=STAND_IN_MS)
        check = self._take("stand-in network", opened, shown, bed)
        lead = f"NO NETWORK RAN: a stand-in of known cost ({STAND_IN_MS:g} ms) took its place: {because}."
        self._recorder.describe(network=shown, lead=lead)
        return check

    def _why(self, kind: Kind) -> str:
        """Why there is no engine, else why that does not run."""
        notes = self._recorder.notes(f"{kind}: engine") or self._recorder.notes(f"{kind}: network")
        return notes[0].rstrip(".") if notes else f"{kind} gave no reason"

    def _take(self, name: str, opened: Network, shown: str, bed: Bed) -> Check:
        """Hand an open network to the bed, once it has run."""
        with ExitStack() as undo:
            undo.callback(opened.close)
            alone = speed.network_ms(bed, opened, min(1.0, self._seconds))
            undo.pop_all()
        bed.take(opened, shown)
        self._network = shown
        return Check(name=name, verdict="measured", figures={"ms": alone, "library": shown})

    def _soak(self, bed: Bed) -> Check:
        if not self._soak_s:
            raise NotRun("left out, as was asked")
        return soak.check_soak(bed, self._soak_s)


def _plain(plan: Plan) -> dict[str, Any]:
    return {name: value for name, value in plan.facts.items() if isinstance(value, (int, float, str))}
