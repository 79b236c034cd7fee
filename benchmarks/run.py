"""How fast `cutline run` is, against what the same machine could do at best.

    python -m benchmarks.run [--clip CLIP] [--rounds 5] [--json FILE]

Everything is measured on the same 1080p frames, in turns within one run, and the median of the rounds is printed.
Absolute figures depend on the machine and on what else runs on it; the ratios are the result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import openvino as ov

from cutline.runtime import Pipeline, StreamOptions, open_bundle
from cutline.runtime.runner import Runner
from cutline.runtime.sessions import Engine, EngineOptions, open_engine
from cutline.runtime.sources import Filled, Source, SourceOptions
from cutline.tools.scenes import make_scene

CORES = len(os.sched_getaffinity(0))
X264 = {"preset": "ultrafast", "crf": "20", "threads": "2"}  # what the MP4 sink uses by default


def make_clip(path: Path, *, frames: int, width: int = 1920, height: int = 1080) -> None:
    """Encode the synthetic kiosk scene as H.264, 30 frames per second."""
    scene = make_scene("kiosk", seed=3, width=width, height=height)
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", Fraction(30), options={"preset": "medium", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(scene.shot(index).rgb, "rgb24")
            video.mux(stream.encode(picture))
        video.mux(stream.encode(None))


@contextmanager
def network_file(name: str) -> Any:
    """The bundle's FP32 network as a file, for programs that are not ours."""
    with open_bundle(name) as bundle, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        target = next(t for t in bundle.manifest.targets if t.kind == "openvino")
        path.write_bytes(bundle.read(target.member))
        yield path


def network_alone(network: Path, precision: str, seconds: float) -> tuple[float, float]:
    """OpenVINO's own asynchronous queue on the same network: frames per second, core-ms per frame."""
    hint = {"fp32": "f32", "bf16": "bf16"}.get(precision, "f32")
    properties = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
    compiled = ov.Core().compile_model(str(network), "CPU", properties)
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


def decode_alone(clip: Path, frames: int) -> float:
    """Core-ms per frame that decoding costs in this process."""
    done, cpu = 0, time.process_time()
    with av.open(str(clip)) as video:
        video.streams.video[0].thread_type = "AUTO"
        for _ in video.decode(video=0):
            done += 1
            if done == frames:
                break
    return 1000 * (time.process_time() - cpu) / done


def encode_alone(clip: Path, out: Path, frames: int) -> float:
    """Core-ms per frame that x264 costs with the sink's own settings, on frames decoded before."""
    with av.open(str(clip)) as video:
        pictures = [frame for _, frame in zip(range(frames), video.decode(video=0), strict=False)]
    cpu = time.process_time()
    with av.open(str(out), "w") as video:
        stream = video.add_stream("libx264", Fraction(30), options=X264)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        for picture in pictures:
            video.mux(stream.encode(picture))
        video.mux(stream.encode(None))
    return 1000 * (time.process_time() - cpu) / len(pictures)


def through(engine: Engine, clip: Path, output: str, frames: int) -> Any:
    """One stream from file to output; the report of the run."""
    return Runner(engine, StreamOptions(input=str(clip), output=output, frames=frames, loop=True, audio=False)).run()


def first_frame(clip: Path) -> float:
    """Seconds from the start of a new process until its first composite, compiled-model cache warm."""
    program = (
        "from cutline.runtime import Pipeline, StreamOptions, open_bundle\n"
        "import sys, time\n"
        "with open_bundle('cutout') as b, Pipeline(b, StreamOptions(input=sys.argv[1])) as p:\n"
        "    next(iter(p))\n"
        "    print(time.time())\n"
    )
    began = time.time()
    shown = subprocess.run([sys.executable, "-c", program, str(clip)], check=True, capture_output=True, text=True)
    return float(shown.stdout) - began


def fresh_process(clip: Path, *words: str) -> Any:
    """The report of `cutline run` in a process of its own, where memory counts nobody else's."""
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", "run", str(clip), "--json", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["streams"][0]


