"""The camera's scenario: frames come when they are due, whether anybody is ready or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cutline.benchmarks import figures
from cutline.benchmarks.load import Load
from cutline.benchmarks.schema import Scenario
from cutline.benchmarks.setting import Setting, Watch

__all__ = ["run_paced"]

LEAST_S: Final = 1.0  # however late it is


def run_paced(setting: Setting) -> list[Scenario]:
    """Measure all streams at the demanded rate.

    Raises:
        CutlineError: a stream or the output failed.
    """
    options, plan, watch = setting.options, setting.plan, Watch(setting.gpus)
    streams = options.streams[0]
    # as `cutline run` chooses: one camera is to be quick, several are to get through
    engine = setting.engines.latency if streams == 1 else setting.engines.throughput
    with TemporaryDirectory() as folder:
        outputs = [_numbered(options.output, folder, n) for n in range(streams)]
        load = Load(engine, [setting.stream("paced", n, pace=options.pace, output=o) for n, o in enumerate(outputs)])
        with closing(load), setting.stopping.hears(load), watch.turn():
            turn = load.turn(min(plan.paced_s, max(LEAST_S, setting.left_s)), plan.paced_settle_s)
    if setting.stopping.stopped and not any(len(rows) for rows in turn.frames):
        return []
    ground = setting.ground(watch, streams=streams, output=options.output, warm_up_s=plan.paced_settle_s)
    return [figures.paced(ground, turn, options.pace)]


def _numbered(output: str, folder: str, number: int) -> str:
    """Files go where they are forgotten; what is no file stays as it is."""
    return output if "://" in output else str(Path(folder) / f"{number}{Path(output).suffix}")
