"""How fast `cutline run` is, against what the same machine could do at best.

    python -m benchmarks.run [--input CLIP] [--rounds 5] [--seconds 4] [--json FILE]

The network alone is OpenVINO's own asynchronous queue, on the bundle's network and precision, with nothing else
running: no pipeline around that network can pass it, and none can pass `composite_bound` of it, for the clip must be
decoded on the same cores. The budget of file to file is what decoding, that queue and x264
cost in core-time, each alone, divided by the number of cores. All take turns, so that whatever else the machine does
hits all; medians over the rounds are printed. Absolute figures belong to the machine, the ratios are the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import openvino as ov

from cutline.benchmarks import figures
from cutline.benchmarks.clips import open_clip
from cutline.benchmarks.load import Load, Turn
from cutline.benchmarks.machine import cores, describe_machine, source_commit
from cutline.benchmarks.options import BenchOptions, TimePlan
from cutline.benchmarks.paced import run_paced
from cutline.benchmarks.schema import Scenario
from cutline.benchmarks.setting import Engines, Setting, Stopping, Watch
from cutline.benchmarks.start import run_start
from cutline.runtime import open_bundle
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import CutlineError, OutputError
from cutline.runtime.sessions.openvino import shared_core
from cutline.runtime.sinks import SinkOptions

SETTLE_S = 0.3
PACED_S = 13.0  # 368 frames at 30 fps, which its p99 needs
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def network_alone(compiled: Any, seconds: float) -> tuple[float, float]:
    """OpenVINO's own asynchronous queue: frames per second, core-ms per frame."""
    queue = ov.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    image = np.random.default_rng(0).random(tuple(compiled.input(0).shape), np.float32)
    for _ in range(8):
        queue.start_async({0: image})
    queue.wait_all()
    done, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        queue.start_async({0: image})
        done += 1
    queue.wait_all()
    return done / (time.perf_counter() - began), 1000 * (time.process_time() - cpu) / done


def decode_alone(clip: Path) -> float:
    """Core-ms per frame that decoding costs in this process."""
    cpu = time.process_time()
    with av.open(str(clip)) as video:
        video.streams.video[0].thread_type = "AUTO"
        done = sum(1 for _ in video.decode(video=0))
    return 1000 * (time.process_time() - cpu) / done


def encode_alone(clip: Path, out: Path) -> float:
    """Core-ms per frame that x264 costs with the sink's own settings, on frames decoded before."""
    with av.open(str(clip)) as video:
        pictures = list(islice(video.decode(video=0), 60))
    sink = SinkOptions()
    options = {"preset": sink.preset, "crf": str(sink.crf), "threads": str(sink.threads)}
    cpu = time.process_time()
    with av.open(str(out), "w") as video:
        stream = video.add_stream("libx264", Fraction(30), options=options)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        for picture in pictures:
            video.mux(stream.encode(picture))
        video.mux(stream.encode(None))
    return 1000 * (time.process_time() - cpu) / len(pictures)


def fps(setting: Setting, turn: Turn) -> float:
    """Composites per second of one turn."""
    found = figures.throughput(setting.ground(Watch(())), [turn], None).figures
    return found["fps"].value


def in_turns(setting: Setting, compiled: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """Network alone, decode to composite, file to file and its parts, as medians over the rounds."""
    seen: dict[str, list[float]] = {}
    clip = setting.clip.at_size(setting.size)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as undo:
        engine, out = setting.engines.throughput, Path(folder)
        null = undo.enter_context(closing(Load(engine, [setting.stream("null")])))
        file = undo.enter_context(closing(Load(engine, [setting.stream("file", output=str(out / "out.mp4"))])))
        turns: list[Turn] = []
        for _ in range(rounds):
            alone, network_cost = network_alone(compiled, seconds)
            turns.append(null.turn(seconds, SETTLE_S))
            null.rest()
            composite, filed = fps(setting, turns[-1]), fps(setting, file.turn(seconds, SETTLE_S))
            file.rest()  # or what it still does is taken for what the parts cost
            decode_cost = decode_alone(clip)
            parts = decode_cost + network_cost + encode_alone(clip, out / "alone.mp4")
            budget = 1000 * cores() / parts
            round_ = {
                "network_fps": alone, "composite_fps": composite, "composite_ratio": composite / alone,
                "composite_bound": network_cost / (network_cost + decode_cost),
                "file_fps": filed, "file_budget_fps": budget, "file_ratio": filed / budget,
            }  # fmt: skip
            print(" ".join(f"{name}={value:.3g}" for name, value in round_.items()), file=sys.stderr)
            for name, value in round_.items():
                seen.setdefault(name, []).append(value)
        whole = figures.throughput(setting.ground(Watch(())), turns, None)
    medians = {name: round(statistics.median(values), 3) for name, values in seen.items()}
    return medians | {"python_ms": whole.figures["python_ms"].value, "repeats": seen, "stages": whole.stages}


def of_scenario(scenario: Scenario) -> dict[str, Any]:
    """A scenario's figures under its name."""
    return {f"{scenario.kind.split()[0]}.{name}": figure.value for name, figure in scenario.figures.items()}


def measure(given: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Every figure.

    Raises:
        CutlineError: the input cannot be used, or a stream failed.
    """
    options = BenchOptions(input=given)
    plan = TimePlan(
        rounds=rounds, unit_s=seconds, settle_s=SETTLE_S, paced_s=PACED_S, paced_settle_s=1.0, point_s=1.0,
        cold_starts=1, warm_starts=3,
    )  # fmt: skip
    with open_bundle(options.bundle) as bundle, closing(Engines(bundle, options, "auto")) as engines:
        clip = open_clip(given, lambda text: print(text, file=sys.stderr))
        setting = Setting(
            options=options, plan=plan, clip=clip, size=(clip.info.width, clip.info.height), engines=engines, gpus=(),
            stopping=Stopping(), deadline=float("inf"),
        )  # fmt: skip
        found = in_turns(setting, compile_alone(bundle, engines.throughput.precision), rounds, seconds)
        for scenario in (*run_paced(setting), *run_start(setting)):
            found |= of_scenario(scenario) | {f"{scenario.kind}.warnings": scenario.warnings}
    machine = describe_machine((), None)
    return found | {"device": engines.throughput.device, "machine": machine, "commit": source_commit(), "input": given}


def compile_alone(bundle: Bundle, precision: str) -> Any:
    """The bundle's network of that precision, as OpenVINO compiles it for throughput."""
    targets = [t for t in bundle.manifest.targets if t.kind == "openvino"]
    target = next((t for t in targets if t.precision == precision), targets[0])
    properties = {"PERFORMANCE_HINT": "THROUGHPUT"}
    if precision in HINTS:
        properties["INFERENCE_PRECISION_HINT"] = HINTS[precision]
    core = shared_core()
    return core.compile_model(core.read_model(bundle.read(target.member)), "CPU", properties)


def main() -> None:
    """Print the table; with --json also write everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="How fast `cutline run` is.")
    parser.add_argument("--input", default="synthetic://", help="a clip (default: the synthetic kiosk at 1080p)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each turn")
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    try:
        result = measure(words.input, words.rounds, words.seconds)
        if words.json:
            words.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    except OSError as error:
        refused = OutputError("the result cannot be written", remedy="Choose another place.", path=str(words.json))
        sys.exit(f"run: {refused} {error.strerror}")
    except CutlineError as error:
        print(f"run: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for name, value in result.items():
        if isinstance(value, float | int):
            print(f"{name:<22} {value:g}")


if __name__ == "__main__":
    main()
