"""Measures against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cutline.tools.evaluate import metrics


def square(side: int = 16, low: int = 4, high: int = 12) -> np.ndarray:
    matte = np.zeros((side, side), np.float32)
    matte[low:high, low:high] = 1
    return matte


def test_iou_and_f1_of_two_overlapping_rows() -> None:
    found, wanted = np.zeros((2, 1, 6), np.float32)
    found[0, 0:4], wanted[0, 2:6] = 1, 1  # 2 shared, 6 in the union
    assert metrics.iou(found, wanted) == pytest.approx(2 / 6)
    assert metrics.f1(found, wanted) == pytest.approx(4 / 8)


def test_iou_counts_exactly_a_half_as_covered() -> None:
    wanted = np.array([[1.0, 0.0]], np.float32)
    assert metrics.iou(np.array([[0.5, 0.49]], np.float32), wanted) == 1.0


def test_iou_of_nothing_found_where_nothing_is_is_one() -> None:
    empty = np.zeros((3, 3), np.float32)
    assert metrics.iou(empty, empty) == 1.0
    assert metrics.f1(empty, empty) == 1.0


def test_iou_ignores_what_is_outside_the_mask() -> None:
    found, wanted = np.ones((1, 4), np.float32), np.array([[1, 1, 0, 0]], np.float32)
    assert metrics.iou(found, wanted, wanted > 0) == 1.0


def test_sums_and_means_of_a_known_difference() -> None:
    found, wanted = np.full((10, 20), 0.75, np.float32), np.full((10, 20), 0.25, np.float32)
    assert metrics.sad(found, wanted) == pytest.approx(0.1)  # 200 pixels * 0.5 / 1000
    assert metrics.mad(found, wanted) == pytest.approx(0.5)
    assert metrics.mse(found, wanted) == pytest.approx(0.25)


def test_grad_of_a_ramp_against_flat_is_the_known_slope() -> None:
    ramp = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (101, 1))
    flat = np.zeros_like(ramp)
    at = np.arange(-4, 5)
    bell = np.exp(-(at**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
    slope = -at * bell / 1.4**2
    answer = abs((bell.sum() * (slope * at).sum()) / np.sqrt((np.outer(bell, slope) ** 2).sum()) * 0.01)
    inner = np.s_[10:-10, 10:-10]
    found = metrics._gradient(ramp)[inner]
    assert found == pytest.approx(np.full_like(found, answer), rel=1e-3)
    assert metrics.grad(flat, flat) == 0.0
    assert metrics.grad(ramp, flat) == pytest.approx(answer**2 * 101 * 101 / 1000, rel=0.1)  # edges are flatter


def test_conn_punishes_an_island_and_not_the_body() -> None:
    wanted = square()
    island = wanted.copy()
    island[0, 0] = 1  # cut off from the body: connected at no level, so its whole alpha counts
    assert metrics.conn(wanted, wanted) == 0.0
    assert metrics.conn(island, wanted) == pytest.approx(1 / 1000)


def test_conn_forgives_a_small_step() -> None:
    wanted = square()
    fainter = wanted.copy()
    fainter[6, 6] = 0.95  # connected up to 0.9, and both mattes are within the slack of 0.15 of that
    assert metrics.conn(fainter, wanted) == pytest.approx(0.0)


def test_boundary_band_reaches_one_pixel_to_each_side_of_a_small_square() -> None:
    band = metrics.boundary_band(square(32, 8, 24))
    assert band[16, 7]
    assert band[16, 8]
    assert not band[16, 6]
    assert not band[16, 9]


def test_boundary_band_of_transparent_goods_is_their_outline_and_not_their_inside() -> None:
    band = metrics.boundary_band(square(32, 8, 24) * 0.3)
    assert band[16, 8]
    assert not band[16, 16]


def test_band_mad_of_an_empty_picture_is_nothing() -> None:
    empty = np.zeros((8, 8), np.float32)
    assert metrics.band_mad(empty, empty) is None


def test_psnr_of_a_known_error() -> None:
    one, two = np.zeros((4, 4, 3), np.float32), np.full((4, 4, 3), 0.1, np.float32)
    assert metrics.psnr(one, two) == pytest.approx(20.0, abs=1e-4)
    assert metrics.psnr(one, one) == 100.0


def test_ssim_is_one_for_equal_pictures_and_follows_the_formula_for_flat_ones() -> None:
    dark, light = np.full((32, 32, 3), 0.2, np.float32), np.full((32, 32, 3), 0.6, np.float32)
    assert metrics.ssim(dark, dark) == pytest.approx(1.0)
    formula = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert metrics.ssim(dark, light) == pytest.approx(formula, rel=1e-3)


def test_dtssd_sees_flicker_and_not_a_constant_error() -> None:
    truth = np.zeros((3, 4, 4), np.float32)
    assert metrics.dtssd(truth + 0.3, truth) == pytest.approx(0.0)
    flicker = truth.copy()
    flicker[1] = 0.2  # up and down again: both steps change every pixel by 0.2
    assert metrics.dtssd(flicker, truth) == pytest.approx(0.2)


def test_dtssd_forgives_change_that_the_truth_has_too() -> None:
    truth = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    assert metrics.dtssd(truth, truth) == 0.0


def test_compose_mixes_straight_colour_and_backdrop() -> None:
    picture = metrics.compose(
        np.full((1, 1, 3), 1.0, np.float32), np.full((1, 1), 0.25, np.float32), np.array([0.0, 0.4, 1.0], np.float32)
    )
    assert picture[0, 0].tolist() == pytest.approx([0.25, 0.55, 1.0])
