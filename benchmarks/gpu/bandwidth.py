"""Each kernel against the card's own copies, for the bytes that it must move.

One launch takes a microsecond or two whatever it does, a copy as well: so what a kernel is held against is a copy from
device memory to device memory that moves the same number of bytes, timed in turns with it. A large copy, beside which
launching is nothing, runs in the same turns. Frames take turns in more memory than any cache holds; tables and what
kernels hand on to each other stay where they are, as they do when frames run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed
from cutline.benchmarks.gpu.record import Check
from cutline.benchmarks.gpu.speed import SIZES
from cutline.benchmarks.gpu.timing import Stopwatch, Work, replayed
from cutline.runtime.cuda.driver import Module
from cutline.runtime.cuda.launch import aligned
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, DevicePlanes, Launch, PostLaunches, PreLaunches
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import PostOptions, place

__all__ = ["check_bandwidth", "check_copy"]

LARGE_BYTES: Final = 256 << 20
LARGE_TURNS: Final = 4
ROUND_BYTES: Final = 1 << 30  # of frames that take turns: 400 MB of them are read, and no L2 has more than 126 MB
SMALL_ROUND_BYTES: Final = 384 << 20  # on boards, whose L2 has 4 MB, and where other programs have the memory
SHARE: Final = 0.8
GOAL: Final = f"at least {SHARE:.0%} of the bandwidth of a copy of the same bytes"

Turn = tuple[Launch, ...]  # what one frame takes


class _Found(NamedTuple):
    """What moving some bytes took."""

    nbytes: int
    ms: float
    copy_ms: float  # of as many bytes
    large_gbs: float

    @property
    def share(self) -> float:
        return self.copy_ms / self.ms

    @property
    def gbs(self) -> float:
        return self.nbytes / self.ms / 1e6


def check_copy(bed: Bed) -> Check:
    """GB/s that the card reads and writes together when it copies a large block."""
    with closing(Stopwatch(bed.driver, bed.stream)) as watch, _large_copy(bed) as large:
        (took,) = watch.medians(large)
    return Check(name="copy bandwidth", verdict="measured", figures={"GB/s, read and written": _large_gbs(took)})


def check_bandwidth(bed: Bed, size: str) -> list[Check]:
    """pre, post's pass over full-size planes, and all of post."""
    form = SIZES[size]
    nbytes = 2 * form.width * form.height
    count = max(2, -(-_round_bytes(bed) // (2 * nbytes)))
    room = bed.room(count * nbytes, value=100), bed.room(count * nbytes), count * nbytes
    places = [tuple(_planes(base + n * nbytes, form) for base in room[:2]) for n in range(count)]
    pres, posts = _turns(bed, form, places)
    with closing(Stopwatch(bed.driver, bed.stream)) as watch, _large_copy(bed) as large, _module(bed) as module:
        against = _Against(bed, watch, large, module, room)
        pre, whole = against.time(pres), against.time(posts)
        alone = [against.time([(turn[n],) for turn in posts]) for n in range(len(posts[0]))]
    kernels: dict[str, float | int | str] = {}
    for number, (launch, found) in enumerate(zip(posts[0], alone, strict=True), 1):
        name = f"{number} {launch.kernel}"
        kernels |= {f"{name} ms": found.ms, f"{name} GB/s": found.gbs, f"{name} share": found.share}
    return [
        _check(f"pre at {size}", pre, {}),
        _check(f"post's full-size pass at {size}", alone[-1], {}),
        _check(f"post, all launches, at {size}", whole, {"launches": len(posts[0]), **kernels}),
    ]


@final
class _Against:
    """Borrows the bed: kernels and copies of as many bytes, in turns."""

    def __init__(self, bed: Bed, watch: Stopwatch, large: Work, module: Module, room: tuple[int, int, int]) -> None:
        """Keep what is needed.

        Args:
            large: queues LARGE_TURNS large copies.
            room: two addresses, and how many bytes copies may read at the first and write at the second.
        """
        self._bed, self._watch, self._large, self._module, self._room = bed, watch, large, module, room

    def time(self, turns: Sequence[Turn]) -> _Found:
        """Each turn's launches, beside a copy that reads half of what they must move and writes as much."""
        driver, stream = self._bed.driver, self._bed.stream
        kernels = {launch.kernel: driver.kernel(self._module, launch.kernel) for launch in turns[0]}
        nbytes = sum(launch.least_bytes for launch in turns[0])
        source, target, room = self._room
        step = aligned(nbytes // 2)

        def run(turn: int) -> None:
            for launch in turns[turn]:
                driver.launch(kernels[launch.kernel], launch.grid, launch.block, launch.params, stream=stream)

        def copy(turn: int) -> None:
            offset = turn % max(1, room // step) * step
            driver.copy(target + offset, source + offset, nbytes // 2, stream=stream)

        with replayed(driver, stream, run, len(turns)) as work, replayed(driver, stream, copy, len(turns)) as same:
            ms, copy_ms, large_ms = self._watch.medians(work, same, self._large)
        return _Found(nbytes, ms / len(turns), copy_ms / len(turns), _large_gbs(large_ms))


def _check(name: str, found: _Found, more: dict[str, float | int | str]) -> Check:
    return Check(
        name=name,
        verdict="passed" if found.share >= SHARE else "missed",
        goal=GOAL,
        figures={
            "ms": found.ms,
            "MB that must move": found.nbytes / 1e6,
            "share of a copy of the same bytes": found.share,
            "share of the large copy": found.gbs / found.large_gbs,
            "copy of the same bytes ms": found.copy_ms,
            "large copy GB/s": found.large_gbs,
            **more,
        },
    )


@contextmanager
def _module(bed: Bed) -> Iterator[Module]:
    """The kernels."""
    module = bed.driver.load(bed.cubin)
    try:
        yield module
    finally:
        bed.driver.release(module)


@contextmanager
def _large_copy(bed: Bed) -> Iterator[Work]:
    """Replays LARGE_TURNS copies of LARGE_BYTES."""
    source, target = bed.room(LARGE_BYTES), bed.room(LARGE_BYTES)

    def copy(_: int) -> None:
        bed.driver.copy(target, source, LARGE_BYTES, stream=bed.stream)

    with replayed(bed.driver, bed.stream, copy, LARGE_TURNS) as large:
        yield large


def _large_gbs(ms: float) -> float:
    return 2 * LARGE_BYTES * LARGE_TURNS / ms / 1e6


def _round_bytes(bed: Bed) -> int:
    roomy = not bed.driver.device.integrated and bed.driver.free_bytes() >= 4 * ROUND_BYTES
    return ROUND_BYTES if roomy else SMALL_ROUND_BYTES


def _turns(bed: Bed, form: FrameFormat, places: Sequence[tuple[DevicePlanes, ...]]) -> tuple[list[Turn], list[Turn]]:
    """pre's and post's launches for each frame and the place of its composite."""
    contract, image = bed.contract, bed.contract.frame
    window = place(form.width, form.height, image.width, image.height)
    pre = PreLaunches(form, image, window)
    post = PostLaunches(form, contract.primary, window, PostOptions())
    small = image.width * image.height
    tables = bed.put(pre.tables), bed.put(post.tables)
    scratch = bed.room(post.scratch_bytes)
    state = bed.room(post.state_bytes, value=RESET_BYTE)
    tensor, guide = bed.room(12 * small), bed.room(3 * small)
    raw, matte, nans = bed.put(_disc(contract.primary.height, contract.primary.width)), bed.room(4 * small), bed.room(8)
    pres, posts = [], []
    for frame, out in places:
        pres.append(pre.launches(tables=tables[0], frame=frame, tensor=tensor, guide=guide))
        posts.append(
            post.launches(
                tables=tables[1], scratch=scratch, state=state, frame=frame, raw=raw, guide=guide,
                behind=Behind(kind="colour"), out=out, matte=matte, nans=nans,
            )
        )  # fmt: skip
    return pres, posts


def _planes(address: int, form: FrameFormat) -> DevicePlanes:
    luma, chroma = -(-form.width // 64) * 64, -(-form.chroma_width // 64) * 64
    u = address + luma * form.height
    return DevicePlanes(y=address, u=u, v=u + chroma * form.chroma_height, luma_pitch=luma, chroma_pitch=chroma)


def _disc(height: int, width: int) -> NDArray[np.float32]:
    """A matte that has all three: inside, outside and edge."""
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot(y - height / 2, x - width / 2) / (height / 3)
    return np.asarray(np.clip(4 * (1.25 - away), 0, 1), np.float32)
