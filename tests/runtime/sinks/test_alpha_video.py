"""ProRes 4444 and VP9: colours and alpha come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec.structs import replace

from cutline.runtime.errors import InternalError
from cutline.runtime.frame import Colour, Matrix
from cutline.runtime.sinks import SinkOptions, describe_sink, open_sink


def planes(frame: av.VideoFrame, dtype: str) -> list[Any]:
    """The planes of one frame, in 16-bit or 8-bit samples."""
    shown = []
    for data in frame.planes:
        rows = np.frombuffer(data, np.uint8).reshape(-1, data.line_size).view(dtype)  # type: ignore[call-overload]
        shown.append(rows[: data.height, : data.width].astype(float))
    return shown


def decode_vp9(path: Path) -> list[av.VideoFrame]:
    """FFmpeg's own VP9 decoder leaves alpha out; libvpx does not."""
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        return [frame for packet in packets for frame in decoder.decode(packet if packet.size else None)]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(Matrix))
def test_prores_keeps_colours_and_exact_alpha(
    clip: Any, store: Any, read: Any, tmp_path: Path, matrix: Matrix, full_range: bool
) -> None:
    made = clip(count=4, colour=Colour(matrix, full_range))
    report = store(made, tmp_path / "out.mov")
    frames = read(tmp_path / "out.mov")
    assert [frame.pts for frame in frames] == made.pts
    assert report["codec"] == "prores_ks"
    with av.open(str(tmp_path / "out.mov")) as container:
        codec = container.streams.video[0].codec_context
        assert codec.color_range != 2  # ProRes is limited; full range is converted
        assert codec.colorspace == {Matrix.BT601: 6, Matrix.BT709: 1, Matrix.BT2020: 9}[matrix]
    bits = frames[0].format.components[0].bits
    luma, blue, red, alpha = planes(frames[1], "<u2")
    source = made.frame(1)
    expected = source.composite.y.astype(float)
    expected = 16 + expected * 219 / 255 if full_range else expected
    scale = 2 ** (bits - 8)
    assert np.abs(luma / scale - expected).mean() < 0.5
    gain = 224 / 255 if full_range else 1
    for shown, wanted in ((blue, source.composite.u), (red, source.composite.v)):
        assert shown.shape == luma.shape
        assert np.abs(shown[::2, ::2] / scale - (128 + (wanted.astype(float) - 128) * gain)).mean() < 1
    top = 2**bits - 1
    assert alpha[source.alpha == 0].max() == 0
    assert alpha[source.alpha == 255].min() == top
    assert np.abs(alpha / top * 255 - source.alpha).max() < 0.6


def test_webm_keeps_colours_and_alpha(clip: Any, store: Any, tmp_path: Path) -> None:
    made = clip(width=192, height=144, count=12)
    store(made, tmp_path / "out.webm")
    frames = decode_vp9(tmp_path / "out.webm")
    assert len(frames) == 12
    assert frames[0].format.name == "yuva420p"
    luma, blue, red, alpha = planes(frames[-1], "u1")
    source = made.frame(11)
    for shown, wanted in ((luma, source.composite.y), (blue, source.composite.u), (red, source.composite.v)):
        assert np.abs(shown - wanted).mean() < 3
    assert np.abs(alpha - source.alpha).mean() < 2
    assert np.median(alpha[source.alpha == 255]) == 255


def test_webm_times_are_kept_to_the_millisecond(clip: Any, store: Any, read: Any, tmp_path: Path) -> None:
    made = clip(count=40)
    store(made, tmp_path / "out.webm")
    shown = [float(frame.pts * frame.time_base) for frame in read(tmp_path / "out.webm")]
    assert shown == pytest.approx([index / 30 for index in range(40)], abs=0.0006)


@pytest.mark.parametrize(("name", "pixel_format"), [("out.mov", "yuv444p12le"), ("out.webm", "yuv420p")])
def test_a_clip_with_a_background_is_stored_opaque(
    clip: Any, store: Any, read: Any, tmp_path: Path, name: str, pixel_format: str
) -> None:
    made = clip(count=3)
    store(made, tmp_path / name, transparent=False)
    assert len(read(tmp_path / name)) == 3
    if name.endswith(".mov"):
        assert read(tmp_path / name)[0].format.name in (pixel_format, "yuv444p10le")
    else:
        assert decode_vp9(tmp_path / name)[0].format.name == pixel_format
    traits = describe_sink(name, SinkOptions(transparent=False))
    assert not traits.wants_alpha
    assert not traits.carries_alpha


@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_odd_sizes_are_kept(clip: Any, store: Any, read: Any, tmp_path: Path, name: str) -> None:
    report = store(clip(width=97, height=63, count=2), tmp_path / name)
    frame = read(tmp_path / name)[0]
    assert (frame.width, frame.height) == (97, 63)
    assert report["notices"] == []


def test_a_frame_without_its_alpha_is_a_bug(clip: Any, tmp_path: Path) -> None:
    made = clip(count=1)
    sink = open_sink(str(tmp_path / "out.mov"), made.info)
    with pytest.raises(InternalError, match="without its alpha"):
        sink.write(replace(made.frame(0), alpha=None))
    sink.close(complete=False)
