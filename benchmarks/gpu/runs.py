"""`cutline run` from file to file: with the CPU's codecs, and with the GPU's at either end and at both."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed
from cutline.benchmarks.gpu.record import Check
from cutline.benchmarks.gpu.video import FORM, FRAMES, LEAST_DB, write_clip
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.options import StreamOptions
from cutline.runtime.runner import Runner

__all__ = ["NAME", "check_runs"]

NAME: Final = "cutline run, file to file"


def check_runs(bed: Bed, *, form: FrameFormat = FORM, frames: int = FRAMES) -> Check:
    """Run the same clip each way and read all files back.

    What x264 makes must not depend on who decoded: H.264 leaves decoders no choice, and the kernels see the same bytes.
    """
    ordinal = bed.driver.device.ordinal
    ways = [(d, e) for e in ("x264", f"nvenc:{ordinal}") for d in ("cpu", f"nvdec:{ordinal}")]
    figures: dict[str, float | int | str] = {}
    faults, told = [], []
    first: Path | None = None
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, form, frames)
        for index, (decoder, encoder) in enumerate(ways):
            way, out = f"{decoder}, {encoder}", Path(folder) / f"{index}.mp4"
            options = StreamOptions(
                input=str(clip), output=str(out), decoder=decoder, encoder=encoder, background="#00ff00", audio=False
            )
            began, worked = time.perf_counter(), _core_s()
            try:
                report = Runner(bed.engine, options).run()
            except DeviceLostError:
                raise
            except DeviceError as error:  # this GPU has no such codec
                told.append(f"{way}: not run: {error}")
                continue
            took, worked = time.perf_counter() - began, _core_s() - worked
            figures |= {
                f"{way}: fps": report.fps,
                f"{way}: seconds with start and end": took,
                f"{way}: core-ms a frame": 1e3 * worked / frames,
            }
            told += [f"{way}: {notice}" for notice in report.notices]
            if report.error is not None:
                faults.append(f"{way}: {report.error}")
                continue
            first = first or out
            found, lowest = _compare(out, first)
            figures[f"{way}: lowest PSNR dB"] = lowest if math.isfinite(lowest) else str(lowest)
            if (report.frames_out, report.dropped, found) != (frames, 0, frames):
                faults.append(f"{way}: {report.frames_out} of {frames} frames came out, {found} can be decoded again")
            if not lowest >= (math.inf if encoder == "x264" else LEAST_DB):
                faults.append(f"{way}: its frames are not those of the CPU's codecs")
    return Check(
        name=NAME,
        verdict="failed" if faults else "measured",
        goal="every frame comes out, and is the same whoever decoded",
        figures=figures,
        notes=(*faults, *told),
    )


def _core_s() -> float:
    """Seconds that cores worked for this process and for those of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _compare(path: Path, other: Path) -> tuple[int, float]:
    """Frames that can be decoded, and the lowest PSNR of their luma to the other file's, in dB."""
    count, worst = 0, 0.0
    with av.open(str(path)) as container, av.open(str(other)) as wanted:
        for frame, like in zip(container.decode(video=0), wanted.decode(video=0), strict=False):
            count += 1
            worst = max(worst, float(np.mean((_luma(frame) - _luma(like)) ** 2)))
    return count, 10 * math.log10(255**2 / worst) if worst else math.inf


def _luma(frame: av.VideoFrame) -> NDArray[np.float32]:
    return frame.to_ndarray()[: frame.height, : frame.width].astype(np.float32)
