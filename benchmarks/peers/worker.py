"""Runs one peer in the peer's own interpreter, which has neither Cutline nor anything else of ours.

    python worker.py ENTRY.py        one JSON document a line on standard input, one answer a line on standard output

in   the job: fields of `Job`                          out  {"versions": {...}}, once the peer's libraries are loaded
in   {"do": "turn", "seconds": 3.0}                    out  {"frames": 90, "seconds": 3.01, "cpu_s": 5.9, ...}
in   {"do": "picture", "frame": 40, "path": "x.npy"}   out  {"written": true}, false when the peer has no picture
out, instead of any of these: {"error": "..."}; the worker has then ended.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Job", "Sum", "process_tree"]

SETTLE_FRAMES = 8  # left out at the beginning of a turn, and no less than
SETTLE_S = 0.5  # so that queues are as full, and caches as warm, as they stay
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Job:
    """What a peer is given. Colours and normalisation are RGB; the network's input is (rgb / 255 - mean) / std."""

    clip: str  # path
    network: str  # path of an ONNX file: one float32[1, 3, height, width] in, one alpha float32[1, 1, h, w] out
    bundle: str  # the bundle that holds this network, for Cutline
    width: int  # of the network's input, in pixels
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    background: tuple[int, int, int]  # 0..255
    precision: str  # that this variant is to compute in: fp32, bf16, fp16, int8; none without a network
    variant: str  # of the entry's VARIANTS

    @property
    def openvino_properties(self) -> dict[str, str]:
        """What a user of OpenVINO asks for who wants throughput; an INT8 graph says itself what is INT8."""
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}.get(self.precision)
        return {"PERFORMANCE_HINT": "THROUGHPUT", **({"INFERENCE_PRECISION_HINT": hint} if hint else {})}

    def bgr_frames(self) -> Iterator[Any]:
        """The clip by OpenCV, for ever: uint8[H, W, 3] BGR, a new array each time."""
        import cv2

        video = cv2.VideoCapture(self.clip)
        read = 0
        while True:
            more, bgr = video.read()
            if more:
                read += 1
                yield bgr
            elif read:
                video.set(cv2.CAP_PROP_POS_FRAMES, 0)
                read = 0
            else:
                raise ValueError(f"OpenCV reads no frame from {self.clip}")


@dataclass
class Sum:
    """What a process and its descendants have used, and the machine with them."""

    cpu_s: float = 0.0
    peak_mib: float = 0.0  # sum of each one's peak resident size
    machine_s: float = 0.0  # busy time of all cores together, everybody's


def process_tree(root: int, proc: Path = Path("/proc")) -> Sum:
    """Add up a process and all that descend from it; clocks in steps of 10 ms, as Linux gives them."""
    parents, used = {}, {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(int(f) for f in fields[11:13]) / TICK
    found, added = {root}, True
    while added:
        grown = found | {pid for pid, parent in parents.items() if parent in found}
        found, added = grown, len(grown) > len(found)
    busy = (proc / "stat").read_text().partition("\n")[0].split()[1:9]
    idle = int(busy[3]) + int(busy[4])
    return Sum(
        cpu_s=sum(used.get(pid, 0.0) for pid in found),
        peak_mib=sum(_peak_kib(proc / str(pid)) for pid in found) / 1024,
        machine_s=(sum(int(b) for b in busy) - idle) / TICK,
    )


def _peak_kib(entry: Path) -> int:
    try:
        lines = (entry / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def turn(composites: Iterator[Any], seconds: float) -> dict[str, float]:
    """Count frames for so many seconds, after some that are not counted."""
    settled, count = time.perf_counter() + SETTLE_S, 0
    while count < SETTLE_FRAMES or time.perf_counter() < settled:
        next(composites)
        count += 1
    before, began, frames = process_tree(os.getpid()), time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        next(composites)
        frames += 1
    after = process_tree(os.getpid())
    own = after.cpu_s - before.cpu_s
    others = max(0.0, after.machine_s - before.machine_s - own)
    return {
        "frames": frames, "seconds": passed, "cpu_s": own, "others_s": others, "peak_mib": after.peak_mib,
    }  # fmt: skip


def picture(entry: ModuleType, job: Job, frame: int, path: str) -> bool:
    """Write the composite of one frame, counted from 0, as uint8[H, W, 3] RGB in NumPy's format."""
    if not hasattr(entry, "picture"):
        return False
    import numpy as np

    found = next(islice(entry.composites(job), frame, None))
    np.save(path, np.ascontiguousarray(entry.picture(found)), allow_pickle=False)
    return True


def serve(path: str, commands: Iterator[str], answer: Any) -> None:
    """Load the entry, then do what each line says until there are no more."""
    job = Job(**json.loads(next(commands)))
    spec = importlib.util.spec_from_file_location("cutline_peer", path)
    assert spec is not None
    assert spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    answer({"versions": {name: _version(name) for name in entry.PACKAGES}})
    running = entry.composites(job)
    for line in commands:
        command = json.loads(line)
        if command["do"] == "turn":
            answer(turn(running, command["seconds"]))
        else:
            answer({"written": picture(entry, job, command["frame"], command["path"])})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""  # found under another name, as a library of the system may be


def main() -> None:
    """Keep standard output for answers alone: whatever a library prints goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def answer(document: dict[str, Any]) -> None:
            print(json.dumps(document), file=out, flush=True)

        try:
            serve(sys.argv[1], iter(sys.stdin), answer)
        except Exception as error:  # whatever a peer does wrong is told; it costs that peer its place, nothing else
            answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


if __name__ == "__main__":
    del sys.path[0]  # this folder: its files must not be taken for libraries
    main()
