"""`make demo`: cuts out the built-in synthetic kiosk clip and shows the result side by side."""

from __future__ import annotations

import argparse
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cutline.runtime import Pipeline, StreamOptions, open_bundle
from cutline.runtime.frame import Frame, Matrix, Planes
from cutline.runtime.sessions import open_engine

__all__ = ["make_demo"]

CLIP: Final = "synthetic://kiosk?split=test&seed=8&size=1280x720&frames=300&fps=30"  # goods no network was trained on
SHEET_ROWS: Final = 6


def rgb_of(planes: Planes, matrix: Matrix = Matrix.BT709) -> NDArray[np.uint8]:
    """Turn limited-range planes into uint8[H, W, 3] RGB, by swscale."""
    frame = av.VideoFrame(planes.width, planes.height, "yuv420p")
    for plane, pixels in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        rows[:, : pixels.shape[1]] = pixels
    name = {Matrix.BT601: "ITU601", Matrix.BT709: "ITU709", Matrix.BT2020: "BT2020"}[matrix]
    return np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=name, dst_colorspace=name))


def make_demo(folder: Path, clip: str = CLIP) -> dict[str, Any]:
    """Write side-by-side.mp4 and contact-sheet.png into `folder`; returns the figures of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "side-by-side.part.mp4"
    rows: list[NDArray[np.uint8]] = []
    with open_bundle("cutout") as bundle:
        engine = open_engine(bundle)
    options = StreamOptions(input=clip, background="#e8eef2", name="kiosk")
    with Pipeline(engine, options) as pipeline, av.open(str(part), "w") as video:
        rate = pipeline.info.frame_rate or Fraction(30)
        stream = video.add_stream("libx264", rate, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = pipeline.format.width, pipeline.format.height // 2, "yuv420p"
        every = max(1, (pipeline.info.frames or 300) // SHEET_ROWS)
        for frame in pipeline:
            row = _row(frame)
            half = cv2.resize(
                row[:, : row.shape[1] * 2 // 3], (stream.width, stream.height), interpolation=cv2.INTER_AREA
            )
            picture = av.VideoFrame.from_ndarray(np.asarray(half, np.uint8), "rgb24")
            picture.pts, picture.time_base = frame.time.pts, frame.time.time_base
            video.mux(stream.encode(picture))
            if frame.index % every == every // 2:
                rows.append(np.asarray(cv2.resize(row, (1440, 270), interpolation=cv2.INTER_AREA), np.uint8))
        video.mux(stream.encode(None))
        counts, stages = pipeline.counts(), pipeline.telemetry.summary_ms()
    part.rename(folder / "side-by-side.mp4")
    cv2.imwrite(str(folder / "contact-sheet.png"), np.vstack(rows)[:, :, ::-1])
    engine.close()
    latency = stages.pop("latency")
    return {
        "frames": counts.frames_out, "dropped": counts.dropped, "device": engine.device, "precision": engine.precision,
        "latency_ms": latency, "stages_ms": {name: stage.get("p50") for name, stage in stages.items()},
    }  # fmt: skip


def _row(frame: Frame) -> NDArray[np.uint8]:
    """Original, composite and alpha next to each other: uint8[H, 3 W, 3]."""
    assert frame.alpha is not None  # the pipeline was asked for it
    assert frame.source is not None  # the CPU decodes
    assert frame.composite is not None  # and encodes
    return np.hstack([rgb_of(frame.source), rgb_of(frame.composite), np.repeat(frame.alpha[:, :, None], 3, axis=2)])


def main() -> None:
    """Run from the Makefile."""
    parser = argparse.ArgumentParser(prog="python -m cutline.tools.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    out = parser.parse_args().out
    console = Console(highlight=False)
    width = shutil.get_terminal_size().columns
    console.print("Cutting out the built-in kiosk clip ..."[:width])
    for name, value in make_demo(out).items():
        console.print(f"  {name:<12} {value}", soft_wrap=True)
    console.print(f"Look at {out / 'side-by-side.mp4'} and {out / 'contact-sheet.png'}")


if __name__ == "__main__":
    main()
