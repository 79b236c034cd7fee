from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cutline.runtime.contract import Image
from cutline.runtime.frame import Colour, Matrix
from cutline.runtime.plate import tensor_from_codes
from cutline.runtime.plate_learning import PlateLearner

WIDTH, HEIGHT = 48, 32


@pytest.mark.parametrize("matrix", list(Matrix))
@pytest.mark.parametrize("full", [False, True])
def test_codes_of_known_colours_become_their_rgb(matrix: Matrix, full: bool) -> None:
    from cutline.runtime.background import rgb_to_codes

    colour = Colour(matrix, full)
    for rgb in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (120, 60, 200)):
        codes = np.array(rgb_to_codes(rgb, colour), np.uint8).reshape(3, 1, 1)
        tensor = tensor_from_codes(codes, Image(tensor="x", width=1, height=1), colour)
        np.testing.assert_allclose(tensor.ravel() * 255, rgb, atol=2.5)


def test_normalisation_order_and_layout_are_the_contracts() -> None:
    codes = np.array([235, 128, 128], np.uint8).reshape(3, 1, 1)
    image = Image(tensor="x", width=1, height=1, layout="NHWC", order="BGR", mean=(0.1, 0.2, 0.3), std=(1, 2, 4))
    tensor = tensor_from_codes(codes, image, Colour())
    assert tensor.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(tensor.ravel(), [0.7 / 4, 0.8 / 2, 0.9], atol=1e-3)


def shelf(goods: dict[int, int], rng: np.random.Generator, light: float = 1.0) -> tuple[Any, Any]:
    """A picture with goods (column: brightness) standing on it, and what a plate-less network makes of it."""
    codes = np.full((3, HEIGHT, WIDTH), 128, np.float32)
    codes[0] = 100 + np.linspace(0, 40, WIDTH)
    matte = np.zeros((HEIGHT, WIDTH), np.float32)
    for column, brightness in goods.items():
        codes[0, 8:24, column : column + 8] = brightness
        codes[1, 8:24, column : column + 8] = 180
        matte[8:24, column : column + 8] = 0.5
    codes[0] *= light
    noisy = codes + rng.normal(0, 1.5, codes.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), matte


def test_a_scene_that_is_never_empty_all_at_once_is_learnt_empty() -> None:
    rng = np.random.default_rng(2)
    learner = PlateLearner(WIDTH, HEIGHT)
    for moment in range(60):
        goods = {4: 60} if moment < 52 else {}  # the left one stands for most of the time
        if moment >= 8:
            goods[30] = 200
        learner.add(*shelf(goods, rng))
    empty, _ = shelf({}, np.random.default_rng(3))
    difference = np.abs(learner.plate().astype(int) - empty)
    assert difference.max() <= 10
    assert difference.mean() < 2


def test_goods_that_never_left_are_counted_as_doubtful_and_those_that_did_are_not() -> None:
    rng = np.random.default_rng(6)
    left, stayed = PlateLearner(WIDTH, HEIGHT), PlateLearner(WIDTH, HEIGHT)
    for moment in range(40):
        left.add(*shelf({4: 60} if moment < 30 else {}, rng))
        stayed.add(*shelf({4: 60}, rng))
    left.plate()
    stayed.plate()
    assert left.doubtful == 0
    assert stayed.doubtful == pytest.approx(8 * 16 / (WIDTH * HEIGHT), rel=0.01)


def test_a_change_of_exposure_is_no_change_of_scene() -> None:
    rng = np.random.default_rng(4)
    learner = PlateLearner(WIDTH, HEIGHT)
    for moment in range(40):
        learner.add(*shelf({4: 60} if moment < 35 else {}, rng, light=1 + 0.15 * moment / 40))
    empty, _ = shelf({}, np.random.default_rng(5))
    assert np.abs(learner.plate().astype(int) - empty).mean() < 4
