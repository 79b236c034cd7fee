from __future__ import annotations

import pytest
import torch

from cutline.tools.train.losses import LossWeights, composition, laplacian, matte_loss, overlap, temporal

ONLY_TEMPORAL = LossWeights(entropy=0, alpha=0, laplacian=0, composition=0, overlap=0, temporal=1)


def test_laplacian_of_equal_mattes_is_zero_and_of_others_is_not() -> None:
    matte = torch.rand(1, 1, 32, 32)
    assert laplacian(matte, matte) == 0
    assert laplacian(matte, matte.flip(3)) > 0


def test_laplacian_forgives_a_constant_shift_but_not_a_blurred_edge() -> None:
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 16:] = 1
    soft = torch.nn.functional.avg_pool2d(edge, 5, 1, 2, count_include_pad=False)
    assert laplacian(edge * 0 + 0.2, edge * 0) == pytest.approx(0, abs=1e-6)
    assert laplacian(soft, edge) > 0.001


def test_composition_is_blind_where_frame_and_backdrop_are_alike() -> None:
    wrong, right = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    frame = torch.full((1, 3, 4, 4), 0.3)
    assert composition(wrong, right, frame, torch.full((1, 3, 1, 1), 0.3)) == 0
    assert composition(wrong, right, frame, torch.full((1, 3, 1, 1), 0.8)) == pytest.approx(0.5)


def test_overlap_is_zero_for_equal_mattes_and_counts_a_small_good_as_much_as_a_large_one() -> None:
    matte = torch.rand(1, 1, 64, 64)
    assert overlap(matte, matte) == pytest.approx(0, abs=1e-6)
    lost = {}
    for side in (16, 48):
        target = torch.zeros(1, 1, 64, 64)
        target[..., :side, :side] = 1
        half = target.clone()
        half[..., : side // 2] = 0
        lost[side] = float(overlap(half, target))
        assert overlap(target * 0, target) > 0.9
    assert lost[16] == pytest.approx(0.5, abs=0.05)
    assert lost[48] == pytest.approx(0.5, abs=0.05)


def test_temporal_compares_the_halves_of_a_batch_of_twins() -> None:
    logits = torch.cat([torch.full((2, 1, 8, 8), -20.0), torch.full((2, 1, 8, 8), 20.0)])
    target, frame, backdrop = torch.zeros(4, 1, 8, 8), torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 1, 1)
    assert matte_loss(logits, target, frame, backdrop, ONLY_TEMPORAL, twins=True) == pytest.approx(1, abs=1e-5)
    assert matte_loss(logits, target, frame, backdrop, ONLY_TEMPORAL, twins=False) == 0
    assert temporal(target, target) == 0


def test_a_perfect_matte_costs_next_to_nothing() -> None:
    target = torch.zeros(1, 1, 32, 32)
    target[..., 8:24, 8:24] = 1
    loss = matte_loss((target * 2 - 1) * 20, target, torch.rand(1, 3, 32, 32), torch.rand(1, 3, 1, 1), LossWeights())
    assert loss < 1e-4
