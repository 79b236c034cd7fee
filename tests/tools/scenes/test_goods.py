"""Goods: every kind can be drawn from any side, and its alpha is what its tags say."""

from __future__ import annotations

import numpy as np
import pytest

from cutline.tools.scenes.goods import KINDS, Good
from cutline.tools.scenes.hand import GRIPS, draw_hand
from cutline.tools.scenes.held import fitting, grip_of, hold
from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.light import draw_lamps
from cutline.tools.scenes.seeds import Split, generator
from cutline.tools.scenes.sprite import MARGIN, Sprite, cropped, place

_ALL = [(split, name) for split in KINDS for name in KINDS[split]]


def _good(split: Split, name: str, seed: int = 0) -> Good:
    return KINDS[split][name](generator(split, name, seed), split, 96)


def _view(split: Split, name: str, seed: int = 0, yaw: float = 0.3) -> Sprite:
    return _good(split, name, seed).view(yaw, 96.0, draw_lamps(generator(split, "lamps", seed)))


def test_no_kind_is_both_trained_on_and_tested_on() -> None:
    assert not set(KINDS["train"]) & set(KINDS["test"])
    for split in KINDS:
        tags = {tag for name in KINDS[split] for tag in _good(split, name).tags}
        assert {"opaque", "transparent", "thin"} <= tags


@pytest.mark.parametrize(("split", "name"), _ALL)
def test_every_kind_draws_a_whole_premultiplied_picture_of_the_right_height(split: Split, name: str) -> None:
    for yaw in (-0.8, 0.0, 2.5):
        sprite = _view(split, name, yaw=yaw)
        alpha = sprite.rgba[..., 3]
        assert alpha.max() > 200
        assert (sprite.rgba[..., :3] <= alpha[..., None].astype(int) + 1).all()
        edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert edge.max() == 0, "the margin must be empty"
        rows = np.flatnonzero(alpha.max(axis=1) > 20)
        assert 96 * 0.85 <= rows[-1] - rows[0] + 1 <= 96 * 1.06


@pytest.mark.parametrize(("split", "name"), _ALL)
def test_alpha_inside_is_fractional_for_transparent_goods_and_whole_for_opaque_ones(split: Split, name: str) -> None:
    shares = []
    for seed in range(4):
        sprite = _view(split, name, seed)
        alpha = sprite.rgba[..., 3]
        inner = np.minimum.reduce([np.roll(alpha, (dy, dx), (0, 1)) for dy in (-2, 0, 2) for dx in (-2, 0, 2)])
        inside = alpha[inner > 10]  # away from the outline
        if sprite.optics is not None:
            assert np.isfinite(sprite.optics).all()
            assert "transparent" in sprite.tags
        shares.append(np.mean(inside < 250) if inside.size else 0.0)
    transparent = "transparent" in _view(split, name).tags
    if transparent:
        assert max(shares) > 0.15
    elif "thin" not in _view(split, name).tags:
        assert min(shares) < 0.02


def test_turning_a_can_moves_its_print_and_not_its_outline() -> None:
    first, second = _view("train", "drink can", yaw=0.0), _view("train", "drink can", yaw=0.8)
    assert np.array_equal(first.rgba[..., 3], second.rgba[..., 3])
    assert np.abs(first.rgba.astype(int) - second.rgba).mean() > 3


def test_the_same_key_draws_the_same_brand_and_another_key_another() -> None:
    def print_of(seed: int) -> bytes:
        return draw_design(generator("train", seed), "train").face(40, 60).tobytes()

    assert print_of(3) == print_of(3)
    assert print_of(3) != print_of(4)


@pytest.mark.parametrize("grip", GRIPS)
def test_a_hand_fits_what_it_holds(grip: str) -> None:
    rng = generator("train", grip)
    lamps = draw_lamps(rng)
    hand = draw_hand(rng, grip, 0.4, 40.0, lamps)  # type: ignore[arg-type]
    sprite = _view("train", "drink can")
    back, product, front = hold(sprite, hand)
    assert back.is_hand
    assert front.is_hand
    assert not product.is_hand
    row, middle, half = grip_of(sprite, hand.grip)
    scale = back.matrix[1, 1]
    assert scale * hand.unit * 0.4 == pytest.approx(half, rel=0.01)
    assert back.matrix[:, :2] @ np.array(hand.anchor) + back.matrix[:, 2] == pytest.approx((middle, row), abs=0.01)
    mirrored, _, _ = hold(sprite, hand, left=True)
    assert mirrored.matrix[0, 0] == pytest.approx(-back.matrix[0, 0])


def test_the_hand_of_the_best_size_is_chosen() -> None:
    rng = generator("train", "hands")
    lamps = draw_lamps(rng)
    hands = [draw_hand(rng, "palm behind", half, 30.0, lamps) for half in (0.2, 0.7)]
    sprite = _view("train", "drink can")
    half = grip_of(sprite, "palm behind")[2]
    wanted = half / sprite.height / 0.36
    assert fitting(sprite, hands).half_width == min((0.2, 0.7), key=lambda width: abs(np.log(wanted / width)))


def test_place_puts_the_foot_where_it_was_told() -> None:
    sprite = _view("train", "drink can")
    matrix = place(sprite, 50.0, 80.0, 60.0, turn=0.4, foot=True)
    foot = np.array([(sprite.width - 1) / 2, sprite.height - MARGIN - 0.5, 1.0])
    assert matrix @ foot == pytest.approx((50.0, 80.0), abs=1e-3)
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(60 / (sprite.height - 2 * MARGIN), rel=1e-4)


def test_cropping_keeps_every_covered_pixel() -> None:
    alpha = np.zeros((40, 50), np.float32)
    alpha[20:25, 30:36] = 1
    whole = Sprite.from_straight(np.ones((40, 50, 3), np.float32), alpha, ("opaque",))
    part, (x, y) = cropped(whole)
    assert part.rgba.sum() == whole.rgba.sum()
    assert np.array_equal(whole.rgba[y : y + part.height, x : x + part.width], part.rgba)
    assert (part.width, part.height) == (6 + 2 * MARGIN, 5 + 2 * MARGIN)
