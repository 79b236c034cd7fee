"""pre and post beside what OpenCV offers for the same work: 1080p, network input 512x288, one core each.

Run it with `python -m benchmarks.kernels` from the repository's root. Ours and theirs take turns, so that whatever else
the machine does hits both; each figure is the median of the processor time of one call. The product fills a fifth of
the picture and has soft edges; the worst case, where every pixel is half transparent, stands in its own line.
"""

from __future__ import annotations

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
from cutline.runtime.kernels import Background, Post, PostOptions, Pre, isa, place

WIDTH, HEIGHT = 1920, 1080
NET_WIDTH, NET_HEIGHT = 512, 288
ROUNDS = 60
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
    return np.clip(inside / 2 + 0.5, 0, 1).astype(np.float32)


def take_turns(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of processor time per call, the calls interleaved."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.thread_time_ns()
            call()
            spent[name].append((time.thread_time_ns() - start) / 1e6)
    return {name: statistics.median(times[5:]) for name, times in spent.items()}


def pre_calls(bgr: U8, planes: Planes) -> dict[str, Callable[[], object]]:
    """Frame to float32 RGB tensor at the network's size."""
    packed = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    image = Image(tensor="x", width=NET_WIDTH, height=NET_HEIGHT)
    window = place(WIDTH, HEIGHT, NET_WIDTH, NET_HEIGHT)
    plan = Pre(FrameFormat(width=WIDTH, height=HEIGHT), image, window)
    tensor, guide = np.empty(image.shape, np.float32), np.empty((3, NET_HEIGHT, NET_WIDTH), np.uint8)
    size = (NET_WIDTH, NET_HEIGHT)

    def area() -> object:
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        return cv2.dnn.blobFromImage(small, 1 / 255, size, swapRB=True)

    return {
        "pre, I420 to tensor and guide": lambda: plan.run(planes, tensor, guide),
        "blobFromImage, BGR given": lambda: cv2.dnn.blobFromImage(bgr, 1 / 255, size, swapRB=True),
        "blobFromImage after INTER_AREA, BGR given": area,
        "I420 to BGR, then blobFromImage": lambda: cv2.dnn.blobFromImage(
            cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420), 1 / 255, size, swapRB=True
        ),
    }


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


def post_calls(bgr: U8, behind: U8, planes: Planes) -> dict[str, Callable[[], object]]:
    """Matte at the network's size, frame and background to composite."""
    matte, back = product(), to_planes(behind)

    def theirs(alpha: F32) -> object:
        full = cv2.resize(alpha, (WIDTH, HEIGHT))
        return cv2.blendLinear(bgr, behind, full, 1 - full)

    def ours(kind: str, alpha: F32 = matte, **options: bool) -> Composer:
        return Composer(planes, alpha, Background(kind=kind, planes=back), PostOptions(**options))  # type: ignore[arg-type]

    return {
        "post, picture": ours("picture"),
        "post, picture, every pixel mixed": ours("picture", np.full_like(matte, 0.5)),
        "post, picture, no refinement or decontamination": ours("picture", refine=False, decontaminate=False),
        "post, colour": ours("colour"),
        "post, blur": ours("blur"),
        "post, transparent": ours("transparent"),
        "post, original": ours("original"),
        "resize + blendLinear, BGR": lambda: theirs(matte),
    }


def show(title: str, times: dict[str, float], ours: str) -> None:
    """Print every line's time and what it is in units of our default."""
    print(title)
    for name, time_ms in times.items():
        print(f"  {name:48} {time_ms:7.3f} ms   {time_ms / times[ours]:6.2f} x {ours.split(',')[0]}")


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    print(f"{names[0] if names else platform.processor()}, kernels {isa()}, OpenCV {cv2.__version__}, one thread")
    bgr, behind = picture(1), picture(2)
    planes = to_planes(bgr)
    show("frame to tensor", take_turns(pre_calls(bgr, planes)), "pre, I420 to tensor and guide")
    show("matte to composite", take_turns(post_calls(bgr, behind, planes)), "post, picture")


if __name__ == "__main__":
    main()
