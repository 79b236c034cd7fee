"""The colours of a known chart survive the whole of `cutline run`, from file to file, in every range and matrix.

The chart is stored without loss, so that what is off at the end was lost on the way. TOLERANCE is what may be: half a
code for rounding R'G'B' to codes, and one and a half for the encoder at its default quality (1.47 was seen in the mean
of a patch); the composition may take none of these flat colours. A wrong matrix moves them by up to 30 codes, a wrong
range by 16.
"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.frame import Colour, Matrix

TOLERANCE = 2  # codes of 8 bits
PATCH = 32  # pixels a side, of 4 x 4
CHART = (
    np.array(
        [
            *((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)),
            *((255, 0, 255), (128, 128, 128), (64, 32, 16), (200, 150, 100), (30, 90, 200), (10, 10, 10)),
            *((245, 245, 240), (16, 235, 128), (77, 99, 33)),
        ],
        float,
    )
    / 255
)
TAGS = {Matrix.BT601: 6, Matrix.BT709: 1, Matrix.BT2020: 9}  # ITU-T H.273, table 4
COLOURS = [Colour(matrix, full) for matrix in (Matrix.BT601, Matrix.BT709) for full in (False, True)]
COLOURS += [Colour(Matrix.BT2020, full_range=False)]
FRAMES = 3


def names(colour: Colour) -> str:
    return f"{colour.matrix.value}-{'full' if colour.full_range else 'limited'}"


def codes(colour: Colour) -> NDArray[np.float64]:
    """Y, Cb, Cr of every patch, in float64. Source: ITU-R BT.709-6, items 3 and 4; ITU-T H.273, 8.3."""
    kr, kb = colour.matrix.kr_kb
    red, green, blue = CHART.T
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    differences = np.stack([(blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))], -1)
    if colour.full_range:
        return np.clip(np.column_stack([255 * luma, 128 + 255 * differences]), 0, 255)
    return np.column_stack([16 + 219 * luma, 128 + 224 * differences])


def write_chart(path: Path, colour: Colour) -> None:
    """H.264 without loss, tagged."""
    space, extent = TAGS[colour.matrix], 2 if colour.full_range else 1
    frame = av.VideoFrame(4 * PATCH, 4 * PATCH, "yuv420p")
    frame.colorspace, frame.color_range = space, extent
    for plane, values in zip(frame.planes, np.round(codes(colour)).astype(np.uint8).T, strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        side = plane.width // 4
        rows[: plane.height, : plane.width] = np.kron(values.reshape(4, 4), np.ones((side, side), np.uint8))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, extent
        for number in range(FRAMES):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every chart went through one `cutline run`, to every kind of file."""
    folder = tmp_path_factory.mktemp("charts")
    site = ""
    for colour in COLOURS:
        write_chart(folder / f"{names(colour)}.in.mp4", colour)
        for suffix in OUTPUTS[colour]:
            output = f"{names(colour)}{suffix}"
            site += f'["{output}"]\ninput = "{folder}/{names(colour)}.in.mp4"\noutput = "{folder}/{output}"\n'
            site += 'background = "original"\n'
    (folder / "site.toml").write_text(site)
    words = ["run", "--streams", str(folder / "site.toml")]
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


# every matrix and range to MP4 and to pictures; to the others what they could get wrong in a way of their own
OUTPUTS = {colour: [".mp4", "-%05d.png"] for colour in COLOURS}
OUTPUTS[Colour(Matrix.BT601, full_range=True)] += [".mkv", ".mov", ".webm"]
OUTPUTS[Colour(Matrix.BT709, full_range=False)] += [".mov"]
VIDEOS = [(colour, suffix) for colour, suffixes in OUTPUTS.items() for suffix in suffixes if "png" not in suffix]


def middles(plane: NDArray[np.generic]) -> NDArray[np.float64]:
    """The mean of the middle half of each patch, row by row."""
    side = plane.shape[0] // 4
    patches = plane.reshape(4, side, 4, side).astype(float)
    return patches[:, side // 4 : -side // 4, :, side // 4 : -side // 4].mean(axis=(1, 3)).ravel()


@pytest.mark.parametrize(("colour", "suffix"), VIDEOS, ids=[f"{names(c)}{s}" for c, s in VIDEOS])
def test_a_chart_survives_from_video_to_video_and_is_tagged(ran: Path, colour: Colour, suffix: str) -> None:
    with av.open(str(ran / f"{names(colour)}{suffix}")) as video:
        codec = video.streams.video[0].codec_context
        frames = list(video.decode(video=0))
    stored = Colour(colour.matrix, full_range=colour.full_range and suffix != ".mov")  # ProRes has no full range
    assert (codec.colorspace, codec.color_range) == (TAGS[colour.matrix], 2 if stored.full_range else 1)
    assert len(frames) == FRAMES
    for frame in frames:
        deep = frame.format.components[0].bits - 8
        planes = []
        for plane in frame.planes[:3]:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            rows = rows.view(np.uint16) / (1 << deep) if deep else rows
            planes.append(middles(rows[: plane.height, : plane.width]))
        off = np.abs(np.column_stack(planes) - codes(stored))
        assert off.max() <= TOLERANCE, off.max(axis=0)


@pytest.mark.parametrize("colour", COLOURS, ids=names)
def test_a_chart_survives_from_video_to_pictures(ran: Path, colour: Colour) -> None:
    for number in range(FRAMES):
        with av.open(str(ran / f"{names(colour)}-{number:05d}.png")) as picture:
            rgb = next(picture.decode(video=0)).to_ndarray(format="rgb24")
        off = np.abs(np.column_stack([middles(rgb[..., channel]) for channel in range(3)]) - 255 * CHART)
        assert off.max() <= TOLERANCE, off.max(axis=0)
