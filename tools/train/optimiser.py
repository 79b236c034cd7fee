"""How weights move: Muon for filters, AdamW for the rest.

A layer's filters are one matrix with a row for each output. AdamW scales each number of its gradient by itself; Muon
steps along the nearest matrix whose singular values are all about one, so that what few pixels ask for (a wire, a
belt's shifted stripe) is learned as fast as what all pixels ask for. Depthwise filters, biases, scales, and the last
layer, whose few outputs mean something each, are no such matrices.
Source: Jordan and others, Muon: an optimizer for hidden layers in neural networks, 2024; the scale that lets it share
AdamW's rate is of Liu and others, Muon is scalable for LLM training, 2025.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

__all__ = ["Optimiser"]

_FEW = 8  # outputs; layers with fewer are the last ones


@final
class Optimiser:
    """Borrows the parameters of a network whose weights lie channels last in memory, and must go on lying there."""

    def __init__(self, groups: list[dict[str, Any]], *, decay: float) -> None:
        """Take groups of parameters, each with its "pace": a share of the learning rate. `decay` is of the weights."""
        self._filters = [(p, nn.Parameter(_rows(p))) for group in groups for p in group["params"] if _is_matrix(p)]
        matrices = {id(p): matrix for p, matrix in self._filters}
        self._parts = {
            "filters": torch.optim.Muon(
                [{**g, "params": [matrices[id(p)] for p in g["params"] if id(p) in matrices]} for g in groups],
                weight_decay=decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            "rest": torch.optim.AdamW(
                [{**g, "params": [p for p in g["params"] if id(p) not in matrices]} for g in groups],
                weight_decay=decay,
            ),
        }

    def step(self, rate: float) -> None:
        """Move all weights against their gradients, at this learning rate."""
        for weights, matrix in self._filters:
            slope = weights.grad
            matrix.grad = None if slope is None else _rows(slope.contiguous(memory_format=torch.channels_last))
        for part in self._parts.values():
            for group in part.param_groups:
                group["lr"] = rate * group["pace"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What a later optimiser of the same network needs to go on."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another optimiser's state. Raises KeyError or ValueError when it is of another network."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def _is_matrix(weights: Tensor) -> bool:
    """Whether these are filters that see all inputs, with enough outputs to be one matrix."""
    return weights.ndim == 4 and weights.shape[1] > 1 and weights.shape[0] >= _FEW


def _rows(weights: Tensor) -> Tensor:
    """The same memory as float[outputs, height * width * inputs]; it must be channels last."""
    return weights.detach().permute(0, 2, 3, 1).view(len(weights), -1)
