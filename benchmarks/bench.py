"""One run of `cutline bench`: everything is opened once, scenarios are measured, what there is becomes a document."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from typing import Final, Protocol, final

import msgspec

from cutline.benchmarks.clips import Clip, open_clip
from cutline.benchmarks.instrument import measure_instrument
from cutline.benchmarks.machine import busy_share, cores, describe_machine, look, source_commit
from cutline.benchmarks.nvml import open_gpus
from cutline.benchmarks.options import BenchOptions, TimePlan
from cutline.benchmarks.paced import run_paced
from cutline.benchmarks.rounds import WEIGHT, Rounds
from cutline.benchmarks.scaling import count_points, run_scaling, scaled_sizes
from cutline.benchmarks.schema import Curve, Document, Machine, Model, Scenario
from cutline.benchmarks.setting import Engines, Setting, Stopping
from cutline.benchmarks.start import run_start
from cutline.runtime import open_bundle
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import UsageError

__all__ = ["Bench", "Progress"]

IDLE_LOOK_S: Final = 0.3  # how long the machine is watched before anything runs
BUSY_LIMIT: Final = 0.05
LIMIT: Final = 1.8  # durations: what has not begun then is left out
SHARES: Final = {"start": 0.1, "rounds": 0.17, "paced": 0.4, "scaling": 0.16}  # of a run, for the progress bar


class Progress(Protocol):
    """Who is told how far it is."""

    def __call__(self, text: str, share: float) -> None:
        """Say what is done now, and the share of the run that lies behind, 0..1."""
        ...


@final
class Bench:
    """One run. `run` returns what there is, also after `stopping.stop()`, which means nothing before `measuring`."""

    def __init__(self, options: BenchOptions, progress: Progress, words: Sequence[str] = ()) -> None:
        self.stopping = Stopping()
        self._options, self._progress, self._words = options, progress, tuple(words)
        self._scenarios: list[Scenario] = []
        self._curves: list[Curve] = []
        self._behind = 0.0  # share of the run
        self.measuring = False  # from then on there may be something to show

    def run(self) -> Document:
        """Measure.

        Raises:
            CutlineError: the bundle, the input or the device cannot be used, or a stream failed.
        """
        options = self._options
        with ExitStack() as undo:
            bundle = undo.enter_context(open_bundle(options.bundle, allow_unsigned=options.allow_unsigned))
            if bundle.manifest.contract.task != "matte":
                raise UsageError(
                    "only networks that make mattes can be measured",
                    remedy="Give another bundle.",
                    bundle=bundle.manifest.name,
                    task=bundle.manifest.contract.task,
                )
            self._tell("compiling the network")
            engines = [undo.enter_context(closing(Engines(bundle, options, p))) for p in options.precisions]
            clip = open_clip(options.input, self._tell)
            size = options.sizes[0] if options.sizes else (clip.info.width, clip.info.height)
            self._make_clips(clip, size)
            began = time.monotonic()
            busy = self._others()
            on_gpu = any(e.on_gpu for e in engines)
            gpus = open_gpus() if on_gpu else []
            machine, instrument = describe_machine(gpus, busy), measure_instrument()
            plan = TimePlan.divide(options, weight=WEIGHT, points=count_points(options, on_gpu=on_gpu) * len(engines))
            self.measuring = True
            for pair in engines:
                self._measure(
                    Setting(
                        options=options,
                        plan=plan,
                        clip=clip,
                        size=size,
                        engines=pair,
                        gpus=gpus,
                        stopping=self.stopping,
                        deadline=began + LIMIT * options.duration,
                    )
                )
        return Document(
            created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=source_commit(),
            command=self._words,
            seconds=round(time.monotonic() - began, 2),
            complete=not self.stopping.stopped,
            machine=machine,
            model=_model(bundle),
            input=msgspec.structs.replace(clip.info, width=size[0], height=size[1], looped=self._looped(clip)),
            instrument=instrument,
            scenarios=tuple(self._scenarios),
            scaling=tuple(self._curves),
            warnings=(*_of_machine(machine), *_of_clip(clip, options, plan)),
        )

    def _make_clips(self, clip: Clip, size: tuple[int, int]) -> None:
        """Make what is derived from the clip, before the time begins to count."""
        clip.raw(size)
        for wanted in scaled_sizes(self._options):
            if not self.stopping.stopped:
                clip.at_size(wanted)

    def _others(self) -> float | None:
        """The share of the machine that others take before anything runs here."""
        before = look()
        self.stopping.wait(IDLE_LOOK_S)
        busy = busy_share(before, look(), cores())
        return None if busy is None else round(busy, 3)

    def _measure(self, setting: Setting) -> None:
        """Everything of one precision, as long as nobody says stop."""
        self._step("start", setting, lambda: self._scenarios.extend(run_start(setting)))
        if not self.stopping.stopped:
            with closing(Rounds(setting)) as rounds:
                paced: list[Scenario] = []
                before = setting.plan.rounds // 2
                self._step("rounds", setting, lambda: rounds.run(before))
                self._step("paced", setting, lambda: paced.extend(run_paced(setting)))
                self._step("rounds", setting, lambda: rounds.run(setting.plan.rounds - before))
                self._scenarios += [*rounds.scenarios(), *paced]
        self._step("scaling", setting, lambda: self._curves.extend(run_scaling(setting)))

    def _step(self, name: str, setting: Setting, step: Callable[[], None]) -> None:
        if not self.stopping.stopped:
            self._tell(f"{setting.precision}: {name}")
            step()
        self._behind += SHARES[name] / len(self._options.precisions)

    def _looped(self, clip: Clip) -> bool:
        needed = max((s.frames + s.warm_up_frames for s in self._scenarios), default=0)
        return clip.info.frames is None or needed > clip.info.frames

    def _tell(self, text: str) -> None:
        self._progress(text, self._behind)


def _model(bundle: Bundle) -> Model:
    manifest = bundle.manifest
    image = manifest.contract.frame
    return Model(name=manifest.name, version=manifest.version, width=image.width, height=image.height)


def _of_machine(machine: Machine) -> list[str]:
    busy = machine.busy_before
    if busy is None or busy <= BUSY_LIMIT:
        return []
    return [f"others took {100 * busy:.0f} % of the processors before the first scenario: figures are too slow"]


def _of_clip(clip: Clip, options: BenchOptions, plan: TimePlan) -> list[str]:
    warm_up = round(options.pace * plan.paced_settle_s)
    if clip.info.frames is None or clip.info.frames >= warm_up:
        return []
    return [f"the clip is shorter than the warm-up ({clip.info.frames} of {warm_up} frames): it is looped"]
