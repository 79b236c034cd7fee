"""The scenarios that can rest: network, single stream, multi stream, throughput. They take turns, round after round, so
that whatever else the machine does hits all of them, and a ratio compares what ran within one second.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cutline.benchmarks import figures
from cutline.benchmarks.load import Load, Turn
from cutline.benchmarks.network import Inference, NetworkLoad, Rate
from cutline.benchmarks.schema import Scenario
from cutline.benchmarks.setting import Setting, Watch

__all__ = ["WEIGHT", "run_rounds"]

WEIGHTS: Final = {"network": 2.0, "single": 1.2, "multi": 2.0, "composite": 1.5, "file": 1.5}
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
        with setting.stopping.hears(self.load), self.watch.turn():
            self.turns.append(self.load.turn(self.weight * setting.plan.unit_s, setting.plan.settle_s))


def run_rounds(setting: Setting) -> list[Scenario]:
    """Measure, until the last round or the word to stop.

    Raises:
        CutlineError: a stream or the device failed.
    """
    with TemporaryDirectory() as folder, ExitStack() as undo:
        takings = _open(setting, Path(folder), undo)
        network = _Network(setting, undo)
        for taking in takings.values():
            with setting.stopping.hears(taking.load):
                taking.load.turn(0.0, WARM_S)
        for _ in range(setting.plan.rounds):
            if setting.left_s < 0 and network.rates:
                break
            for step in (network.turn, *(t.turn for t in takings.values())):
                if not setting.stopping.stopped:
                    step(setting)
        return _scenarios(setting, network, takings)


class _Network:
    """The network's two loads and what their turns gave."""

    def __init__(self, setting: Setting, undo: ExitStack) -> None:
        self._single = NetworkLoad(setting.engines.latency, setting.format)
        undo.callback(self._single.close)
        self._full = NetworkLoad(setting.engines.throughput, setting.format)
        undo.callback(self._full.close)
        self.watch = Watch(setting.gpus)
        self.singles: list[list[Inference]] = []
        self.rates: list[Rate] = []

    def turn(self, setting: Setting) -> None:
        seconds, stopped = WEIGHTS["network"] / 2 * setting.plan.unit_s, lambda: setting.stopping.stopped
        self._single.one_by_one(setting.plan.settle_s, stopped)
        with self.watch.turn():
            self.singles.append(self._single.one_by_one(seconds, stopped))
            self._full.saturated(setting.plan.settle_s, stopped)
            self.rates.append(self._full.saturated(seconds, stopped))


def _open(setting: Setting, folder: Path, undo: ExitStack) -> dict[str, _Taking]:
    """Closed loops read frames that need no decoding, as MLPerf's samples are loaded before; the others decode."""
    raw, engines, streams = str(setting.clip.raw(setting.size)), setting.engines, setting.options.streams[0]
    loads = {
        "single": Load(engines.latency, [setting.stream("single", input=raw)], closed_loop=1),
        "multi": Load(engines.throughput, [setting.stream("multi", input=raw)], closed_loop=setting.options.batch),
        "composite": Load(engines.throughput, [setting.stream("composite", n) for n in range(streams)]),
        "file": Load(
            engines.throughput,
            [setting.stream("file", n, output=str(folder / f"{n}.mp4")) for n in range(streams)],
        ),
    }
    for load in loads.values():
        undo.callback(load.close)
    return {name: _Taking(load, WEIGHTS[name], Watch(setting.gpus)) for name, load in loads.items()}


def _scenarios(setting: Setting, network: _Network, takings: dict[str, _Taking]) -> list[Scenario]:
    settled = len(network.rates) * setting.plan.settle_s + WARM_S
    found = []
    if network.singles:
        found.append(figures.network(setting.ground(network.watch, warm_up_s=settled), network.singles, network.rates))
    alone = found[0].figures.get("fps") if found else None
    for name, taking in takings.items():
        if not taking.turns:
            continue
        ground = setting.ground(taking.watch, warm_up_s=settled)
        if name == "single":
            found.append(figures.queries(ground, "single stream", taking.turns, 1))
        elif name == "multi":
            found.append(figures.queries(ground, "multi stream", taking.turns, setting.options.batch))
        else:
            output = "null://" if name == "composite" else "file.mp4"
            ground = setting.ground(taking.watch, warm_up_s=settled, output=output, streams=setting.options.streams[0])
            found.append(figures.throughput(ground, taking.turns, alone))
    return found
