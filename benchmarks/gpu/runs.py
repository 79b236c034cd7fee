"""`cutline run` from file to file: with the CPU's codecs, and with the GPU's at either end and at both."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed
from cutline.benchmarks.gpu.record import Check
from cutline.benchmarks.gpu.video import FORM, FRAMES, LEAST_DB, RATE, write_clip
from cutline.runtime.errors import CutlineError, DeviceLostError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.options import StreamOptions
from cutline.runtime.runner import Runner, RunReport
from cutline.runtime.sinks.codec import why_no_nvenc
from cutline.runtime.sources.nvdec import why_no_nvdec

__all__ = ["NAME", "check_runs"]

NAME: Final = "cutline run, file to file"
PART: Final = 4  # of the frames: what a run costs beside its frames is the same, and goes out of the difference


def check_runs(bed: Bed, *, form: FrameFormat = FORM, frames: int = FRAMES) -> Check:
    """Run the same clip each way, in part and whole, and read all files back.

    What x264 makes must not depend on who decoded: H.264 leaves decoders no choice, and the kernels see the same bytes.
    """
    ordinal = bed.driver.device.ordinal
    lacks = {"nvdec": why_no_nvdec(ordinal), "nvenc": why_no_nvenc()}
    figures: dict[str, float | int | str] = {}
    faults = list[str]()
    told = [f"this GPU has no {codec}: {why}" for codec, why in lacks.items() if why]
    decoders: list[Literal["cpu", "nvdec"]] = ["cpu"] if lacks["nvdec"] else ["cpu", "nvdec"]
    encoders = ["x264"] + ([] if lacks["nvenc"] else [f"nvenc:{ordinal}"])
    first: Path | None = None
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, form, frames)
        for index, (encoder, decoder) in enumerate(product(encoders, decoders)):
            way, out = f"{decoder}, {encoder}", Path(folder) / f"{index}.mp4"
            options = StreamOptions(
                input=str(clip), output=str(out), decoder=decoder, encoder=encoder, background="#00ff00", audio=False
            )
            try:
                part, work, _ = _run(bed, replace(options, frames=max(1, frames // PART)))  # loads what is loaded once
                report, more, took = _run(bed, options)
            except DeviceLostError:
                raise
            except CutlineError as error:  # it does not even open
                faults.append(f"{way}: {error}")
                continue
            faults += [f"{way}: {fault}" for fault in (report.error, *report.notices) if fault]
            if report.error is not None:
                continue
            first = first or out
            found, keys, lowest = _compare(out, first)
            figures |= {
                f"{way}: fps": report.fps,
                f"{way}: seconds with start and end": took,
                f"{way}: core-ms a frame": 1e3 * (more - work) / max(1, report.frames_out - part.frames_out),
                f"{way}: lowest PSNR dB": lowest if math.isfinite(lowest) else str(lowest),
                f"{way}: key frames": keys,
            }
            if (report.frames_out, report.dropped, found) != (frames, 0, frames):
                faults.append(f"{way}: {report.frames_out} of {frames} frames came out, {found} can be decoded again")
            if keys < frames / RATE:
                faults.append(f"{way}: {keys} key frames in {float(frames / RATE):.1f} s")
            if not lowest >= (math.inf if encoder == "x264" else LEAST_DB):
                faults.append(f"{way}: its frames are not those of the CPU's codecs")
    return Check(
        name=NAME,
        verdict="failed" if faults else "measured",
        goal="every frame comes out, and is the same whoever decoded",
        figures=figures,
        notes=(*faults, *told),
    )


def _run(bed: Bed, options: StreamOptions) -> tuple[RunReport, float, float]:
    """The report; seconds that cores worked; seconds by the clock."""
    began, worked = time.perf_counter(), _core_s()
    runner = Runner(bed.engine, options)
    report = runner.run()
    if isinstance(runner.failure, DeviceLostError):
        raise runner.failure
    return report, _core_s() - worked, time.perf_counter() - began


def _core_s() -> float:
    """Seconds that cores worked for this process and for those of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _compare(path: Path, other: Path) -> tuple[int, int, float]:
    """Frames that can be decoded, key frames, and the lowest PSNR of a frame, chroma and all, to the other file's."""
    count, keys, worst = 0, 0, 0.0
    with av.open(str(path)) as container, av.open(str(other)) as wanted:
        for frame, like in zip(container.decode(video=0), wanted.decode(video=0), strict=False):
            count, keys = count + 1, keys + frame.key_frame
            worst = max(worst, float(np.mean((_codes(frame) - _codes(like)) ** 2)))
    return count, keys, 10 * math.log10(255**2 / worst) if worst else math.inf


def _codes(frame: av.VideoFrame) -> NDArray[np.float32]:
    return frame.to_ndarray(format="yuv420p").astype(np.float32)
