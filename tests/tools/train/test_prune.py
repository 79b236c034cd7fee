from __future__ import annotations

import pytest
import torch

from cutline.runtime.errors import UsageError
from cutline.tools.train.cut_network import CutNet, CutShape
from cutline.tools.train.export import check_parity, network_from_onnx, network_to_onnx
from cutline.tools.train.lite_network import LiteNet, LiteShape
from cutline.tools.train.networks import multiply_adds
from cutline.tools.train.prune import prune

SHAPE = CutShape(plate=True, edge=16, widths=(16, 24, 32, 32, 40), blocks=(0, 1, 1, 2, 1))


def test_pruning_takes_the_share_and_keeps_multiples_of_eight() -> None:
    network = CutNet(SHAPE)
    smaller = prune(network, 0.5)
    assert smaller.shape.widths == (8, 16, 16, 16, 16)  # 12 and 20 are rounded to even eights
    assert smaller.shape.edge == 8
    assert multiply_adds(smaller, 64, 64) < 0.4 * multiply_adds(network, 64, 64)
    assert smaller(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_every_layer_is_in_exactly_one_group_of_makers_and_one_of_readers() -> None:
    layers = {n for n, m in CutNet(SHAPE, norm=False).named_modules() if isinstance(m, torch.nn.Conv2d)}
    groups = list(SHAPE.groups())
    made, read = ([name for g in groups for name in getattr(g, k)] for k in ("made_by", "read_by"))
    assert sorted(made) == sorted(layers - {"head"})
    assert sorted(read) == sorted(layers - {"edge.0"})


def test_channels_that_do_nothing_go_first_and_the_function_stays() -> None:
    torch.manual_seed(2)
    network = CutNet(SHAPE, norm=False).eval()
    state = network.state_dict()
    for group in SHAPE.groups():
        count = max(8, round(group.channels * 0.5 / 8) * 8)
        dead = torch.arange(0, group.channels)[torch.randperm(group.channels) >= count]
        for layer in group.made_by:
            state[f"{layer}.weight"][dead] = 0
            state[f"{layer}.bias"][dead] = 0
    network.load_state_dict(state)
    picture, plate = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(prune(network, 0.5)(picture, plate), network(picture, plate), atol=1e-4)


def test_a_pruned_network_can_be_exported_and_read_back() -> None:
    smaller = prune(CutNet(SHAPE), 0.3).eval()
    model = network_to_onnx(smaller, width=64, height=32)
    back = network_from_onnx(model)
    assert back.shape == smaller.shape
    assert check_parity(model, back) < 1e-5


def test_a_lite_network_is_pruned_exported_and_read_back() -> None:
    torch.manual_seed(4)
    smaller = prune(LiteNet(LiteShape()), 0.5)
    assert smaller.shape.inner[1:3] == (48, 72)
    assert smaller.shape.decoder == (48, 32, 16, 16, 8)  # 12 is rounded to an even eight
    model = network_to_onnx(smaller, width=64, height=32)
    back = network_from_onnx(model)
    assert back.shape == smaller.shape
    assert check_parity(model, back) < 1e-5


def test_channels_of_a_lite_network_that_do_nothing_go_first_and_the_function_stays() -> None:
    torch.manual_seed(5)
    network = LiteNet(LiteShape(), norm=False).eval()
    state = network.state_dict()
    for group in network.shape.groups():
        count = max(8, round(group.channels * 0.5 / 8) * 8)
        dead = torch.arange(0, group.channels)[torch.randperm(group.channels) >= count]
        for layer in group.made_by:
            state[f"{layer}.weight"][dead] = 0
            state[f"{layer}.bias"][dead] = 0
    network.load_state_dict(state)
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(prune(network, 0.5)(picture), network(picture), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_shares_that_make_no_sense_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="pruned"):
        prune(CutNet(SHAPE), share)
