"""Is it right? The driver's conformance suite, kernels against their float64 twins, graphs against plain launches."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed, Frames
from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.runtime.contract import Image, Output
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, DevicePlanes, Launch, PostLaunches, PreLaunches
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels import Background, PostOptions, place, reference, reference_post, tolerances

__all__ = ["check_conformance", "check_graphs", "check_twins"]

SUITE: Final = Path(__file__).resolve().parents[2] / "tests/runtime/cuda/test_conformance.py"
SUITE_S: Final = 120.0
MOST_NAMED: Final = 10  # tests that failed, in the report
SHAPES: Final = ((320, 180, 64, 36), (641, 361, 128, 72), (1280, 720, 256, 144))  # frame, network
GRAPHED: Final = FrameFormat(width=1280, height=720)
KINDS: Final = ("colour", "blur", "original", "transparent")


def check_conformance(ordinal: int) -> Check:
    """Run the suite that every driver passes, on this device, in a process of its own."""
    if not SUITE.is_file():
        raise NotRun("the tests are not in this installation")
    if importlib.util.find_spec("pytest") is None:
        raise NotRun("pytest is not installed")
    # not our project's own words, whose -q would leave out the counts
    words = ["-m", "pytest", str(SUITE), "-m", "gpu", "-k", "cuda-python", "-q", "-rfEs", "-p", "no:cacheprovider"]
    words += ["-o", "addopts=--import-mode=importlib"]
    surroundings = {
        **os.environ, "CUTLINE_TEST_GPU": str(ordinal), "COLUMNS": "300",  # whole lines in its summary
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the suite needs none, and what they warn of would end it
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=SUITE_S, check=False,
        cwd=SUITE.parents[3], env=surroundings,
    )  # fmt: skip
    found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    passed = done.returncode == 0 and found.get("passed", 0) > 0 and not found.get("skipped")
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    named = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    figures: dict[str, float | int | str] = {**found}
    return Check(
        name="driver: conformance suite",
        verdict="passed" if passed else "failed",
        goal="every test passes",
        figures=figures,
        notes=() if passed else (*named[:MOST_NAMED], *lines[-1:]),
    )


def check_twins(bed: Bed) -> Check:
    """pre and post on random frames of three sizes, four backgrounds each, against the float64 twins."""
    worst: dict[str, float] = {}
    failed: list[str] = []
    for shape in SHAPES:
        for seed, kind in enumerate(KINDS):
            for part, (difference, slack) in _compare(bed, shape, kind, seed).items():
                worst[part] = max(worst.get(part, 0.0), difference / slack)
                if not difference <= slack:  # NaN fails
                    failed.append(f"{part} of {shape[0]}x{shape[1]}, {kind}: {difference:.4g}, allowed is {slack:.4g}")
    figures: dict[str, float | int | str] = {f"{part}: largest difference / allowed": v for part, v in worst.items()}
    return Check(
        name="kernels against float64 twins",
        verdict="failed" if failed else "passed",
        goal="within the one table of tolerances",
        figures=figures,
        notes=tuple(failed[:10]),
    )


def check_graphs(bed: Bed) -> Check:
    """The same frames through captured graphs and through plain launches: the same bytes."""
    driver = bed.driver
    found, before = [], driver.no_graphs
    try:
        for refusal in (before, before or "left out, to compare"):
            driver.no_graphs = refusal
            with closing(Frames(bed.engine, GRAPHED, smooth=True)) as frames:
                found.append(([_digest(frames) for _ in range(12)], tuple(frames.notices)))
    finally:
        driver.no_graphs = before
    (graphs, refusals), (plain, _) = found
    return Check(
        name="graphs against plain launches",
        verdict="failed" if graphs != plain else "not run" if refusals else "passed",
        goal="the same bytes, frame by frame",
        figures={"frames": len(graphs)},
        notes=refusals,
    )


def _digest(frames: Frames) -> int:
    frames.start()
    slot = frames.finish()
    assert slot.alpha is not None
    parts = (slot.composite.y, slot.composite.u, slot.composite.v, slot.alpha, slot.arrays["matte"])
    return hash(b"".join(part.tobytes() for part in parts))


def _compare(bed: Bed, shape: tuple[int, int, int, int], kind: Any, seed: int) -> dict[str, tuple[float, float]]:
    """Largest difference and what is allowed, by part."""
    form, rng = FrameFormat(width=shape[0], height=shape[1]), np.random.default_rng(seed)
    window = place(form.width, form.height, shape[2], shape[3])
    image = Image(tensor="i", width=shape[2], height=shape[3], mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3))
    output = Output(tensor="o", meaning="alpha", width=shape[2], height=shape[3])
    planes, frame = _frame(bed, form, rng)
    raw = _blobs(rng, shape[3], shape[2])[None, None].astype(np.float32)
    pre, post = PreLaunches(form, image, window), PostLaunches(form, output, window, PostOptions(temporal=0.0))
    small, pitch = shape[2] * shape[3], -(-form.width // 64) * 64
    tensor, guide, matte = bed.room(12 * small), bed.room(3 * small), bed.room(4 * small)
    out, alpha = _planes(bed.room(2 * form.width * form.height + 4096), form), bed.room(pitch * form.height)
    background = Background(kind=kind, colour=(90, 100, 160), radius=9.0)
    _run(bed, pre.launches(tables=bed.put(pre.tables), frame=frame, tensor=tensor, guide=guide))
    launches = post.launches(
        tables=bed.put(post.tables), scratch=bed.room(post.scratch_bytes, value=0xFF),
        state=bed.room(post.state_bytes, value=RESET_BYTE), frame=frame, raw=bed.put(raw), guide=guide,
        behind=Behind(kind=kind, colour=background.colour, radius=background.radius), out=out, matte=matte,
        nans=bed.room(8), alpha=alpha, alpha_pitch=pitch,
    )  # fmt: skip
    _run(bed, launches)
    codes = bed.get(guide, (3, shape[3], shape[2]), np.uint8)
    wanted_tensor, wanted_guide = reference.pre(planes, form, image, window)
    twin = reference_post.post(
        planes, raw, codes, frame=form, output=output, window=window, options=PostOptions(temporal=0.0),
        background=background,
    )  # fmt: skip
    seen = bed.get(tensor, image.shape, np.float32)
    found = {
        "tensor": (_largest(seen, wanted_tensor), tolerances.TONE / min(image.std) + 1e-5),
        "guide": (_largest(codes, wanted_guide), tolerances.GUIDE + tolerances.HALF),
        "matte": (_largest(bed.get(matte, (shape[3], shape[2]), np.float32), twin.matte), tolerances.MATTE),
        "alpha": (
            _largest(bed.get(alpha, (form.height, pitch), np.uint8)[:, : form.width], twin.alpha * 255),
            tolerances.HALF + tolerances.ALPHA * 255,
        ),
    }
    heights = (form.height, form.chroma_height, form.chroma_height)
    for part, address, pitch, rows, twin_plane in zip(
        "yuv", (out.y, out.u, out.v), (out.luma_pitch, *(out.chroma_pitch,) * 2), heights, twin.planes, strict=True
    ):
        plane = bed.get(address, (rows, pitch), np.uint8)[:, : twin_plane.shape[1]]
        allowed = tolerances.HALF + tolerances.COMPOSITE
        found[f"composite {part}"] = (_largest(plane, np.clip(twin_plane, 0, 255)), allowed)
    return found


def _run(bed: Bed, launches: tuple[Launch, ...]) -> None:
    module = bed.driver.load(bed.cubin)
    try:
        for launch in launches:
            kernel = bed.driver.kernel(module, launch.kernel)
            bed.driver.launch(kernel, launch.grid, launch.block, launch.params, stream=bed.stream)
        bed.settle()
    finally:
        bed.driver.release(module)


def _largest(value: NDArray[Any], twin: NDArray[Any]) -> float:
    return float(np.abs(value.astype(np.float64) - twin).max())


def _planes(address: int, form: FrameFormat) -> DevicePlanes:
    """A picture laid out from an address on, rows padded to 64 bytes."""
    luma, chroma = -(-form.width // 64) * 64, -(-form.chroma_width // 64) * 64
    u = address + luma * form.height
    v = u + chroma * form.chroma_height
    return DevicePlanes(y=address, u=u, v=v, luma_pitch=luma, chroma_pitch=chroma)


def _frame(bed: Bed, form: FrameFormat, rng: np.random.Generator) -> tuple[Planes, DevicePlanes]:
    """A frame of blobs and noise, here and on the device."""
    sizes = ((form.height, form.width), *((form.chroma_height, form.chroma_width),) * 2)
    planes = [np.clip(_blobs(rng, *size) * 200 + rng.normal(20, 4, size), 16, 235).astype(np.uint8) for size in sizes]
    at = _planes(0, form)
    whole = np.zeros(at.v + at.chroma_pitch * form.chroma_height, np.uint8)
    for plane, start, pitch in zip(planes, (at.y, at.u, at.v), (at.luma_pitch, *(at.chroma_pitch,) * 2), strict=True):
        whole[start : start + pitch * plane.shape[0]].reshape(-1, pitch)[:, : plane.shape[1]] = plane
    return Planes(*planes), _planes(bed.put(whole), form)


def _blobs(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A smooth random picture in 0..1."""
    y, x = np.mgrid[0:height, 0:width]
    found = np.zeros((height, width))
    for _ in range(6):
        cy, cx, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.05, 0.3) * width
        found = np.maximum(found, 1 / (1 + np.exp(8 * (np.hypot(y - cy, x - cx) / size - 1))))
    return found
