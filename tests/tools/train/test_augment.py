from __future__ import annotations

import numpy as np

from cutline.tools.train.augment import AugmentOptions, augment
from cutline.tools.train.pool import Composite

OPTIONS = AugmentOptions(width=64, height=32)


def scene() -> Composite:
    random = np.random.default_rng(1)
    plate = np.repeat(np.repeat(random.integers(40, 200, (9, 16, 3), np.uint8), 8, 0), 8, 1)
    frame, alpha = plate.copy(), np.zeros((72, 128), np.uint8)
    frame[20:50, 30:80], alpha[20:50, 30:80] = 255, 255
    return Composite(frame, plate, alpha)


def draw(look: int, noise: int, options: AugmentOptions = OPTIONS) -> Composite:
    return augment(scene(), options, np.random.default_rng(look), np.random.default_rng(noise))


def test_every_sample_has_the_size_of_the_input() -> None:
    for seed in range(20):
        found = draw(seed, 0)
        assert found.frame.shape == found.plate.shape == (32, 64, 3)
        assert found.alpha.shape == (32, 64)


def test_one_look_is_one_shot_under_any_noise() -> None:
    for seed in range(10):
        first, second = draw(seed, 1), draw(seed, 2)
        assert np.array_equal(first.alpha, second.alpha)
        assert np.abs(first.frame.astype(int) - second.frame).mean() < 25
    assert any(not np.array_equal(draw(s, 1).frame, draw(s, 2).frame) for s in range(10))


def test_the_same_draws_give_the_same_sample() -> None:
    assert np.array_equal(draw(4, 5).frame, draw(4, 5).frame)


def test_frame_and_matte_stay_together_when_flipped_and_cropped() -> None:
    options = AugmentOptions(width=64, height=32, noise=0)
    for seed in range(20):
        found = draw(seed, 0, options)
        inside, outside = found.frame[found.alpha > 250], found.frame[found.alpha == 0]
        if len(inside) and len(outside):
            assert inside.mean() > outside.mean() + 15


def test_the_plate_sometimes_does_not_quite_fit() -> None:
    options = AugmentOptions(width=64, height=32, noise=0, shift=2)
    still = AugmentOptions(width=64, height=32, noise=0, shift=0)
    assert any(not np.array_equal(draw(s, 0, options).plate, draw(s, 0, still).plate) for s in range(20))


def test_crops_are_laid_around_outlines() -> None:
    alpha = np.zeros((72, 128), np.uint8)
    alpha[40:52, 100:112] = 255
    small = Composite(scene().frame, scene().plate, alpha)

    def seen(outlined: float) -> int:
        options = AugmentOptions(width=64, height=32, noise=0, whole=0, smallest_crop=0.3, outlined=outlined)
        looks = [augment(small, options, np.random.default_rng(k), np.random.default_rng(0)) for k in range(60)]
        return sum(bool(found.alpha.any()) for found in looks)

    assert seen(1.0) >= 55  # an outline at the very rim of its crop may go under when that is made smaller
    assert seen(0.0) <= 45


def test_a_picture_without_goods_is_cropped_anywhere() -> None:
    empty = Composite(scene().plate, scene().plate, np.zeros((72, 128), np.uint8))
    options = AugmentOptions(width=64, height=32, whole=0.0, outlined=1.0)
    found = augment(empty, options, np.random.default_rng(1), np.random.default_rng(2))
    assert found.alpha.shape == (32, 64)
    assert not found.alpha.any()
