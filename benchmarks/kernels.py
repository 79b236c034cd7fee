"""pre and post beside what OpenCV offers for the same work: 1080p, network input 512x288, one core each.

Run it with `python -m benchmarks.kernels` from the repository root. Each of our lines takes turns with its rival, so
that whatever else the machine does hits both; each figure is the median of one call's processor time, and the ratio is
the median of the rounds' ratios. Every call finds the caches as the other one left them, as in a pipeline.

The matte is a bottle with edges two network pixels wide; the worst case, every pixel half transparent, has its own
line. OpenCV wants BGR, which no decoder delivers: the conversion is shown with and without.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image, Output
from cutline.runtime.frame import FrameFormat, Planes, allocate_planes
from cutline.runtime.kernels import Background, BackgroundKind, Post, PostOptions, Pre, isa, place

WIDTH, HEIGHT = 1920, 1080
NET_WIDTH, NET_HEIGHT = 512, 288
ROUNDS = 60
KINDS: tuple[BackgroundKind, ...] = ("colour", "blur", "transparent", "original")
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


def picture(seed: int) -> U8:
    """A BGR picture with detail at every scale."""
    rng = np.random.default_rng(seed)
    sum_of_scales = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells in (6, 30, 150):
        noise = rng.uniform(0, 85, (cells, cells * 16 // 9, 3)).astype(np.float32)
        sum_of_scales += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(sum_of_scales, 0, 255).astype(np.uint8)


def to_planes(bgr: U8) -> Planes:
    """The same picture as I420."""
    packed = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    planes = allocate_planes(WIDTH, HEIGHT)
    planes.y[:] = packed[:HEIGHT]
    planes.u[:] = packed[HEIGHT : HEIGHT * 5 // 4].reshape(HEIGHT // 2, WIDTH // 2)
    planes.v[:] = packed[HEIGHT * 5 // 4 :].reshape(HEIGHT // 2, WIDTH // 2)
    return planes


def product() -> F32:
    """A matte: a bottle in the middle, edges two network pixels wide."""
    y, x = np.mgrid[0:NET_HEIGHT, 0:NET_WIDTH].astype(np.float32)
    half = np.where(y < 90, 28, 60)
    inside = np.minimum(half - abs(x - 256), np.minimum(y - 20, 268 - y))
    return np.asarray(np.clip(inside / 2 + 0.5, 0, 1), np.float32)


Call = Callable[[], object]


def take_turns(ours: Call, theirs: Call) -> tuple[float, float, float]:
    """Median milliseconds of ours and of theirs, and the median of theirs / ours."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        pair = []
        for call in (ours, theirs):
            start = time.thread_time_ns()
            call()
            pair.append((time.thread_time_ns() - start) / 1e6)
        times.append((pair[0], pair[1]))
    warm = times[5:]
    return (
        statistics.median(a for a, _ in warm),
        statistics.median(b for _, b in warm),
        statistics.median(b / a for a, b in warm),
    )


def show(title: str, ours: Call, theirs: Call) -> None:
    """Print one line."""
    mine, rival, ratio = take_turns(ours, theirs)
    print(f"  {title:58} {mine:7.3f} {rival:8.3f} ms   {ratio:5.2f}")


def compare_pre(bgr: U8, planes: Planes) -> None:
    """Frame to float32 RGB tensor at the network's size; ours writes the guide as well."""
    packed = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    image = Image(tensor="x", width=NET_WIDTH, height=NET_HEIGHT)
    plan = Pre(FrameFormat(width=WIDTH, height=HEIGHT), image, place(WIDTH, HEIGHT, NET_WIDTH, NET_HEIGHT))
    tensor, guide = np.empty(image.shape, np.float32), np.empty((3, NET_HEIGHT, NET_WIDTH), np.uint8)

    def blob(picture: U8) -> object:
        return cv2.dnn.blobFromImage(picture, 1 / 255, (NET_WIDTH, NET_HEIGHT), swapRB=True)

    def ours() -> None:
        plan.run(planes, tensor, guide)

    def like_ours() -> object:
        picture = cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)
        return blob(cv2.resize(picture, (NET_WIDTH, NET_HEIGHT), interpolation=cv2.INTER_AREA))

    show(
        "blobFromImage of an I420 frame (cvtColor first)",
        ours,
        lambda: blob(cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)),
    )
    show("the same, antialiased as ours (INTER_AREA)", ours, like_ours)
    show("blobFromImage, BGR for nothing, not antialiased", ours, lambda: blob(bgr))


class Composer:
    """post with one matte and one background."""

    def __init__(self, planes: Planes, matte: F32, background: Background, options: PostOptions) -> None:
        shape = FrameFormat(width=WIDTH, height=HEIGHT)
        window = place(WIDTH, HEIGHT, NET_WIDTH, NET_HEIGHT)
        output = Output(tensor="a", meaning="alpha", width=NET_WIDTH, height=NET_HEIGHT)
        image = Image(tensor="x", width=NET_WIDTH, height=NET_HEIGHT)
        self.guide = np.empty((3, NET_HEIGHT, NET_WIDTH), np.uint8)
        Pre(shape, image, window).run(planes, np.empty(image.shape, np.float32), self.guide)
        self.plan = Post(shape, output, window, options)
        self.planes, self.raw, self.background = planes, matte[None, None].copy(), background
        self.out, self.matte = allocate_planes(WIDTH, HEIGHT), np.empty((NET_HEIGHT, NET_WIDTH), np.float32)
        self.alpha = np.empty((HEIGHT, WIDTH), np.uint8)

    def __call__(self) -> None:
        self.plan.run(
            self.planes,
            self.raw,
            self.guide,
            background=self.background,
            out=self.out,
            matte=self.matte,
            alpha=self.alpha if self.background.kind == "transparent" else None,
        )


def compare_post(bgr: U8, behind: U8, planes: Planes) -> None:
    """Matte at the network's size, frame and background to composite, against resize + blendLinear on BGR."""
    matte, back = product(), to_planes(behind)

    def theirs() -> object:
        full = cv2.resize(matte, (WIDTH, HEIGHT))
        return cv2.blendLinear(bgr, behind, full, 1 - full)

    def ours(kind: BackgroundKind, alpha: F32 = matte, **options: bool) -> Composer:
        return Composer(planes, alpha, Background(kind=kind, planes=back), PostOptions(**options))

    show("picture", ours("picture"), theirs)
    show("picture, every pixel mixed", ours("picture", np.full_like(matte, 0.5)), theirs)
    show(
        "picture, as little as theirs: neither refined nor cleaned",
        ours("picture", refine=False, decontaminate=False),
        theirs,
    )
    for kind in KINDS:
        show(kind, ours(kind), theirs)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__).parse_args()
    cv2.setNumThreads(1)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    print(f"{name}, kernels {isa()}, OpenCV {cv2.__version__}, one thread, 1080p, network {NET_WIDTH}x{NET_HEIGHT}")
    bgr, behind = picture(1), picture(2)
    planes = to_planes(bgr)
    print(f"{'pre, against':58}   {'ours':>7} {'theirs':>8}      ratio")
    compare_pre(bgr, planes)
    print(f"{'post, against resize + blendLinear (BGR)':58}   {'ours':>7} {'theirs':>8}      ratio")
    compare_post(bgr, behind, planes)


if __name__ == "__main__":
    main()
