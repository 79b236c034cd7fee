from __future__ import annotations

import pytest
import torch

from cutline.runtime.errors import UsageError
from cutline.tools.train.export import check_parity, network_from_onnx, network_to_onnx
from cutline.tools.train.networks import CutNet, NetworkShape, multiply_adds
from cutline.tools.train.prune import prune

SHAPE = NetworkShape(plate=True, inner=(32, 24, *(16,) * 10), decoder=(40, 32, 16, 16, 16), head=8)


def test_pruning_takes_the_share_and_keeps_multiples_of_eight() -> None:
    network = CutNet(SHAPE)
    smaller = prune(network, 0.5)
    assert smaller.shape.inner == (32, 16, *(8,) * 10)  # 12 and 20 are rounded to even eights
    assert smaller.shape.decoder == (16, 16, 8, 8, 8)
    assert multiply_adds(smaller, 64, 64) < 0.8 * multiply_adds(network, 64, 64)
    assert smaller(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_no_layer_is_made_or_read_twice() -> None:
    groups = list(SHAPE.groups())
    layers = dict(CutNet(SHAPE, norm=False).named_modules())
    for kind in ("made_by", "read_by"):
        named = [name for group in groups for name in getattr(group, kind)]
        assert len(named) == len(set(named))
        assert all(isinstance(layers[name], torch.nn.Conv2d) for name in named)


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


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_shares_that_make_no_sense_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="pruned"):
        prune(CutNet(SHAPE), share)
