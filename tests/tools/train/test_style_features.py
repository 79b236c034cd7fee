"""Filters and Gram matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.tools.train.style_features import RandomBank, StyleTargets, Vgg, gram, gram_distance, load_vgg


@pytest.fixture
def style() -> torch.Tensor:
    return torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))


def weights() -> dict[str, torch.Tensor]:
    before, made = 3, {}
    for number, width in Vgg.PLAN.items():
        made[f"features.{number}.weight"] = torch.randn(width, before, 3, 3) / (3 * before**0.5)
        made[f"features.{number}.bias"] = torch.zeros(width)
        before = width
    return made


def test_gram_counts_products_of_maps_and_their_means() -> None:
    maps = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    assert torch.equal(gram(maps)[0], torch.tensor([[5.0, 1.0, 2.0], [1.0, 2.0, 1.0], [2.0, 1.0, 1.0]]))


def test_a_style_is_at_no_distance_from_itself_and_a_mirror_image_is_far_nearer_than_another(
    style: torch.Tensor,
) -> None:
    bank = RandomBank(style)
    assert gram_distance(bank, [style], style) == 0
    assert gram_distance(bank, [style.roll(7, 3)], style) < 0.1
    assert gram_distance(bank, [torch.full_like(style, 0.2)], style) > 0.5


def test_dark_pictures_get_the_dark_parts_of_the_style_as_their_target() -> None:
    slope = torch.linspace(0, 1, 128)[None, None, None].expand(1, 3, 96, 128).contiguous()
    targets = StyleTargets(RandomBank(slope), slope, width=40, height=40)
    dark, bright = torch.full((1, 3, 40, 40), 0.1), torch.full((1, 3, 40, 40), 0.9)
    targets.learn_tones(torch.cat([dark, torch.full_like(dark, 0.5), bright]))
    bank = RandomBank(slope)
    wanted = {name: targets.mean_for(picture)[0] for name, picture in (("dark", dark), ("bright", bright))}
    low, high = (gram(bank(slope[..., at : at + 40])[0])[0] for at in (10, 80))
    assert float((wanted["dark"] - low).norm()) < float((wanted["dark"] - high).norm())
    assert float((wanted["bright"] - high).norm()) < float((wanted["bright"] - low).norm())


def test_the_same_seed_draws_the_same_filters(style: torch.Tensor) -> None:
    a, b, c = RandomBank(style), RandomBank(style), RandomBank(style, seed=8)
    assert torch.equal(a.shapes, b.shapes)
    assert not torch.equal(a.shapes, c.shapes)


def test_weights_of_vgg_are_read_from_either_format(tmp_path: Path, style: torch.Tensor) -> None:
    made = weights()
    np.savez(tmp_path / "vgg.npz", **{name: value.numpy() for name, value in made.items()})  # type: ignore[arg-type]
    torch.save(made, tmp_path / "vgg.pth")
    one, other = load_vgg(tmp_path / "vgg.npz"), load_vgg(tmp_path / "vgg.pth")
    maps = one(style[..., :32, :32])
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert all(torch.equal(a, b) for a, b in zip(maps, other(style[..., :32, :32]), strict=True))


def test_wrong_weights_of_vgg_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        load_vgg(tmp_path / "none.npz")
    (tmp_path / "text.pth").write_text("nothing")
    with pytest.raises(BadInputError, match="no weights of VGG-19"):
        load_vgg(tmp_path / "text.pth")
    some = weights()
    some["features.5.weight"] = some["features.5.weight"][:64]
    torch.save(some, tmp_path / "small.pth")
    with pytest.raises(BadInputError, match=r"features\.5\.weight has shape"):
        load_vgg(tmp_path / "small.pth")
    del some["features.5.weight"]
    torch.save(some, tmp_path / "few.pth")
    with pytest.raises(BadInputError, match=r"features\.5\.weight.* is missing"):
        load_vgg(tmp_path / "few.pth")
    torch.save({"features.0.weight": slice}, tmp_path / "code.pth")
    with pytest.raises(BadInputError, match="no weights") as refused:
        load_vgg(tmp_path / "code.pth")
    assert "weights_only" not in str(refused.value)  # PyTorch's advice is to run the code in it


def test_damaged_archives_of_weights_are_bad_input(tmp_path: Path) -> None:
    name = "features.0.weight"
    np.savez(tmp_path / "vgg.npz", **{name: weights()[name].numpy()})  # type: ignore[arg-type]
    whole = (tmp_path / "vgg.npz").read_bytes()
    (tmp_path / "vgg.npz").write_bytes(whole[:300] + b"\0\1" * 50 + whole[400:])
    with pytest.raises(BadInputError, match="no weights of VGG-19"):
        load_vgg(tmp_path / "vgg.npz")