def python_share(engine: Engine, clip: Path, frames: int) -> float:
    """Milliseconds of Python per frame: CPU time of the pipeline's threads less that of the kernels that they call."""
    spent = {"pre": 0.0, "post": 0.0}

    def timed(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def run(*given: Any, **named: Any) -> None:
            began = time.thread_time()
            call(*given, **named)
            spent[name] += time.thread_time() - began

        return run

    options = StreamOptions(input=str(clip), frames=frames, loop=True)
    with Pipeline(engine, options, alpha=False) as pipeline:
        path: Any = pipeline._path
        path.matte.pre, path.post = _Wrapped(timed("pre", path.matte.pre.run)), _Wrapped(timed("post", path.post.run))
        began, total, done = time.thread_time(), 0.0, 0
        for _ in pipeline:
            done += 1
            clocks = [time.pthread_getcpuclockid(t.ident) for t in pipeline._threads if t.is_alive() and t.ident]
            total = max(total, sum(time.clock_gettime(c) for c in clocks))
        total += time.thread_time() - began
    return 1000 * (total - spent["pre"] - spent["post"]) / done


class _Wrapped:
    def __init__(self, run: Callable[..., None]) -> None:
        self.run = run


def source_alone(clip: Path, frames: int) -> float:
    """Frames per second from the decoder process into slots, nothing else running."""
    from cutline.runtime.slots import SlotPool, SlotState

    source = Source(str(clip), SourceOptions(loop=True, frame_limit=frames))
    pool = SlotPool(format=source.info.format, depth=4, arrays={}, alpha=False)
    source.start(pool)
    for slot in pool.slots:
        source.offer(slot)
    done, began = 0, time.perf_counter()
    while done < frames:
        event = source.take(5.0)
        if not isinstance(event, Filled):
            break
        slot = pool.slots[event.slot_index]
        for state in (SlotState.READY, SlotState.RUNNING, SlotState.DONE, SlotState.FREE):
            pool.move(slot, state)
        source.offer(slot)
        done += 1
    rate = done / (time.perf_counter() - began)
    source.close()
    pool.close()
    return rate


def measure(clip: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Every figure, in turns, as medians over the rounds."""
    with open_bundle("cutout") as bundle:
        engine = open_engine(bundle, EngineOptions())
    seen: dict[str, list[float]] = {}

    def note(**figures: float) -> None:
        for name, value in figures.items():
            seen.setdefault(name, []).append(value)
        print(" ".join(f"{name}={value:.3g}" for name, value in figures.items()), file=sys.stderr)

    with network_file("cutout") as network, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        for _ in range(rounds):
            alone, network_cost = network_alone(network, engine.precision, seconds)
            frames = max(30, int(alone * seconds))
            null = through(engine, clip, "null://", frames)
            note(network_fps=alone, composite_fps=null.fps, composite_ratio=null.fps / alone)
            file = through(engine, clip, str(out), frames)
            encode_cost = encode_alone(clip, Path(folder) / "alone.mp4", min(frames, 120))
            budget = 1000 * CORES / (decode_alone(clip, frames) + network_cost + encode_cost)
            note(file_fps=file.fps, file_budget_fps=budget, file_ratio=file.fps / budget)
        live = fresh_process(clip, "--pace", "30", "--frames", "300", "--loop")
        result = {name: round(statistics.median(values), 3) for name, values in seen.items()}
        result |= {
            "source_fps": round(source_alone(clip, 300), 1),
            "paced_30_p99_ms": live["latency_ms"]["p99"], "paced_30_dropped": live["dropped"],
            "python_ms_per_frame": round(python_share(engine, clip, 200), 3),
            "first_frame_s": round(statistics.median(first_frame(clip) for _ in range(3)), 2),
            "memory_mib": live["memory_mib"], "stages_ms": null.stages_ms,
            "device": engine.device, "precision": engine.precision, "cores": CORES,
        }  # fmt: skip
    return result


def main() -> None:
    """Print the table; with --json also write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, help="a 1080p clip (default: the synthetic kiosk, encoded now)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each turn")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = given.clip
        if clip is None:
            clip = Path(folder) / "kiosk.mp4"
            print("encoding the clip ...", file=sys.stderr)
            make_clip(clip, frames=240)
        result = measure(clip, given.rounds, given.seconds)
    for name, value in result.items():
        print(f"{name:<22} {value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
