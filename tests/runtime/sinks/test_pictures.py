"""A PNG per frame: numbers, colours, alpha."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from cutline.runtime.errors import OutputError, UsageError
from cutline.runtime.frame import Colour, Matrix
from cutline.runtime.sinks import describe_sink, open_sink


def pixels(path: Path) -> Any:
    """The picture as stored: uint8[H, W, 3 or 4]."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name in ("rgb24", "rgba")
        return frame.to_ndarray()


def rgb_of(y: NDArray[np.uint8], u: NDArray[np.uint8], v: NDArray[np.uint8], colour: Colour) -> Any:
    """Float RGB of one luma and chroma value each. Source: ITU-R BT.601-7, BT.709-6, BT.2020-2."""
    kr, kb = colour.matrix.kr_kb
    luma, blue, red = y.astype(float), u.astype(float) - 128, v.astype(float) - 128
    if not colour.full_range:
        luma, blue, red = (luma - 16) * 255 / 219, blue * 255 / 224, red * 255 / 224
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return np.stack([r, (luma - kr * r - kb * b) / (1 - kr - kb), b], axis=-1).clip(0, 255)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(Matrix))
def test_colours_are_those_of_the_planes(
    clip: Any, store: Any, tmp_path: Path, matrix: Matrix, full_range: bool
) -> None:
    colour = Colour(matrix, full_range)
    made = clip(count=1, colour=colour)
    store(made, tmp_path / "out-%05d.png")
    shown = pixels(tmp_path / "out-00000.png")
    planes = made.frame(0).composite
    chroma_rows = np.linspace(70, 180, planes.v.shape[0])[planes.v.shape[0] // 2]
    row = 2 * (planes.v.shape[0] // 2)
    expected = rgb_of(planes.y[row, ::2], planes.u[0], np.full_like(planes.u[0], chroma_rows), colour)
    assert np.abs(shown[row, ::2, :3] - expected)[2:-2].max() < 4


@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 63), (33, 17)])
def test_alpha_is_exact_and_any_size_is_kept(clip: Any, store: Any, tmp_path: Path, width: int, height: int) -> None:
    made = clip(width=width, height=height, count=3)
    report = store(made, tmp_path / "out-%05d.png")
    for index in range(3):
        assert np.array_equal(pixels(tmp_path / f"out-{index:05d}.png")[..., 3], made.alpha())
    assert report["frames"] == 3
    assert report["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_pictures_with_a_background_have_no_alpha(clip: Any, store: Any, tmp_path: Path) -> None:
    store(clip(count=1), tmp_path / "out-%d.png", transparent=False)
    assert pixels(tmp_path / "out-0.png").shape[2] == 3


def test_a_folder_is_made_and_filled(clip: Any, store: Any, tmp_path: Path) -> None:
    store(clip(count=3), f"{tmp_path}/shots/")
    assert sorted(path.name for path in (tmp_path / "shots").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert describe_sink(str(tmp_path / "shots")).kind == "pictures"


def test_numbers_are_those_of_the_frames(clip: Any, tmp_path: Path) -> None:
    made = clip(count=9)
    sink = open_sink(str(tmp_path / "out-%03d.png"), made.info)
    for index in (0, 4, 8):
        sink.write(made.frame(index))
    sink.close(complete=True)
    sink.close(complete=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-000.png", "out-004.png", "out-008.png"]


def test_pictures_of_a_live_source_follow_those_of_earlier_runs(clip: Any, tmp_path: Path) -> None:
    (tmp_path / "out-notes.png").touch()
    made = clip(count=3, changes={"live": True})
    for first in (0, 2):
        sink = open_sink(str(tmp_path / "out-%02d.png"), made.info)
        for index in (0, 1):
            sink.write(made.frame(index))
        sink.close(complete=False)  # as when the device was lost: another process goes on
        earlier = [f"{tmp_path / 'out-%02d.png'} begins at number {first}, after earlier pictures"] if first else []
        assert sink.report()["notices"] == earlier
    assert sorted(p.name for p in tmp_path.glob("out-0*")) == [f"out-{number:02d}.png" for number in range(4)]


def test_a_frame_may_be_overwritten_as_soon_as_write_returns(clip: Any, tmp_path: Path) -> None:
    made = clip(count=6)
    sink = open_sink(str(tmp_path / "%d.png"), made.info)
    for index in range(6):
        frame = replace(made.frame(index), alpha=np.full((64, 96), 40 * index, np.uint8))
        sink.write(frame)
        assert frame.alpha is not None
        frame.alpha[:] = 255
    sink.close(complete=True)
    assert [int(pixels(tmp_path / f"{index}.png")[0, 0, 3]) for index in range(6)] == [0, 40, 80, 120, 160, 200]


@pytest.mark.parametrize("name", ["out.png", "out-%05d-%d.png", "out-%s.png", "100%-%d.png"])
def test_a_name_without_one_number_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="needs a number in its name"):
        describe_sink(name)


def test_a_folder_that_cannot_be_made_is_an_output_error(clip: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for spec in (f"{tmp_path}/missing/deeper/", f"{tmp_path}/file/shots/"):
        with pytest.raises(OutputError):
            open_sink(spec, clip().info)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_an_output_error(clip: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot create the output"):
        open_sink(f"{tmp_path}/", clip().info)
    tmp_path.chmod(0o700)
