"""Files through the child process: every kind of video keeps its frames, times, size and colour."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cutline.runtime.errors import InternalError, UsageError
from cutline.runtime.frame import Colour, FrameFormat, Matrix
from cutline.runtime.slots import SlotPool
from cutline.runtime.sources import Source, SourceOptions

from .conftest import Clips, drain, open_pool, plane_view

STEPS = [16 + 4 * n for n in range(12)]  # the lumas that grey_step paints


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("plain.mkv", {}),
        ("plain.ts", {}),
        ("plain.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}),
        ("deep.mkv", {"codec": "ffv1", "pixels": "yuv420p10le"}),
        ("444.mkv", {"codec": "ffv1", "pixels": "yuv444p"}),
        ("grey.mkv", {"codec": "ffv1", "pixels": "gray", "colour": (1, 1)}),
        ("odd.mkv", {"codec": "ffv1", "size": (67, 35)}),
        ("tiny.mp4", {"size": (16, 16)}),
        ("jpeg.avi", {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"qmin": "1", "qmax": "1"}}),
    ],
)
def test_every_frame_arrives_in_order_with_its_picture(clips: Clips, name: str, options: dict[str, object]) -> None:
    path = clips.make(name, **options)  # type: ignore[arg-type]
    source, taken = drain(path)
    assert taken.end is not None
    assert (taken.end.error, taken.end.frames) == (None, 12)
    assert [filled.index for filled in taken.filled] == list(range(12))
    assert np.abs(np.array(taken.lumas) - STEPS).max() <= 2
    assert np.array([u[0, 0] for _, u, _ in taken.pictures]) == pytest.approx(128, abs=1)
    size = options.get("size", (64, 48))
    assert (source.info.width, source.info.height) == size
    assert source.info.frame_rate == 25
    assert not source.info.live


def test_what_the_source_says_of_itself(clips: Clips) -> None:
    source, _ = drain(clips.make("spoken.mp4", audio=True, rate=Fraction(30000, 1001)))
    info = source.info
    assert info.name.endswith("spoken.mp4")
    assert info.decoder == "h264"
    assert info.audio
    assert info.frames == 12
    assert info.duration_s == pytest.approx(12 * 1001 / 30000, abs=0.05)
    assert info.frame_rate == Fraction(30000, 1001)
    assert info.format == FrameFormat(width=64, height=48, colour=Colour(Matrix.BT601, full_range=False))


def test_uneven_timestamps_are_kept(clips: Clips) -> None:
    pts = [0, 33, 67, 500, 501, 900, 2000, 2040, 2080, 2120, 2160, 2200]
    source, taken = drain(clips.make("uneven.mkv", pts=pts))
    times = [filled.time.pts * source.info.time_base for filled in taken.filled]
    assert times == [Fraction(p, 1000) for p in pts]
    assert taken.kinds == []


def test_frames_are_available_when_they_are_in_a_slot_and_never_earlier_than_the_one_before(clips: Clips) -> None:
    _, taken = drain(clips.make("plain.mp4"))
    stamps = [filled.time.available_ns for filled in taken.filled]
    assert stamps == sorted(stamps)


def test_raw_video_without_timestamps_gets_them_at_the_frame_rate(clips: Clips) -> None:
    source, taken = drain(clips.make("raw.h264"))
    seconds = np.array([filled.time.seconds for filled in taken.filled])
    assert np.diff(seconds) == pytest.approx(1 / 25)
    assert source.info.time_base > 0


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("space", "matrix"), [(1, Matrix.BT709), (6, Matrix.BT601), (9, Matrix.BT2020)])
def test_tagged_colour_is_kept(clips: Clips, space: int, matrix: Matrix, full_range: bool) -> None:
    name = f"tagged-{space}-{full_range}.mp4"
    source, taken = drain(clips.make(name, colour=(space, 2 if full_range else 1), frames=2))
    assert source.info.format.colour == Colour(matrix, full_range)
    assert taken.lumas == STEPS[:2]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_video_stands_upright(clips: Clips, degrees: int) -> None:
    def corner(_: int, frame: av.VideoFrame) -> None:
        for plane, value in zip(frame.planes, (40, 128, 128), strict=True):
            plane_view(plane)[:] = value
        plane_view(frame.planes[0])[:16, :16] = 200  # upper left, as it is stored

    source, taken = drain(clips.make(f"turned{degrees}.mp4", rotate=degrees, paint=corner, frames=3))
    luma = taken.pictures[0][0]
    corners = {0: (4, 4), 90: (-5, 4), 180: (-5, -5), 270: (4, -5)}  # turned counterclockwise
    assert (source.info.width, source.info.height) == ((48, 64) if degrees % 180 else (64, 48))
    assert luma[corners[degrees]] == 200
    assert sum(int(luma[place]) == 200 for place in corners.values()) == 1


def test_pixels_that_are_not_square_become_so(clips: Clips) -> None:
    source, taken = drain(clips.make("anamorphic.mp4", aspect=Fraction(4, 3), frames=2))
    assert (source.info.width, source.info.height) == (85, 48)
    assert taken.kinds == ["square"]


def test_a_size_that_changes_midway_is_scaled_to_the_first_and_told_once(clips: Clips) -> None:
    small, large = clips.make("small.h264", size=(64, 48)), clips.make("large.h264", size=(128, 96))
    both = clips.folder / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes() + small.read_bytes())
    source, taken = drain(both)
    assert (source.info.width, source.info.height) == (64, 48)
    assert len(taken.filled) == 36
    assert taken.lumas == STEPS * 3
    assert taken.kinds.count("resized") == 1


def test_frames_as_large_as_8k_arrive(clips: Clips) -> None:
    path = clips.make("large.avi", size=(7680, 4320), frames=1, codec="mjpeg", pixels="yuvj420p")
    source, taken = drain(path)
    assert (source.info.width, source.info.height) == (7680, 4320)
    assert len(taken.filled) == 1


def test_two_frames_of_one_file_can_be_held_in_as_many_slots(clips: Clips) -> None:
    with_closing = Source(str(clips.make("plain.mp4")))
    pool = open_pool(with_closing, depth=2)
    first, second = with_closing.take(30), with_closing.take(30)
    assert [int(pool.slots[event.slot_index].source.y[0, 0]) for event in (first, second)] == STEPS[:2]  # type: ignore[union-attr]
    assert with_closing.take(0.2) is None  # a file waits: both slots are taken
    with_closing.close()
    pool.close()


def test_a_loop_goes_on_with_rising_times(clips: Clips) -> None:
    source, taken = drain(clips.make("plain.mp4"), SourceOptions(loop=True, frame_limit=30))
    assert taken.lumas == (STEPS * 3)[:30]
    assert [filled.index for filled in taken.filled] == list(range(30))
    steps = np.diff([filled.time.pts for filled in taken.filled])
    assert set(steps) == {round(1 / (25 * source.info.time_base))}
    rounds = [filled.time.pts for filled in taken.filled[:: len(STEPS)]]
    origins = [filled.time.origin for filled in taken.filled]
    assert origins == [begin - rounds[0] for begin in rounds for _ in STEPS][:30]


def test_a_limit_ends_the_stream_without_an_error(clips: Clips) -> None:
    _, taken = drain(clips.make("plain.mp4"), SourceOptions(frame_limit=5))
    assert taken.end is not None
    assert (taken.end.error, taken.end.frames) == (None, 5)


def test_a_background_is_scaled_into_the_format_asked_for(clips: Clips) -> None:
    wanted = FrameFormat(width=100, height=100, colour=Colour(Matrix.BT709, full_range=True))
    source, taken = drain(clips.make("plain.mp4"), SourceOptions(scale_to=wanted))
    assert source.info.format == wanted
    full = [round((value - 16) * 255 / 219) for value in STEPS]
    assert np.abs(np.array(taken.lumas) - full).max() <= 2


def test_slots_of_another_format_are_refused(clips: Clips) -> None:
    source = Source(str(clips.make("plain.mp4")))
    pool = SlotPool(format=FrameFormat(width=10, height=10), depth=1, arrays={}, alpha=False)
    with pytest.raises(InternalError):
        source.start(pool)
    source.close()
    pool.close()


def test_a_file_in_a_folder_with_odd_names_opens(clips: Clips, tmp_path: Path) -> None:
    data = clips.make("plain.mp4").read_bytes()
    for name in ("a:b 100%d.mp4", "ünï[1].mp4"):
        (tmp_path / name).write_bytes(data)
        _, taken = drain(tmp_path / name, keep=False)
        assert len(taken.filled) == 12, name


@pytest.mark.parametrize("name", ["pace_fps", "open_timeout_s", "stall_timeout_s", "frame_limit"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        SourceOptions(**{name: 0})
