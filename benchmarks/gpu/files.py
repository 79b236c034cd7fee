"""What the GPU's encoder makes of a video file, beside x264: time, the processor's share of it, size and quality."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import Frame, FrameFormat, Planes, Timestamp, allocate_planes
from cutline.runtime.sinks import SinkOptions, StreamInfo, open_sink
from cutline.runtime.sinks.base import composite_of
from cutline.runtime.sinks.codec import why_no_nvenc

__all__ = ["NAME", "check_files"]

NAME: Final = "files from the GPU's encoder"
FORM: Final = FrameFormat(width=1920, height=1080)
FRAMES: Final = 150
RATE: Final = Fraction(30)


def check_files(encoder: str, *, form: FrameFormat = FORM, frames: int = FRAMES) -> Check:
    """Write the same frames with x264 and with `encoder`, as `cutline run --encoder` does, and read both back.

    Raises:
        NotRun: the GPU encodes nothing.
    """
    if refusal := why_no_nvenc():
        raise NotRun(f"the GPU encodes nothing: {refusal}")
    shots = [_frame(form, index) for index in range(frames)]
    figures: dict[str, float | int | str] = {}
    notes = []
    for name in ("x264", encoder):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "out.mp4"
            try:
                took, worked = _write(path, form, shots, name)
            except DeviceLostError as error:  # it had opened
                notes.append(f"{name}: {error}")
                continue
            except DeviceError as error:
                raise NotRun(str(error)) from error
            own, others = _read(path, shots)
            figures |= {
                f"{name}: ms a frame": 1e3 * took / frames,
                f"{name}: core-ms a frame": 1e3 * worked / frames,
                f"{name}: Mbit/s": 8e-6 * path.stat().st_size * float(RATE) / frames,
                f"{name}: lowest PSNR dB": min(own, default=-math.inf),
            }
        if len(own) != frames:
            notes.append(f"{name}: {len(own)} of {frames} frames can be decoded again")
        elif any(mine <= other for mine, other in zip(own, others, strict=True)):
            notes.append(f"{name}: what can be decoded is not what was written")
    return Check(
        name=NAME,
        verdict="failed" if notes else "measured",
        goal="every frame comes back, and is the one that was written",
        figures=figures,
        notes=tuple(notes),
    )


def _frame(form: FrameFormat, index: int) -> Frame:
    """A textured card that turns before a soft gradient, as goods before a backdrop."""
    planes = allocate_planes(form.width, form.height)
    planes.y[:] = np.linspace(60, 180, form.width)
    planes.u[:], planes.v[:] = 118, 138
    side = form.height // 2
    card = np.random.default_rng(1).integers(40, 220, (side // 8 + 1, side // 8 + 1)).astype(np.uint8)
    card = cv2.resize(card, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 3.0 * index, 1.0)
    turn[:, 2] += (form.width / 2 - side / 2 + 2 * index % side, form.height / 4)
    cv2.warpAffine(
        card, turn, (form.width, form.height), dst=planes.y, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    time_stamp = Timestamp(index, 1 / RATE, 0)
    return Frame(
        index=index, time=time_stamp, source=planes, composite=planes, alpha=None, matte=np.zeros((2, 2), np.float32)
    )


def _write(path: Path, form: FrameFormat, shots: Iterable[Frame], encoder: str) -> tuple[float, float]:
    """Seconds by the clock, and of the processor's cores, from the first frame to the finished file."""
    info = StreamInfo(
        format=form, frame_rate=RATE, time_base=1 / RATE, source_uri=None, name="files", live=False, frames=None
    )
    sink = open_sink(str(path), info, SinkOptions(encoder=encoder))
    began, worked = time.perf_counter(), time.process_time()
    complete = False
    try:
        for shot in shots:
            sink.write(shot)
        complete = True
    finally:
        sink.close(complete=complete)
    return time.perf_counter() - began, time.process_time() - worked


def _read(path: Path, shots: list[Frame]) -> tuple[list[float], list[float]]:
    """PSNR in dB of the luma of every frame that can be decoded, to what was written and to the frame before that."""
    own, others = [], []
    with av.open(str(path)) as container:
        for picture, shot, other in zip(container.decode(video=0), shots, shots[-1:] + shots[:-1], strict=False):
            own.append(_psnr(picture, composite_of(shot)))
            others.append(_psnr(picture, composite_of(other)))
    return own, others


def _psnr(picture: av.VideoFrame, wanted: Planes) -> float:
    luma: NDArray[np.float64] = picture.to_ndarray()[: picture.height, : picture.width].astype(np.float64)
    error = float(np.mean((luma - wanted.y) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf
