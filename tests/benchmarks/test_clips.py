from __future__ import annotations

from pathlib import Path

import av
import pytest

from cutline.benchmarks.clips import RAW, open_clip, parse_size
from cutline.runtime.errors import BadInputError, NoInputError, StorageError, UsageError

SCENE = "synthetic://kiosk?seed=1&size=64x36&frames=3&fps=30"


def silent(text: str) -> None:
    """Hear nothing."""


@pytest.mark.parametrize(
    ("text", "size"), [("720p", (1280, 720)), ("4K", (3840, 2160)), ("640x360", (640, 360)), ("322x94", (322, 94))]
)
def test_sizes_have_names_and_numbers(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "640", "0x10", "640x", "9999x9999", "99999999999x64", "1e3x64", "640x360x3", "641x360"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_a_scene_becomes_a_clip_once(tmp_path: Path) -> None:
    told: list[str] = []
    first = open_clip(SCENE, told.append, tmp_path)
    made = first.path.stat().st_mtime_ns
    again = open_clip(SCENE, told.append, tmp_path)
    assert (first.info.width, first.info.height, first.info.frames) == (64, 36, 3)
    assert again.path == first.path
    assert again.path.stat().st_mtime_ns == made
    assert len(told) == 1


def test_other_sizes_are_made_once_and_the_own_size_is_the_clip_itself(tiny: Path, tmp_path: Path) -> None:
    told: list[str] = []
    clip = open_clip(str(tiny), told.append, tmp_path)
    assert clip.at_size((64, 36)) == tiny
    other = clip.at_size((128, 72))
    assert clip.at_size((128, 72)) == other
    assert len(told) == 1
    with av.open(str(other)) as video:
        frames = list(video.decode(video=0))
    assert [(f.width, f.height) for f in frames] == [(128, 72)] * 12


def test_frames_without_decoding_are_those_of_the_clip(tiny: Path, tmp_path: Path) -> None:
    raw = open_clip(str(tiny), silent, tmp_path).raw((64, 36))
    with av.open(str(raw)) as video, av.open(str(tiny)) as original:
        assert video.streams.video[0].codec_context.name == "rawvideo"
        planes = [f.to_ndarray() for f in video.decode(video=0)]
        whole = [f.to_ndarray() for f in original.decode(video=0)]
    assert len(planes) == RAW
    assert all((a == b).all() for a, b in zip(planes, whole, strict=False))


def test_a_still_is_the_first_frame(tiny: Path, tmp_path: Path) -> None:
    still = open_clip(str(tiny), silent, tmp_path).still((64, 36))
    with av.open(str(still)) as picture, av.open(str(tiny)) as video:
        found = next(picture.decode(video=0)).to_ndarray(format="rgb24")
        first = next(video.decode(video=0)).to_ndarray(format="rgb24")
    assert abs(found.astype(int) - first).max() <= 2


def test_a_clip_that_changes_is_made_anew(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(tiny.read_bytes())
    first = open_clip(str(copy), silent, tmp_path).raw()
    copy.write_bytes(tiny.read_bytes() + b"\0")
    assert open_clip(str(copy), silent, tmp_path).raw() != first


@pytest.mark.parametrize("given", ["-", "/dev/video0", "rtsp://camera/stream", "http://host/clip.mp4"])
def test_what_comes_at_its_own_pace_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="own pace"):
        open_clip(given, silent, tmp_path)


def test_an_endless_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="endless"):
        open_clip("synthetic://kiosk?frames=0&size=64x36", silent, tmp_path)


def test_a_missing_clip_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"missing\.mp4"):
        open_clip(str(tmp_path / "missing.mp4"), silent, tmp_path)


@pytest.mark.parametrize("data", [b"", b"no video at all" * 500])
def test_a_file_without_video_is_bad_data(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"in\.mp4"):
        open_clip(str(path), silent, tmp_path)


def test_nothing_half_made_is_left(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object) -> None:
        raise OSError("no space left on device")

    clip = open_clip(str(tiny), silent, tmp_path)
    monkeypatch.setattr("cutline.benchmarks.clips._encode", fail)
    with pytest.raises(StorageError, match="no space"):
        clip.at_size((128, 72))
    assert list(tmp_path.iterdir()) == []
