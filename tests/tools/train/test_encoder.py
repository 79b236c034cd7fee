"""Depthwise layers: their own backward pass is PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutline.tools.train.encoder import Depthwise


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_gradients_of_depthwise_layers_are_those_of_a_plain_convolution(size: int, stride: int, half: bool) -> None:
    torch.manual_seed(size * stride)
    ours = Depthwise(24, 24, size, stride, size // 2, groups=24)
    plain = nn.Conv2d(24, 24, size, stride, size // 2, groups=24)
    plain.load_state_dict(ours.state_dict())
    picture = torch.randn(2, 24, 18, 26)
    found = []
    for layer in (ours, plain):
        seen = picture.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half and layer is ours):
            filtered = layer(seen)
        assert filtered.dtype is (torch.bfloat16 if half and layer is ours else torch.float32)
        (filtered.float() ** 2).sum().backward()
        assert layer.bias is not None
        assert seen.grad is not None
        found.append((seen.grad, layer.weight.grad, layer.bias.grad))
    for mine, theirs in zip(*found, strict=True):
        assert mine is not None
        assert theirs is not None
        assert float((mine - theirs).abs().max()) < (0.02 if half else 1e-4) * float(theirs.abs().max())


def test_a_frozen_depthwise_layer_hands_the_gradient_on_and_keeps_its_weights() -> None:
    layer = Depthwise(8, 8, 3, 1, 1, groups=8).requires_grad_(False)
    picture = torch.randn(1, 8, 6, 6, requires_grad=True)
    layer(picture).sum().backward()
    assert layer.weight.grad is None
    assert picture.grad is not None
    assert float(picture.grad.abs().max()) > 0
