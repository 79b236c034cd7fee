"""Checkpoints that survive a kill and a full disk: written beside, then renamed."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cutline.runtime.errors import BadInputError, ContractError, StorageError
from cutline.tools.train.networks import CutNet, NetworkShape

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "store", "why_unread"]

_SCHEMA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that training needs to go on, and all that export needs. Tensors are on the CPU."""

    step: int  # steps done
    seed: int
    shape: NetworkShape
    norm: bool
    network: dict[str, Any]
    average: dict[str, Any]  # exponential moving average of the weights: what is exported
    optimiser: dict[str, Any]
    losses: tuple[float, ...]  # one per step

    def averaged(self) -> CutNet:
        """The network with its averaged weights, in evaluation mode."""
        network = CutNet(self.shape, norm=self.norm)
        network.load_state_dict(self.average)
        return network.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file completely beside `path`, then rename: what was there is intact until the new one is whole.

    Raises:
        StorageError: the disk is full or writing failed; the last checkpoint is untouched.
    """
    plain = {
        "schema": _SCHEMA,
        "step": checkpoint.step,
        "seed": checkpoint.seed,
        "shape": asdict(checkpoint.shape),
        "norm": checkpoint.norm,
        "network": checkpoint.network,
        "average": checkpoint.average,
        "optimiser": checkpoint.optimiser,
        "losses": list(checkpoint.losses),
    }
    store(path, plain)


def store(path: Path, plain: dict[str, Any]) -> None:
    """Write numbers and tensors to a file that is either whole or not there. Raises as save_checkpoint does."""
    part, whole = path.with_name(path.name + ".part"), io.BytesIO()
    torch.save(plain, whole)  # straight to a full disk it would say neither that it is full nor where
    try:
        with part.open("wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"the checkpoint was not saved: {error.strerror}",
            remedy="Free some space and repeat the command: it goes on from the last checkpoint.",
            path=str(path),
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; it can hold numbers and tensors only, never code.

    Raises:
        BadInputError: the file is damaged, or no checkpoint.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if found.pop("schema") != _SCHEMA:
            raise ValueError("another version wrote it")
        shape: dict[str, Any] = found.pop("shape")
        losses = tuple(found.pop("losses"))
        return Checkpoint(shape=NetworkShape(**shape), losses=losses, **found)
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        pickle.UnpicklingError,
        ContractError,
    ) as error:
        raise BadInputError(
            f"the checkpoint cannot be read: {why_unread(error)}", remedy="Delete it to start again.", path=str(path)
        ) from error


def why_unread(error: Exception) -> str:
    """Say in one line why a file of numbers could not be read; PyTorch's own words advise to run what is in it."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something else than numbers"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]
