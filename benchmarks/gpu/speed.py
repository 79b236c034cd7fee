"""Is it fast? Each kernel against the card's own copy bandwidth, streams against the network alone, paced frames."""

from __future__ import annotations

import mmap
import threading
import time
from contextlib import ExitStack, closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed, Frames, time_ms
from cutline.benchmarks.gpu.record import Check
from cutline.runtime.cuda.frame_graph import FrameGraph
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, DevicePlanes, Launch, PostLaunches, PreLaunches
from cutline.runtime.cuda.network import Network
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import PostOptions, place

__all__ = [
    "SIZES",
    "check_bandwidth",
    "check_cameras",
    "check_latency",
    "check_streams",
    "copy_bandwidth",
    "network_ms",
]

SIZES: Final = {"1080p": FrameFormat(width=1920, height=1080), "4K": FrameFormat(width=3840, height=2160)}
COPY_BYTES: Final = 256 << 20
ROUND_BYTES: Final = 384 << 20  # of frames that take turns, so that no cache holds them
SHARE: Final = 0.8  # of the copy bandwidth that pre and post are to reach
RATIO: Final = 0.95
HOST_US: Final = 60.0
ADDED_MS: Final = 1.0
CAMERAS: Final = 8
TURNS: Final = 40  # of what is timed with events, at least
MOST_TURNS: Final = 2000


def copy_bandwidth(bed: Bed) -> float:
    """GB/s that the card reads and writes together when it copies a large block."""
    source, target = bed.room(COPY_BYTES), bed.room(COPY_BYTES)
    took = time_ms(
        bed.driver, bed.stream, lambda _: bed.driver.copy(target, source, COPY_BYTES, stream=bed.stream), turns=TURNS
    )
    return 2 * COPY_BYTES / took / 1e6


