from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.contract import Image
from cutline.runtime.frame import Colour, Timestamp
from cutline.runtime.plate import PlateKeeper, tensor_from_codes
from cutline.runtime.plate_fit import empty_part, relit, shift_of
from cutline.runtime.plate_learning import PlateLearner

HEIGHT, WIDTH = 72, 128
Codes = NDArray[Any]


def scene(seed: int = 1) -> Codes:
    """float32[3, 72, 128]: a place with edges and a little colour, codes 30..200."""
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(40, 190, (HEIGHT // 8 + 2, WIDTH // 8 + 2)).repeat(8, 0).repeat(8, 1)
    codes = np.full((3, *blocks.shape), 128.0, np.float32)
    codes[0], codes[1] = blocks, 120 + blocks / 12
    return codes


def part(codes: Codes, right: int = 0, down: int = 0) -> Codes:
    """The scene, lying so far right and down of where it was."""
    return codes[:, 8 - down : 8 - down + HEIGHT, 8 - right : 8 - right + WIDTH]


def seen(codes: Codes, seed: int = 0) -> NDArray[np.uint8]:
    noisy = codes + np.random.default_rng(seed).normal(0, 2, codes.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def goods(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture with something that covers a third of it, and the matte of that."""
    picture, matte = picture.copy(), np.zeros((HEIGHT, WIDTH), np.float32)
    stripes = np.arange(WIDTH // 3) % 5 * 40
    picture[0, 8:, 20 : 20 + WIDTH // 3] = stripes
    matte[8:, 20 : 20 + WIDTH // 3] = 1
    return picture, matte


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -2), (8, 4), (-6, 8)])
def test_a_moved_camera_is_found_and_by_how_much(right: int, down: int) -> None:
    picture, matte = goods(seen(part(scene(), right, down)))
    found = shift_of(part(scene()), picture, empty_part(matte))
    assert found is not None
    assert np.abs(np.subtract(found, (right, down))).max() <= 1


def test_goods_noise_another_light_and_a_place_without_detail_are_no_movement() -> None:
    plate = part(scene())
    flat = np.full_like(plate, 120)
    dim = plate.copy()
    dim[0] = 16 + (plate[0] - 16) * 0.6
    other = part(scene(seed=9))  # another place, or something before all of it
    for known, codes in ((plate, plate), (plate, dim), (flat, flat), (plate, flat), (plate, other)):
        picture, matte = goods(seen(codes))
        for empty in (empty_part(matte), np.ones((HEIGHT, WIDTH), np.bool_)):
            assert shift_of(known, picture, empty) is None


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.2])
def test_a_switched_light_is_followed_at_once(gain: float) -> None:
    plate = part(scene())
    lit = plate.copy()
    lit[0], lit[1:] = 16 + (plate[0] - 16) * gain, 128 + (plate[1:] - 128) * gain
    lit[2] += 9  # and warmer
    picture, matte = goods(seen(lit))
    found = relit((plate, plate), picture, empty_part(matte), black=16)
    assert found is not None
    assert np.abs(found - np.clip(lit, 0, 255)).mean() < 2


def test_what_is_no_other_light_is_left_alone() -> None:
    plate = part(scene())
    same, matte = goods(seen(plate))
    assert relit((plate, plate), same, empty_part(matte), black=16) is None
    other = seen(part(scene(seed=9)))
    assert relit((plate, plate), other, np.ones((HEIGHT, WIDTH), np.bool_), black=16) is None
    wall = np.full((3, HEIGHT, WIDTH), 90, np.uint8)  # a box that fills the view, and a matte that shows nothing else
    assert relit((plate, plate), seen(wall), np.ones((HEIGHT, WIDTH), np.bool_), black=16) is None


class Path:
    plate: Codes = np.zeros(1)

    def set_plate(self, tensor: Codes) -> None:
        self.plate = tensor


def test_a_keeper_tells_once_that_the_camera_moved_and_again_after_it_was_back() -> None:
    told: list[str] = []
    image = Image(tensor="plate", width=WIDTH, height=HEIGHT)
    keeper = PlateKeeper(seen(part(scene())), image, Colour(), Path(), told.append)  # type: ignore[arg-type]
    matte = np.ones((HEIGHT, WIDTH), np.float32)  # nothing is empty: nothing is adapted to
    counts = []
    for second, right in enumerate([0, 6, 0, 6, 6, 6, 6, 6, 0, 6, 6, 6]):
        keeper.adapt(seen(part(scene(), right), second), matte, Timestamp(second, Fraction(1), 0))
        counts.append(len(told))
    assert counts == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
    assert "+6 pixels right and +0 down" in told[0]


def test_a_keeper_follows_a_switched_light_within_one_look() -> None:
    path, image = Path(), Image(tensor="plate", width=WIDTH, height=HEIGHT)
    keeper = PlateKeeper(seen(part(scene())), image, Colour(), path, [].append)  # type: ignore[arg-type]
    before = path.plate.mean()
    dim = part(scene()).copy()
    dim[0] = 16 + (dim[0] - 16) * 0.5
    keeper.adapt(seen(dim), np.full((HEIGHT, WIDTH), 0.1, np.float32), Timestamp(0, Fraction(1), 0))
    assert path.plate.mean() < 0.6 * before


@pytest.mark.parametrize("dusk", [[1.0] * 3 + [0.5] * 3 + [0.2] * 3 + [0.05] * 3, [1 - k / 200 for k in range(200)]])
def test_a_keeper_finds_the_scene_again_when_the_light_comes_back_after_a_night(dusk: list[float]) -> None:
    path, image = Path(), Image(tensor="plate", width=WIDTH, height=HEIGHT)
    plate = part(scene())
    keeper = PlateKeeper(seen(plate), image, Colour(), path, [].append)  # type: ignore[arg-type]
    before = path.plate
    for second, gain in enumerate([*dusk, *[0.0] * 60, 1.0, 1.0]):
        lit = plate.copy()
        lit[0], lit[1:] = 16 + (plate[0] - 16) * gain, 128 + (plate[1:] - 128) * gain
        picture = seen(lit, second)
        misfit = np.abs(tensor_from_codes(picture, image, Colour()) - path.plate)[0].mean(axis=0)
        goods_seen = (misfit > 0.08).astype(np.float32)  # what a network would make of a plate that does not fit
        keeper.adapt(picture, goods_seen, Timestamp(second, Fraction(1), 0))
    assert np.abs(path.plate - before).mean() < 0.02


def test_a_scene_under_noise_is_found_again_though_the_matte_calls_none_of_it_empty() -> None:
    plate = cv2.GaussianBlur(part(scene())[0], (5, 5), 0)[None].repeat(3, 0)  # an unsharp camera
    plate[1:] = 128
    picture, _ = goods(
        np.clip(seen(plate) + np.random.default_rng(8).normal(0, 6, plate.shape), 0, 255).astype(np.uint8)
    )
    found = relit((np.full_like(plate, 17), plate), picture, np.ones((HEIGHT, WIDTH), np.bool_), black=16)
    assert found is not None
    assert np.abs(found - plate).mean() < 4


def test_a_light_that_saturates_most_of_the_picture_is_followed() -> None:
    plate = part(scene())
    lit = plate.copy()
    lit[0] = np.minimum(16 + (plate[0] - 16) * 2.8, 235)
    picture, matte = goods(seen(lit))
    assert np.mean(picture[0][matte == 0] >= 232) > 0.5
    found = relit((plate, plate), np.minimum(picture, 235), empty_part(matte), black=16)
    assert found is not None
    assert np.abs(np.minimum(found, 235) - lit).mean() < 4


@pytest.mark.parametrize(("right", "moved"), [(0, False), (6, True)])
def test_a_learner_tells_that_the_camera_moved_while_it_learnt(right: int, moved: bool) -> None:
    learner = PlateLearner(WIDTH, HEIGHT)
    for moment in range(16):
        learner.add(*goods(seen(part(scene(), right if moment >= 8 else 0), moment)))
    assert learner.moved is moved
