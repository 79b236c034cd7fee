"""Is it fast? Streams against the network alone, paced frames, eight cameras."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from statistics import median
from typing import Final

import numpy as np

from cutline.benchmarks.gpu.bed import Bed, Frames, SpinNetwork
from cutline.benchmarks.gpu.record import Check, Verdict
from cutline.benchmarks.gpu.timing import ROUNDS, Stopwatch, Work
from cutline.runtime.cuda.frame_graph import FrameGraph
from cutline.runtime.cuda.memory import Copy
from cutline.runtime.cuda.network import Network
from cutline.runtime.frame import FrameFormat

__all__ = ["SIZES", "check_cameras", "check_latency", "check_streams", "network_ms"]

SIZES: Final = {"1080p": FrameFormat(width=1920, height=1080), "4K": FrameFormat(width=3840, height=2160)}
RATIO: Final = 0.95
HOST_US: Final = 60.0
ADDED_MS: Final = 1.0
CAMERAS: Final = 8


@contextmanager
def network_alone(bed: Bed, network: Network) -> Iterator[tuple[Stopwatch, Work]]:
    """One inference as frames run it, in a graph where that is possible, and what times it."""
    driver = bed.driver
    with ExitStack() as undo:
        addresses = {name: bed.room(nbytes) for name, nbytes in network.tensors.items()}
        inference = undo.enter_context(closing(network.inference(addresses, bed.room(network.scratch_bytes))))
        stream, done = driver.stream(urgent=True), driver.event()
        undo.callback(driver.release, stream)
        undo.callback(driver.release, done)
        graph = undo.enter_context(closing(FrameGraph(driver, stream, inference.queue)))
        graph.warm(done)
        graph.capture(inference.not_captured(stream))
        yield undo.enter_context(closing(Stopwatch(driver, stream))), graph.launch


def network_ms(bed: Bed, network: Network) -> float:
    """Milliseconds of one inference after the other."""
    with network_alone(bed, network) as (watch, network_work):
        return watch.medians(network_work)[0]


def check_streams(bed: Bed, size: str, seconds: float, *, note: str = "") -> Check:
    """One stream flat out, pinned host frame in to pinned host frame out, in turns with its parts alone."""
    engine = bed.engine
    with ExitStack() as undo:
        watch, network = undo.enter_context(network_alone(bed, engine.network))
        frames = undo.enter_context(closing(Frames(engine, SIZES[size], background="#00ff00")))
        into = _copying(bed, watch, [place.copies_in for place in frames.places])
        out = _copying(bed, watch, [place.copies_out for place in frames.places])
        parts = network, into, out
        turns = watch.warm(*parts)
        rounds = []
        for _ in range(ROUNDS):
            alone = [watch.block(*pair) for pair in zip(parts, turns, strict=True)]
            whole = frames.flat_out(seconds / ROUNDS)
            rounds.append((*alone, whole, frames.host_ns / 1000, max(alone) / whole, whole - max(alone)))
        notices = tuple(frames.notices)
    alone_ms, into_ms, out_ms, whole_ms, host_us, ratio, added_ms = (median(seen) for seen in zip(*rounds, strict=True))
    stand_in = isinstance(engine.network, SpinNetwork)
    return Check(
        name=f"one stream flat out at {size}{note}",
        verdict=_verdict(ratio, host_us, stand_in=stand_in, graphs=not bed.driver.no_graphs),
        goal=f"{RATIO} of the larger of network and copy alone; host at most {HOST_US:.0f} us a frame",
        figures={
            "ms per frame": whole_ms, "fps": 1000 / whole_ms, "ratio": ratio, "added ms": added_ms,
            "network alone ms": alone_ms, "copy in alone ms": into_ms, "copy out alone ms": out_ms,
            "host us per frame": host_us,
        },
        notes=(*notices, "a stand-in's ratio is not held against the goal") if stand_in else notices,
    )  # fmt: skip


def _verdict(ratio: float, host_us: float, *, stand_in: bool, graphs: bool) -> Verdict:
    """What the host spends counts with graphs; a ratio counts with a network."""
    if (graphs and host_us > HOST_US) or (ratio < RATIO and not stand_in):
        return "missed"
    return "measured" if stand_in else "passed"


def _copying(bed: Bed, watch: Stopwatch, copies: list[tuple[Copy, ...]]) -> Work:
    """Queues the copies of one slot after the other; none where slots are mapped."""
    slots = itertools.cycle(copies)

    def work() -> None:
        for copy in next(slots):
            bed.driver.copy(*copy, stream=watch.stream)

    return work


def check_latency(bed: Bed, seconds: float, *, fps: float = 60.0) -> Check:
    """Paced 1080p frames: from due to back on the host, less the network's own time."""
    with ExitStack() as undo:
        watch, network = undo.enter_context(network_alone(bed, bed.engine.network))
        frames = undo.enter_context(closing(Frames(bed.engine, SIZES["1080p"], background="#00ff00")))
        (turns,) = watch.warm(network)
        times: list[float] = []
        seen: list[float] = []
        for _ in range(ROUNDS):
            times.append(watch.block(network, turns))
            seen += _paced(frames, fps, seconds / ROUNDS, threading.Event())
    alone, took = median(times), np.array(seen) * 1000
    p50, p90, p99 = np.percentile(took, (50, 90, 99))
    added = float(p99) - alone
    return Check(
        name=f"1080p paced at {fps:g} fps",
        verdict="passed" if added <= ADDED_MS else "missed",
        goal=f"p99 at most {ADDED_MS:g} ms over the network alone",
        figures={
            "p50 ms": float(p50), "p90 ms": float(p90), "p99 ms": float(p99), "max ms": float(took.max()),
            "network alone ms": alone, "p99 added ms": added, "frames": len(took),
        },
    )  # fmt: skip


def check_cameras(bed: Bed, seconds: float, *, fps: float = 30.0) -> Check:
    """Eight paced 1080p streams at once; a frame that is not back when the next one is due counts as dropped."""
    with ExitStack() as undo:
        streams = [
            undo.enter_context(closing(Frames(bed.engine, SIZES["1080p"], background="#00ff00")))
            for _ in range(CAMERAS)
        ]
        found: list[list[float]] = [[] for _ in streams]
        failures: list[BaseException] = []
        stop = threading.Event()

        def body(index: int) -> None:
            try:
                bed.driver.attach()
                found[index] = _paced(streams[index], fps, seconds, stop)
            except BaseException as error:  # handed to the caller below
                failures.append(error)
                stop.set()

        threads = [threading.Thread(target=body, args=(index,)) for index in range(CAMERAS)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:  # an interrupt too waits until nobody uses what is freed next
            stop.set()
            for thread in threads:
                if thread.is_alive():
                    thread.join()
        if failures:
            raise failures[0]
    took = np.concatenate([np.array(times) for times in found]) * 1000
    late = int((took > 1000 / fps).sum())
    return Check(
        name=f"{CAMERAS} cameras of 1080p at {fps:g} fps",
        verdict="passed" if late == 0 else "missed",
        goal="nothing dropped",
        figures={
            "frames": len(took),
            "late": late,
            "p99 ms": float(np.percentile(took, 99)),
            "max ms": float(took.max()),
        },
    )


def _paced(frames: Frames, fps: float, seconds: float, stop: threading.Event) -> list[float]:
    """Seconds from each frame's due time until it was back."""
    took, began = [], time.perf_counter() + 0.05
    for index in range(int(seconds * fps)):
        due = began + index / fps
        if stop.wait(max(0.0, due - time.perf_counter())):
            break
        frames.start()
        frames.finish()
        took.append(time.perf_counter() - due)
    return took