def check_bandwidth(bed: Bed, size: str, copy_gbs: float | None) -> list[Check]:
    """pre and post on frames that take turns; their share of the copy bandwidth, where that is known."""
    form, contract = SIZES[size], bed.contract
    image = contract.frame
    window = place(form.width, form.height, image.width, image.height)
    pre = PreLaunches(form, image, window)
    post = PostLaunches(form, contract.primary, window, PostOptions())
    nbytes = 2 * form.width * form.height
    rounds = max(2, -(-ROUND_BYTES // (2 * nbytes)))
    small = image.width * image.height
    tables = bed.put(pre.tables), bed.put(post.tables)
    scratch = bed.room(post.scratch_bytes)
    state = bed.room(post.state_bytes, value=RESET_BYTE)
    tensor, guide = bed.room(12 * small), bed.room(3 * small)
    raw, matte, nans = bed.put(_disc(contract.primary.height, contract.primary.width)), bed.room(4 * small), bed.room(8)
    frames, outs = bed.room(rounds * nbytes, value=100), bed.room(rounds * nbytes)
    pres, posts = [], []
    for index in range(rounds):
        frame, out = (_planes(base + index * nbytes, form) for base in (frames, outs))
        pres.append(pre.launches(tables=tables[0], frame=frame, tensor=tensor, guide=guide))
        posts.append(
            post.launches(
                tables=tables[1], scratch=scratch, state=state, frame=frame, raw=raw, guide=guide,
                behind=Behind(kind="colour"), out=out, matte=matte, nans=nans,
            )
        )  # fmt: skip
    return [
        _bandwidth_of(bed, f"pre at {size}", pres, copy_gbs),
        _bandwidth_of(bed, f"post at {size}", posts, copy_gbs),
    ]


def _bandwidth_of(bed: Bed, name: str, rounds: list[tuple[Launch, ...]], copy_gbs: float | None) -> Check:
    """All of one step's kernels together, and each alone."""
    with ExitStack() as undo:
        module = bed.driver.load(bed.cubin)
        undo.callback(bed.driver.release, module)
        kernels = {launch.kernel: bed.driver.kernel(module, launch.kernel) for launch in rounds[0]}

        def queue(launch: Launch) -> None:
            bed.driver.launch(kernels[launch.kernel], launch.grid, launch.block, launch.params, stream=bed.stream)

        def all_of(turn: int) -> None:
            for launch in rounds[turn % len(rounds)]:
                queue(launch)

        turns = max(TURNS, len(rounds))
        whole = time_ms(bed.driver, bed.stream, all_of, turns=turns)
        moved = rounds[0][-1].least_bytes  # the pass over full-size planes; the rest is overhead that counts as time
        share = moved / whole / 1e6 / copy_gbs if copy_gbs else None
        figures: dict[str, float | int | str] = {
            "ms": whole, "MB that must move": moved / 1e6, "share of copy": "not run" if share is None else share,
        }  # fmt: skip
        for place_in, launch in enumerate(rounds[0]):
            alone = time_ms(
                bed.driver, bed.stream, lambda turn, i=place_in: queue(rounds[turn % len(rounds)][i]), turns=turns
            )
            figures[f"{launch.kernel} ms"] = alone
            figures[f"{launch.kernel} GB/s"] = launch.least_bytes / alone / 1e6
    return Check(
        name=name,
        verdict="measured" if share is None else "passed" if share >= SHARE else "missed",
        goal=f"at least {SHARE:.0%} of the copy bandwidth",
        figures=figures,
        notes=() if share is not None else ("the copy bandwidth is not known: nothing to hold this against",),
    )


def network_ms(bed: Bed, network: Network, seconds: float) -> float:
    """One inference after the other, as frames run them: in a graph where that is possible."""
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
        once = time_ms(driver, stream, lambda _: graph.launch(), turns=5)
        turns = max(TURNS, min(MOST_TURNS, int(1000 * seconds / max(once, 1e-3))))
        return time_ms(driver, stream, lambda _: graph.launch(), turns=turns)


def check_streams(bed: Bed, size: str, seconds: float) -> Check:
    """One stream flat out, pinned host frame in to pinned host frame out, against its parts alone."""
    form = SIZES[size]
    alone = network_ms(bed, bed.engine.network, min(1.0, seconds))
    with closing(Frames(bed.engine, form, background="#00ff00")) as frames:
        frame_bytes = form.width * form.height + 2 * form.chroma_width * form.chroma_height
        into, out = _copy_ms(bed, frame_bytes), _copy_ms(bed, frame_bytes + form.width * form.height)
        whole = frames.flat_out(seconds)
        host_us = frames.host_ns / 1000
        notices = tuple(frames.notices)
    bound = max(alone, into, out)
    ratio = bound / whole
    good = ratio >= RATIO and (host_us <= HOST_US or bool(bed.driver.no_graphs))
    return Check(
        name=f"one stream flat out at {size}",
        verdict="passed" if good else "missed",
        goal=f"{RATIO} of the larger of network and copy alone; host at most {HOST_US:.0f} us a frame",
        figures={
            "ms per frame": whole, "fps": 1000 / whole, "network alone ms": alone, "copy in alone ms": into,
            "copy out alone ms": out, "ratio": ratio, "host us per frame": host_us,
        },
        notes=notices,
    )  # fmt: skip


def check_latency(bed: Bed, seconds: float, *, fps: float = 60.0) -> Check:
    """Paced 1080p frames: from due to back on the host, less the network's own time."""
    alone = network_ms(bed, bed.engine.network, min(1.0, seconds))
    with closing(Frames(bed.engine, SIZES["1080p"], background="#00ff00")) as frames:
        took = np.array(_paced(frames, fps, seconds, threading.Event())) * 1000
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


def _copy_ms(bed: Bed, nbytes: int) -> float:
    """One copy of so many bytes from pinned memory to the device; either way takes about the same."""
    memory = mmap.mmap(-1, nbytes)
    host = np.frombuffer(memory, np.uint8)
    pinned = bed.driver.pin(host.ctypes.data, nbytes)
    try:
        target = bed.room(nbytes)
        copy = bed.driver.copy
        return time_ms(
            bed.driver,
            bed.stream,
            lambda _: copy(target, pinned.device_address, nbytes, stream=bed.stream),
            turns=TURNS,
        )
    finally:
        bed.driver.release(pinned)


def _planes(address: int, form: FrameFormat) -> DevicePlanes:
    luma, chroma = -(-form.width // 64) * 64, -(-form.chroma_width // 64) * 64
    u = address + luma * form.height
    return DevicePlanes(y=address, u=u, v=u + chroma * form.chroma_height, luma_pitch=luma, chroma_pitch=chroma)


def _disc(height: int, width: int) -> NDArray[np.float32]:
    """A matte that has all three: inside, outside and edge."""
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot(y - height / 2, x - width / 2) / (height / 3)
    return np.asarray(np.clip(4 * (1.25 - away), 0, 1), np.float32)
