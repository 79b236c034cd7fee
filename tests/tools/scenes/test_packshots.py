"""Packshots: keyed from white with a soft edge, split by file name, bad folders named for what they are."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.tools.scenes import make_scene
from cutline.tools.scenes.packshots import (
    key_from_white,
    load_packshots,
    load_photographs,
    read_picture,
    shows_hands,
)
from cutline.tools.scenes.seeds import in_split
from cutline.tools.scenes.shot import U8


def _packshot(colour: tuple[int, int, int] = (200, 30, 40), size: int = 120) -> U8:
    picture = np.full((size * 4, size * 4, 3), 255, np.uint8)
    cv2.circle(picture, (size * 2, size * 2), size + 20, colour, -1)
    cv2.circle(picture, (size * 2, size * 2), size // 3, (250, 250, 250), -1)  # white print inside
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def _fill(folder: Path, count: int = 12) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        picture = _packshot((20 * number % 200, 60, 200 - 15 * number))
        cv2.imwrite(str(folder / f"good-{number:02d}.png"), picture[..., ::-1])
    return folder


def test_a_product_on_white_is_cut_out_whole_with_a_soft_clean_edge() -> None:
    cut = key_from_white(_packshot())
    assert cut is not None
    colour, alpha = cut
    radius = 35.0
    assert alpha.shape[0] == pytest.approx(2 * radius, abs=2)
    assert alpha.sum() == pytest.approx(np.pi * radius**2, rel=0.04)
    middle = alpha.shape[0] // 2
    assert alpha[middle, middle] == 1, "white print inside belongs to the product"
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert edge.any()
    assert np.abs(colour[edge] - np.array([200, 30, 40]) / 255).max() < 0.1, "no white is left in the edge"


def test_white_packaging_that_touches_the_white_is_not_eaten() -> None:
    picture = np.full((200, 200, 3), 255, np.uint8)
    picture[40:160, 60:140] = (40, 60, 160)
    picture[40:160, 110:140] = 250  # a white side face
    picture[40:44, 60:140] = picture[156:160, 60:140] = (40, 60, 160)
    cut = key_from_white(picture)
    assert cut is not None
    assert cut[1].sum() == pytest.approx(120 * 80, rel=0.08)


@pytest.mark.parametrize(
    "picture",
    [
        np.full((60, 60, 3), 255, np.uint8),
        np.full((60, 60, 3), 30, np.uint8),
        np.random.default_rng(1).integers(0, 255, (60, 60, 3), np.uint8),
    ],
    ids=["empty", "dark", "busy"],
)
def test_pictures_without_a_background_to_key_give_nothing(picture: U8) -> None:
    assert key_from_white(picture) is None


def test_every_file_is_in_one_split_alone(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "products", 15)
    train, test = load_packshots(folder, "train"), load_packshots(folder, "test")
    assert len(train) + len(test) == 15
    assert len(test) == sum(in_split(f"good-{number:02d}", "test") for number in range(15))


def test_packshots_are_composed_on_photographs(tmp_path: Path) -> None:
    products, scenes = _fill(tmp_path / "products"), _fill(tmp_path / "scenes")
    scene = make_scene("packshots", seed=5, width=128, height=72, products=products, scenes=scenes)
    first, later = scene.shot(0), scene.shot(10)
    again = make_scene("packshots", seed=5, width=128, height=72, products=products, scenes=scenes)
    assert np.array_equal(again.shot(10).rgb, later.rgb)
    tags = frozenset().union(
        *(
            make_scene("packshots", seed=seed, width=128, height=72, products=products, scenes=scenes).shot(0).tags
            for seed in range(8)
        )
    )
    assert {"packshot", "photograph"} <= tags
    assert first.alpha.shape == (72, 128)


def test_folders_that_cannot_be_used_are_named_for_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        load_packshots(tmp_path / "nowhere", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no picture for the train split"):
        load_photographs(tmp_path / "empty", "train")
    broken = _fill(tmp_path / "broken")
    victim = next(name for name in (f"z{n}" for n in range(99)) if in_split(name, "train"))
    (broken / f"{victim}.jpg").write_bytes(b"not a picture")
    with pytest.raises(BadInputError, match=f"1 picture cannot be read: {victim}.jpg"):
        load_photographs(broken, "train")
    (broken / f"{victim}.jpg").write_bytes(b"")
    with pytest.raises(BadInputError, match=f"1 picture cannot be read: {victim}.jpg"):
        load_packshots(broken, "train")
    unfit = _fill(tmp_path / "unfit")
    cv2.imwrite(str(unfit / f"{victim}.png"), np.full((50, 50, 3), 40, np.uint8))
    with pytest.raises(BadInputError, match=f"1 picture without a plain white background to key: {victim}.png"):
        load_packshots(unfit, "train")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_packshots_on_nothing_are_keyed_as_if_on_white(tmp_path: Path, kind: type) -> None:
    full = np.iinfo(kind).max
    picture = np.zeros((80, 80, 4), kind)  # transparent black around
    cv2.circle(picture, (40, 40), 20, (full // 5, full // 4, full // 2, full), -1)
    cv2.imwrite(str(tmp_path / "good.png"), picture)
    found = read_picture(tmp_path / "good.png")
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.abs(found[40, 40].astype(int) - (127, 63, 51)).max() <= 1
    cut = key_from_white(found)
    assert cut is not None
    assert cut[1].shape == pytest.approx((41, 41), abs=2)


def test_all_files_that_cannot_be_read_are_named_at_once_and_folders_are_no_files(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "goods")
    one, two, three, four = [f"z{n}" for n in range(99) if in_split(f"z{n}", "train")][:4]
    (folder / f"{one}.jpg").symlink_to(tmp_path / "gone")
    (folder / f"{two}.png").write_bytes(_png_header(60_000, 60_000))
    (folder / f"{three}.jpg").write_bytes(b"no")
    (folder / f"{four}.jpg").mkdir()
    with pytest.raises(BadInputError, match=f"3 pictures cannot be read: {one}.jpg, {two}.png, {three}.jpg "):
        load_packshots(folder, "train")


def _png_header(width: int, height: int) -> bytes:
    """A PNG that promises more pixels than fit anywhere."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_hands_are_found_by_their_skin() -> None:
    rng = np.random.default_rng(3)
    plain = np.clip(rng.normal((90, 110, 120), 6, (120, 160, 3)), 0, 255).astype(np.uint8)
    assert not shows_hands(plain)
    held = plain.copy()
    held[50:120, 40:90] = (205, 150, 120)
    assert shows_hands(held)
