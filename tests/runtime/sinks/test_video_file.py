"""H.264 files: every frame, its time and its colours come back."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from cutline.runtime.errors import OutputError
from cutline.runtime.frame import Colour, Matrix, Planes
from cutline.runtime.sinks import SinkOptions, open_sink
from cutline.runtime.sinks.recipes import RECIPES


def plane(frame: av.VideoFrame, index: int) -> Any:
    data = frame.planes[index]
    return np.frombuffer(data, np.uint8).reshape(-1, data.line_size)[: data.height, : data.width]  # type: ignore[call-overload]


def first_shown(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.width, frame.height


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast"])
def test_every_frame_comes_back_at_its_time(clip: Any, store: Any, read: Any, tmp_path: Path, preset: Any) -> None:
    made = clip(count=70)
    report = store(made, tmp_path / "out.mp4", preset=preset)
    frames = read(tmp_path / "out.mp4")
    assert [frame.pts for frame in frames] == made.pts
    assert frames[0].time_base == made.tick
    assert report["frames"] == 70
    assert report["notices"] == []
    assert report["bytes"] == (tmp_path / "out.mp4").stat().st_size


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_irregular_times_stay_as_they_are(clip: Any, store: Any, read: Any, tmp_path: Path, suffix: str) -> None:
    milliseconds = (0, 33, 34, 200, 1000, 1001, 4000)
    store(clip(times=milliseconds, tick=Fraction(1, 1000), rate=None), tmp_path / f"out{suffix}")
    frames = read(tmp_path / f"out{suffix}")
    assert [round(frame.pts * frame.time_base * 1000) for frame in frames] == list(milliseconds)


@pytest.mark.parametrize("first", [6006, 450_001, -3003])
def test_a_start_that_is_not_zero_is_kept(clip: Any, store: Any, read: Any, tmp_path: Path, first: int) -> None:
    made = clip(times=tuple(first + 3003 * index for index in range(12)))
    store(made, tmp_path / "out.mp4")
    frames = read(tmp_path / "out.mp4")
    assert [frame.pts * frame.time_base / made.tick for frame in frames] == made.pts


@pytest.mark.parametrize("tick", [Fraction(1, 1), Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 1_000_000)])
def test_any_time_base_is_kept(clip: Any, store: Any, read: Any, tmp_path: Path, tick: Fraction) -> None:
    step = max(1, round(Fraction(1, 25) / tick))
    made = clip(times=tuple(step * index for index in range(10)), tick=tick)
    store(made, tmp_path / "out.mp4")
    assert [frame.pts * frame.time_base for frame in read(tmp_path / "out.mp4")] == [pts * tick for pts in made.pts]


def test_a_live_recording_starts_at_zero(clip: Any, store: Any, read: Any, tmp_path: Path) -> None:
    uptime = 86_400 * 90_000
    made = clip(times=tuple(uptime + 3000 * index for index in range(10)), changes={"live": True})
    store(made, tmp_path / "out.mp4")
    assert [frame.pts for frame in read(tmp_path / "out.mp4")] == [3000 * index for index in range(10)]


def test_frames_that_go_back_in_time_are_kept_and_told(clip: Any, store: Any, read: Any, tmp_path: Path) -> None:
    report = store(clip(times=(0, 3000, 3000, 1000, 9000)), tmp_path / "out.mp4")
    assert [frame.pts for frame in read(tmp_path / "out.mp4")] == [0, 3000, 3001, 3002, 9000]
    assert report["notices"] == ["2 frames did not come later than the one before, and were moved"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(Matrix))
def test_range_and_matrix_survive(
    clip: Any, store: Any, read: Any, tmp_path: Path, matrix: Matrix, full_range: bool, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    made = clip(count=3, colour=Colour(matrix, full_range))
    store(made, path, crf=4)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
    expected = {Matrix.BT601: (6, 6, 6), Matrix.BT709: (1, 1, 1), Matrix.BT2020: (9, 9, 14)}[matrix]
    assert tags == (*expected, 2 if full_range else 1)
    frame = read(path)[0]
    assert frame.format.name in ("yuv420p", "yuvj420p")
    wanted = made.frame(0).composite
    for index, source in enumerate((wanted.y, wanted.u, wanted.v)):
        assert np.abs(plane(frame, index).astype(int) - source).mean() < 1.5


@pytest.mark.parametrize(("width", "height"), [(97, 64), (96, 63), (97, 63)])
def test_odd_sizes_repeat_the_last_column_or_row_and_say_so(
    clip: Any, store: Any, read: Any, tmp_path: Path, width: int, height: int
) -> None:
    made = clip(width=width, height=height, count=2)
    report = store(made, tmp_path / "out.mp4", crf=4)
    frame = read(tmp_path / "out.mp4")[0]
    assert (frame.width, frame.height) == (width + width % 2, height + height % 2)
    assert any(f"odd size {width}x{height}" in notice for notice in report["notices"])
    luma, source = plane(frame, 0).astype(int), made.frame(0).composite.y
    edge = np.pad(source, ((0, height % 2), (0, width % 2)), mode="edge")
    assert np.abs(luma - edge).mean() < 1.5
    assert np.abs(luma[:, -1] - edge[:, -1]).max() < 12


@pytest.mark.parametrize(("width", "height"), [(2, 2), (16, 16), (4096, 16)])
def test_extreme_sizes_are_stored(clip: Any, store: Any, tmp_path: Path, width: int, height: int) -> None:
    store(clip(width=width, height=height, count=2), tmp_path / "out.mp4")
    assert first_shown(tmp_path / "out.mp4") == (width, height)


def test_a_key_frame_comes_every_second_whatever_the_frame_rate_and_as_second_frame(
    clip: Any, store: Any, tmp_path: Path
) -> None:
    store(clip(times=tuple(range(0, 40 * 9000, 9000)), rate=None), tmp_path / "out.mp4")  # 10 frames per second
    with av.open(str(tmp_path / "out.mp4")) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert keys == pytest.approx([0, 0.1, 1, 2, 3])


def test_a_reader_learns_the_length(clip: Any, store: Any, tmp_path: Path) -> None:
    store(clip(count=45), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == pytest.approx(1_500_000, abs=40_000)  # microseconds


def test_nv12_planes_are_stored_like_any_other(clip: Any, read: Any, tmp_path: Path) -> None:
    made = clip(count=2)
    sink = open_sink(str(tmp_path / "out.mp4"), made.info, SinkOptions(crf=4))
    for frame in made.frames():
        planes = frame.composite
        chroma = np.stack([planes.u, planes.v], axis=-1)
        sink.write(msgspec.structs.replace(frame, composite=Planes(planes.y, chroma[..., 0], chroma[..., 1])))
    sink.close(complete=True)
    shown, wanted = read(tmp_path / "out.mp4")[1], made.frame(1).composite
    assert np.abs(plane(shown, 1).astype(int) - wanted.u).mean() < 1.5
    assert np.abs(plane(shown, 2).astype(int) - wanted.v).mean() < 1.5


def test_no_frames_leave_no_file(clip: Any, tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "out.mp4"), clip().info)
    sink.close(complete=True)
    sink.close(complete=True)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_may_be_overwritten_as_soon_as_write_returns(clip: Any, read: Any, tmp_path: Path) -> None:
    made = clip(count=12)
    sink = open_sink(str(tmp_path / "out.mp4"), made.info, SinkOptions(crf=4))
    for frame in made.frames():
        sink.write(frame)
        frame.composite.y[:] = 0
    sink.close(complete=True)
    for index, frame in enumerate(read(tmp_path / "out.mp4")):
        assert np.abs(plane(frame, 0).astype(int) - made.frame(index).composite.y).mean() < 4


def test_an_encoder_that_refuses_is_an_output_error_and_leaves_nothing(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(RECIPES[".mp4"], settings=lambda _options, _rate: {"preset": "no such preset"})
    monkeypatch.setitem(RECIPES, ".mp4", broken)
    with pytest.raises(OutputError, match="refuses these frames"):
        open_sink(str(tmp_path / "out.mp4"), clip().info)
    assert list(tmp_path.iterdir()) == []
