from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, UsageError
from cutline.tools.train.augment import AugmentOptions
from cutline.tools.train.checkpoint import load_checkpoint, save_checkpoint
from cutline.tools.train.data import Batch
from cutline.tools.train.loop import LoopOptions, Stage, Trainer, standard_stages
from cutline.tools.train.networks import CutNet, NetworkShape

SHAPE = NetworkShape(inner=(32, *(8,) * 11), decoder=(16, 8, 8, 8, 8), head=8)
STAGES = (Stage(0.0, 32, 32, 4, 0.5),)


class Squares:
    """Batches of bright squares on dark ground, decided by the step alone."""

    def batch(self, step: int, size: int, augmentation: AugmentOptions) -> Batch:
        random = np.random.default_rng(step)
        frame = random.integers(0, 60, (size, augmentation.height, augmentation.width, 3), np.uint8)
        alpha = np.zeros(frame.shape[:3], np.uint8)
        for k in range(size):
            top, left = random.integers(0, augmentation.height // 2, 2)
            alpha[k, top : top + 16, left : left + 16] = 255
        frame[alpha > 0] += 150
        return Batch(frame, frame, alpha, twins=False)


def trainer(steps: int, **more: object) -> Trainer:
    torch.manual_seed(5)
    options = LoopOptions(steps=steps, seed=5, stages=STAGES, warm_up=3, save_every_s=1e9, **more)  # type: ignore[arg-type]
    return Trainer(CutNet(SHAPE), options)


def test_the_same_seed_gives_the_same_losses(tmp_path: Path) -> None:
    one, two = trainer(6), trainer(6)
    one.run(Squares(), tmp_path / "1.pt")
    two.run(Squares(), tmp_path / "2.pt")
    assert one.losses == two.losses
    assert len(one.losses) == 6


def test_it_learns(tmp_path: Path) -> None:
    taught = trainer(40)
    taught.run(Squares(), tmp_path / "c.pt")
    assert np.mean(taught.losses[-5:]) < 0.7 * np.mean(taught.losses[:5])


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = trainer(8)
    whole.run(Squares(), tmp_path / "whole.pt")

    class Killed(Exception):
        pass

    def kill(step: int, _loss: float) -> None:
        if step == 4:
            raise Killed

    broken = trainer(8)
    with pytest.raises(Killed):
        broken.run(Squares(), tmp_path / "c.pt", progress=kill)
    save_checkpoint(tmp_path / "c.pt", broken.checkpoint())
    resume = load_checkpoint(tmp_path / "c.pt")
    again = Trainer(CutNet(SHAPE), broken.options, resume=resume)
    again.run(Squares(), tmp_path / "c.pt")
    assert again.losses == pytest.approx(whole.losses, rel=1e-4)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    good = trainer(2)
    good.run(Squares(), tmp_path / "c.pt")
    before = (tmp_path / "c.pt").read_bytes()
    bad = trainer(4)
    with torch.no_grad():
        bad.network.head.bias.fill_(math.nan)
    with pytest.raises(BadInputError, match="no longer a number"):
        bad.run(Squares(), tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == before


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = trainer(2)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    with pytest.raises(BadInputError):
        bad.run(Squares(), tmp_path / "c.pt")
    assert all(torch.isfinite(p).all() for p in bad.network.parameters())


def test_checkpoints_are_written_on_the_way(tmp_path: Path) -> None:
    seen, steps = [], []

    def look(step: int, _loss: float) -> None:
        seen.append((step, (tmp_path / "c.pt").exists()))

    torch.manual_seed(5)
    Trainer(CutNet(SHAPE), LoopOptions(steps=3, stages=STAGES, save_every_s=0.0)).run(
        Squares(), tmp_path / "c.pt", progress=look, saved=lambda: steps.append(len(seen))
    )
    assert steps == [1, 2, 3, 3]  # so whoever wants to see curves need not wait for the end
    assert seen == [(1, False), (2, True), (3, True)]
    assert load_checkpoint(tmp_path / "c.pt").step == 3


def test_a_teacher_moves_the_target(tmp_path: Path) -> None:
    class Blank:
        def mattes(self, frames: NDArray[np.uint8], plates: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ARG002
            return np.zeros(frames.shape[:3], np.float32)

    taught, alone = trainer(1), trainer(1)
    taught.run(Squares(), tmp_path / "t.pt", teacher=Blank())
    alone.run(Squares(), tmp_path / "a.pt")
    assert taught.losses != alone.losses


def test_stages_end_at_the_size_that_runs_and_take_over_in_order() -> None:
    stages = standard_stages(512, 288, 16)
    assert [(s.width, s.height) for s in stages] == [(256, 160), (384, 224), (512, 288)]
    taught = Trainer(CutNet(SHAPE), LoopOptions(steps=100, stages=stages))
    assert [taught.stage(step).width for step in (0, 49, 50, 75, 99)] == [256, 256, 384, 512, 512]


def test_the_rate_warms_up_and_comes_down() -> None:
    taught = Trainer(CutNet(SHAPE), LoopOptions(steps=1000, warm_up=100, rate=1e-3))
    assert taught.rate(0) < 2e-5
    assert taught.rate(100) == pytest.approx(1e-3, rel=0.05)
    assert taught.rate(999) < 2e-5


def test_no_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing to train"):
        LoopOptions(steps=0)
