"""The scenarios that can rest: network, single stream, multi stream, throughput. They take turns, round after round, so
that whatever else the machine does hits all of them, and a ratio compares what ran within one second.

The network, by which machines are chosen, has a short turn before each of the others: its median is then of samples
from all over the run and not of one lucky moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, final

from cutline.benchmarks import figures
from cutline.benchmarks.load import Load, Turn
from cutline.benchmarks.network import Inference, NetworkLoad, Rate
from cutline.benchmarks.schema import Figure, Scenario
from cutline.benchmarks.setting import Setting, Watch
from cutline.runtime import StreamOptions
from cutline.runtime.sessions import Engine

__all__ = ["WEIGHT", "Rounds"]

# Shares of a round: network one at a time (all its turns together), network saturated, and the pipelines' scenarios.
WEIGHTS: Final = {"latency": 1.9, "rate": 0.6, "single": 0.7, "multi": 1.2, "composite": 0.7, "file": 0.6}
WEIGHT: Final = sum(WEIGHTS.values())
WARM_S: Final = 0.15  # once, before the first round


@dataclass
class _Taking:
    """One pipeline scenario and what its turns gave."""

    load: Load
    weight: float
    watch: Watch
    turns: list[Turn] = field(default_factory=list)

    def turn(self, setting: Setting) -> None:
        with setting.stopping.hears(self.load):
            with self.watch.turn():
                self.turns.append(self.load.turn(self.weight * setting.plan.unit_s, setting.plan.settle_s))
            self.load.rest()


@final
class Rounds:
    """Owns everything that these scenarios need, from the first round to the last, until close()."""

    def __init__(self, setting: Setting) -> None:
        """Open everything, and warm it up.

        Raises:
            CutlineError: a stream or the device failed.
        """
        self._setting = setting
        with ExitStack() as undo:
            folder = Path(undo.enter_context(TemporaryDirectory()))
            self._takings = _open(setting, folder, undo)
            self._network = _Network(setting, undo)
            for taking in self._takings.values():
                with setting.stopping.hears(taking.load):
                    taking.load.turn(0.0, WARM_S)
                    taking.load.rest()
            self._undo = undo.pop_all()

    def run(self, rounds: int) -> None:
        """Measure so many rounds more, or until the deadline or the word to stop; one round there is in any case.

        Raises:
            CutlineError: a stream or the device failed.
        """
        setting, network = self._setting, self._network
        for _ in range(rounds):
            if setting.stopping.stopped or (setting.left_s < 0 and network.rates):
                return
            network.singles.append([])
            for name, taking in self._takings.items():
                if not setting.stopping.stopped:
                    network.one_by_one(setting, len(self._takings))
                    if name == "composite":
                        network.saturated(setting)  # right before what it is the yardstick of
                    taking.turn(setting)

    def scenarios(self) -> list[Scenario]:
        """What there is so far."""
        found, alone = [], None
        if any(self._network.singles):
            found.append(self._network.scenario(self._setting))
            alone = found[0].figures.get("fps")
        return found + [self._scenario(name, t, alone) for name, t in self._takings.items() if t.turns]

    def close(self) -> None:
        """End all streams and sessions. Works twice."""
        self._undo.close()

    def _scenario(self, name: str, taking: _Taking, alone: Figure | None) -> Scenario:
        setting, turns = self._setting, taking.turns
        ground = setting.ground(taking.watch, warm_up_s=len(turns) * setting.plan.settle_s + WARM_S)
        if name == "single":
            return figures.queries(ground, "single stream", turns, 1)
        if name == "multi":
            return figures.queries(ground, "multi stream", turns, setting.options.batch)
        output = "null://" if name == "composite" else "file.mp4"
        return figures.throughput(replace(ground, output=output, streams=setting.options.streams[0]), turns, alone)


class _Network:
    """The network's two loads and what their turns gave, by rounds."""

    def __init__(self, setting: Setting, undo: ExitStack) -> None:
        self._single = NetworkLoad(setting.engines.latency, setting.format)
        undo.callback(self._single.close)
        self._full = NetworkLoad(setting.engines.throughput, setting.format)
        undo.callback(self._full.close)
        self.watch = Watch(setting.gpus)
        self.singles: list[list[Inference]] = []
        self.rates: list[Rate] = []
        self._settle_s = 0.0  # left out so far

    def one_by_one(self, setting: Setting, turns: int) -> None:
        """One of so many turns of this round."""
        self._settle_s += setting.plan.settle_s
        self._single.one_by_one(setting.plan.settle_s, lambda: setting.stopping.stopped)
        with self.watch.turn():
            seconds = WEIGHTS["latency"] / turns * setting.plan.unit_s
            self.singles[-1] += self._single.one_by_one(seconds, lambda: setting.stopping.stopped)

    def saturated(self, setting: Setting) -> None:
        """The only turn of this round."""
        self._settle_s += setting.plan.settle_s
        self._full.saturated(setting.plan.settle_s, lambda: setting.stopping.stopped)
        with self.watch.turn():
            seconds = WEIGHTS["rate"] * setting.plan.unit_s
            self.rates.append(self._full.saturated(seconds, lambda: setting.stopping.stopped))

    def scenario(self, setting: Setting) -> Scenario:
        """What there is so far."""
        ground = setting.ground(self.watch, warm_up_s=self._settle_s)
        return figures.network(ground, [turn for turn in self.singles if turn], self.rates)


def _open(setting: Setting, folder: Path, undo: ExitStack) -> dict[str, _Taking]:
    """Closed loops read frames that need no decoding, as MLPerf's samples are loaded before; the others decode."""
    engines, numbers = setting.engines, range(setting.options.streams[0])
    raw = str(setting.clip.raw(setting.size))

    def take(name: str, engine: Engine, streams: Sequence[StreamOptions], closed_loop: int | None = None) -> _Taking:
        load = undo.enter_context(closing(Load(engine, streams, closed_loop=closed_loop)))
        return _Taking(load, WEIGHTS[name], Watch(setting.gpus))

    return {
        "single": take("single", engines.latency, [setting.stream("single", input=raw)], 1),
        "multi": take("multi", engines.throughput, [setting.stream("multi", input=raw)], setting.options.batch),
        "composite": take("composite", engines.throughput, [setting.stream("composite", n) for n in numbers]),
        "file": take(
            "file", engines.throughput, [setting.stream("file", n, output=str(folder / f"{n}.mp4")) for n in numbers]
        ),
    }
