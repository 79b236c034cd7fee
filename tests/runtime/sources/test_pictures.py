"""Pictures: folders and globs as sources, orientation as the camera was held, and backgrounds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.runtime.frame import Colour, FrameFormat, Matrix
from cutline.runtime.sources import load_picture

from .conftest import drain, encode_picture


def quarters(width: int = 64, height: int = 32) -> NDArray[np.uint8]:
    """Grey quarters: 40 and 90 above, 140 and 200 below."""
    small = np.array([[40, 90], [140, 200]], np.uint8)
    grey = np.kron(small, np.ones((height // 2, width // 2), np.uint8))
    return np.repeat(grey[..., None], 3, -1)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an Exif block with that orientation into a JPEG. Source: Exif 2.3, 4.6.4."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


UPRIGHT = {  # how the stored picture looks once it stands as Exif says
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a),
}


def middles(luma: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The four quarters' values."""
    height, width = luma.shape
    return luma[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].astype(np.int64)


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_a_photo_stands_as_its_camera_was_held(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_orientation(encode_picture(quarters(), ".jpg"), orientation))
    source, taken = drain(path)
    expected = UPRIGHT[orientation](np.array([[40, 90], [140, 200]]))
    assert (source.info.width, source.info.height) == ((64, 32) if orientation < 5 else (32, 64))
    assert np.abs(middles(taken.pictures[0][0]) - expected).max() <= 3
    planes = load_picture(path, source.info.format)
    assert np.abs(middles(planes.y) - expected).max() <= 3


def test_each_photo_of_a_folder_is_turned_by_itself(tmp_path: Path) -> None:
    for number, orientation in enumerate((1, 3, 2, 1)):
        data = with_orientation(encode_picture(quarters(), ".jpg"), orientation)
        (tmp_path / f"{number}.jpg").write_bytes(data)
    _, taken = drain(tmp_path)
    for picture, orientation in zip(taken.pictures, (1, 3, 2, 1), strict=True):
        expected = UPRIGHT[orientation](np.array([[40, 90], [140, 200]]))
        assert np.abs(middles(picture[0]) - expected).max() <= 3


def test_a_folder_is_a_stream_of_its_pictures(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        rgb = np.full((24, 32, 3), 10 * number, np.uint8)
        (tmp_path / f"shot{number}.png").write_bytes(encode_picture(rgb, ".png"))
    source, taken = drain(tmp_path)
    assert source.info.format == FrameFormat(width=32, height=24, colour=Colour(Matrix.BT709, full_range=False))
    assert (source.info.frames, source.info.frame_rate, source.info.live) == (3, 25, False)
    assert taken.lumas == [round(16 + 219 * 10 * n / 255) for n in (1, 2, 10)]
    assert [filled.time.pts for filled in taken.filled] == [0, 1, 2]


def test_pictures_of_other_sizes_and_kinds_take_the_format_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encode_picture(np.full((24, 32, 3), 200, np.uint8), ".png"))
    (tmp_path / "2.jpg").write_bytes(encode_picture(np.full((64, 64, 3), 200, np.uint8), ".jpg"))
    source, taken = drain(tmp_path)
    assert (source.info.width, source.info.height) == (32, 24)
    assert np.abs(np.array(taken.lumas) - round(16 + 219 * 200 / 255)).max() <= 2
    assert taken.kinds == ["resized"]


def test_a_name_with_a_percent_sign_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "shot-%05d.png"
    path.write_bytes(encode_picture(quarters(), ".png"))
    _, taken = drain(path)
    assert len(taken.filled) == 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(Matrix))
def test_a_background_takes_the_colour_and_shape_of_the_stream(
    tmp_path: Path, matrix: Matrix, full_range: bool
) -> None:
    path = tmp_path / "brand.png"
    rgb = np.zeros((40, 120, 3), np.uint8)
    rgb[:] = (200, 60, 30)
    rgb[:, :30] = rgb[:, 90:] = 0  # cut away: 120x40 fills a square with its middle
    path.write_bytes(encode_picture(rgb, ".png"))
    planes = load_picture(path, FrameFormat(width=64, height=64, colour=Colour(matrix, full_range)))
    kr, kb = matrix.kr_kb
    red, green, blue = 200 / 255, 60 / 255, 30 / 255
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    scale, lift, spread = (255, 0, 255) if full_range else (219, 16, 224)
    expected = (lift + scale * luma, 128 + spread * cb, 128 + spread * cr)
    assert planes.y.shape == (64, 64)
    for plane, value in zip((planes.y, planes.u, planes.v), expected, strict=True):
        assert np.abs(plane.astype(float) - value).max() <= 2


def test_odd_sizes_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "brand.png"
    path.write_bytes(encode_picture(quarters(), ".png"))
    planes = load_picture(path, FrameFormat(width=63, height=47))
    assert (planes.y.shape, planes.u.shape) == ((47, 63), (24, 32))


@pytest.mark.parametrize(("size", "fits"), [((64, 48), True), ((128, 96), True), ((64, 47), False), ((48, 64), False)])
def test_a_picture_that_must_be_whole_is_not_cut_to_another_shape(
    tmp_path: Path, size: tuple[int, int], fits: bool
) -> None:
    path, form = tmp_path / "plate.png", FrameFormat(width=640, height=480)
    path.write_bytes(encode_picture(np.full((size[1], size[0], 3), 90, np.uint8), ".png"))
    load_picture(path, form)
    if fits:
        load_picture(path, form, whole=True)
    else:
        with pytest.raises(BadInputError, match=f"another shape than the frames.*{size[0]}x{size[1]}.*640x480"):
            load_picture(path, form, whole=True)


def test_a_background_that_is_missing_or_no_picture(tmp_path: Path) -> None:
    form = FrameFormat(width=64, height=48)
    with pytest.raises(NoInputError):
        load_picture(tmp_path / "gone.png", form)
    for name, data in (("empty.png", b""), ("words.png", b"words " * 100), ("words.txt", b"words " * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInputError) as caught:
            load_picture(tmp_path / name, form)
        assert "\n" not in str(caught.value)
