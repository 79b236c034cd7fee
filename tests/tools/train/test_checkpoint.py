from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cutline.runtime.errors import BadInputError, StorageError
from cutline.tools.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cutline.tools.train.networks import CutNet, NetworkShape

SHAPE = NetworkShape(inner=(32, *(8,) * 11), decoder=(16, 8, 8, 8, 8), head=8)


def checkpoint(step: int = 7) -> Checkpoint:
    state = CutNet(SHAPE).state_dict()
    return Checkpoint(
        step=step, seed=1, shape=SHAPE, norm=True, network=state, average=state, optimiser={}, losses=(0.5, 0.25)
    )


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    wanted = checkpoint()
    save_checkpoint(tmp_path / "c.pt", wanted)
    found = load_checkpoint(tmp_path / "c.pt")
    assert (found.step, found.seed, found.shape, found.losses) == (7, 1, SHAPE, (0.5, 0.25))
    assert torch.equal(found.averaged().head.weight, wanted.averaged().head.weight)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint(7))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="not saved: No space left"):
        save_checkpoint(tmp_path / "c.pt", checkpoint(8))
    assert load_checkpoint(tmp_path / "c.pt").step == 7
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_damaged_checkpoint_is_bad_input(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", checkpoint())
    whole = (tmp_path / "c.pt").read_bytes()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        (tmp_path / "c.pt").write_bytes(damaged)
        with pytest.raises(BadInputError, match="cannot be read"):
            load_checkpoint(tmp_path / "c.pt")


def test_a_checkpoint_that_carries_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"schema": 2, "step": Trap()}, tmp_path / "c.pt")
    with pytest.raises(BadInputError) as refused:
        load_checkpoint(tmp_path / "c.pt")
    assert "weights_only" not in str(refused.value)  # PyTorch's advice is to run the code in it
    assert not (tmp_path / "ran").exists()
