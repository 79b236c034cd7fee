"""Filters move along a matrix whose singular values are about one, everything else as with AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutline.tools.train.optimiser import Optimiser

RATE = 1e-2


def layer(inputs: int, outputs: int, *, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, groups=groups).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def moved(module: nn.Conv2d, *, pace: float = 1.0, slope: float = 1.0) -> torch.Tensor:
    """How far its weights go, float[outputs, inputs, 3, 3]."""
    optimiser = Optimiser([{"params": list(module.parameters()), "pace": pace}], decay=0.0)
    before = module.weight.detach().clone()
    random = torch.Generator().manual_seed(3)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=random) * slope
    optimiser.step(RATE)
    return before - module.weight.detach()


def test_filters_move_by_a_matrix_of_even_singular_values() -> None:
    step = moved(layer(16, 24)).flatten(1)
    values = torch.linalg.svdvals(step) / (RATE * 0.2 * max(step.shape) ** 0.5)
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.5
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2 * RATE, rel=0.3)  # so AdamW's rates fit


def test_how_steep_the_loss_is_does_not_matter() -> None:
    torch.manual_seed(1)
    module = layer(16, 24)
    twin = layer(16, 24)
    twin.load_state_dict(module.state_dict())
    steep, flat = moved(module), moved(twin, slope=1e-3)
    assert float((steep - flat).norm()) < 0.1 * float(steep.norm())  # its sums are of 8-bit mantissas


@pytest.mark.parametrize("module", [layer(16, 16, groups=16), layer(16, 4)], ids=["depthwise", "last"])
def test_what_is_no_matrix_of_filters_moves_number_by_number(module: nn.Conv2d) -> None:
    assert torch.allclose(moved(module).abs(), torch.full_like(module.weight, RATE), rtol=1e-3)


def test_a_slower_group_goes_a_share_of_the_way() -> None:
    torch.manual_seed(1)
    module = layer(16, 24)
    twin = layer(16, 24)
    twin.load_state_dict(module.state_dict())
    assert torch.allclose(moved(module) * 0.25, moved(twin, pace=0.25), atol=1e-7)


def test_what_has_no_gradient_stays() -> None:
    module = layer(16, 24)
    optimiser = Optimiser([{"params": list(module.parameters()), "pace": 1.0}], decay=0.1)
    before = module.weight.detach().clone()
    optimiser.step(RATE)
    assert torch.equal(before, module.weight)


def test_weights_that_lie_otherwise_in_memory_are_refused() -> None:
    module = nn.Conv2d(16, 24, 3)
    with pytest.raises(RuntimeError):
        Optimiser([{"params": list(module.parameters()), "pace": 1.0}], decay=0.0)
