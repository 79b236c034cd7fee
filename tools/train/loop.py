"""The training loop: a schedule, an averaged copy of the weights, and checkpoints that outlive a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutline.runtime.errors import BadInputError, UsageError
from cutline.tools.train.augment import AugmentOptions
from cutline.tools.train.checkpoint import Checkpoint, save_checkpoint
from cutline.tools.train.data import Batch
from cutline.tools.train.export import MEAN, STD
from cutline.tools.train.losses import LossWeights, matte_loss
from cutline.tools.train.networks import CutNet
from cutline.tools.train.optimiser import Optimiser

__all__ = ["Batches", "LoopOptions", "Stage", "Teacher", "Trainer", "standard_stages"]


class Batches(Protocol):
    """Where batches come from."""

    def batch(self, step: int, size: int, augmentation: AugmentOptions) -> Batch: ...


class Teacher(Protocol):
    """A finished network whose mattes are learned beside the truth."""

    def mattes(self, frames: NDArray[np.uint8], plates: NDArray[np.uint8]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """From this share of the steps on: input size in pixels, pictures per step, smallest crop, a share of the width."""

    start: float
    width: int
    height: int
    batch: int
    smallest_crop: float


def standard_stages(width: int, height: int, batch: int) -> tuple[Stage, ...]:
    """Half of the steps at half the size, a quarter at three quarters, the last at the size that runs."""

    def side(pixels: float) -> int:
        return max(32, math.floor(pixels / 32 + 0.5) * 32)

    return (
        Stage(0.0, side(width / 2), side(height / 2), batch, 0.35),
        Stage(0.5, side(width * 0.75), side(height * 0.75), max(2, batch * 5 // 8), 0.5),
        Stage(0.75, width, height, max(2, batch * 3 // 8), 0.55),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How one network is trained."""

    steps: int
    seed: int = 0
    rate: float = 6e-3  # highest learning rate
    warm_up: int = 300  # steps
    decay: float = 1e-2  # weight decay
    average: float = 0.998  # decay of the moving average, per step
    clip: float = 1.0  # norm of the gradient
    save_every_s: float = 180.0
    stages: tuple[Stage, ...] = standard_stages(512, 288, 16)
    weights: LossWeights = field(default_factory=LossWeights)
    teacher_share: float = 0.5  # of the target that the teacher's matte makes up
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError("there is nothing to train", remedy="Ask for at least one step.", steps=self.steps)


@final
class Trainer:
    """Owns a network, its average and its optimiser while they are trained; borrows the feed and the teacher."""

    def __init__(self, network: CutNet, options: LoopOptions, *, resume: Checkpoint | None = None) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.network = network.to(options.device, memory_format=torch.channels_last)
        self.average = CutNet(network.shape, norm=network.norm).to(options.device)
        self.average.load_state_dict(network.state_dict())
        self._optimiser = Optimiser(network.parameter_groups(), decay=options.decay)
        self.step = 0
        self.losses: list[float] = []
        if resume is not None:
            self.network.load_state_dict(resume.network)
            self.average.load_state_dict(resume.average)
            self._optimiser.load_state_dict(resume.optimiser)
            self.step, self.losses = resume.step, list(resume.losses)

    def run(
        self,
        batches: Batches,
        checkpoint: Path,
        *,
        teacher: Teacher | None = None,
        progress: Callable[[int, float], None] | None = None,
        saved: Callable[[], None] | None = None,
    ) -> None:
        """Train up to `options.steps`, saving now and then and at the end.

        The next batch is drawn while this one is learned.

        Args:
            progress: called after each step with the number of steps done and the loss.
            saved: called after each checkpoint.
        Raises:
            BadInputError: the loss is no longer a number; the last checkpoint is untouched.
            StorageError: a checkpoint could not be saved; the one before it is untouched.
        """
        options, since = self.options, time.monotonic()

        def save() -> None:
            save_checkpoint(checkpoint, self.checkpoint())
            if saved:
                saved()

        with ThreadPoolExecutor(1, "cutline-batches") as ahead:
            following = self._ask(ahead, batches)
            while following is not None:
                batch = following.result()
                self.step += 1
                following = self._ask(ahead, batches)
                loss = self._learn(batch, teacher)
                if not math.isfinite(loss):
                    raise BadInputError(
                        "the loss is no longer a number; the last checkpoint is intact",
                        remedy="Resume with a lower learning rate (--rate).",
                        step=self.step,
                        rate=options.rate,
                    )
                self.losses.append(loss)
                if progress:
                    progress(self.step, loss)
                if time.monotonic() - since > options.save_every_s:
                    save()
                    since = time.monotonic()
        save()

    def checkpoint(self) -> Checkpoint:
        """The state after the last whole step."""
        return Checkpoint(
            step=self.step,
            seed=self.options.seed,
            shape=self.network.shape,
            norm=self.network.norm,
            network=_on_cpu(self.network),
            average=_on_cpu(self.average),
            optimiser=self._optimiser.state_dict(),
            losses=tuple(self.losses),
        )

    def stage(self, step: int) -> Stage:
        """The stage that the step from `step` to `step` + 1 belongs to."""
        return [s for s in self.options.stages if s.start * self.options.steps <= step][-1]

    def rate(self, step: int) -> float:
        """Learning rate of that step: a linear warm-up, then half a cosine down to a hundredth."""
        options = self.options
        warm = min(1.0, (step + 1) / max(1, min(options.warm_up, options.steps // 4)))
        return options.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / options.steps)))

    def _ask(self, ahead: ThreadPoolExecutor, batches: Batches) -> Future[Batch] | None:
        """Order the batch of the next step, if there is one."""
        if self.step >= self.options.steps:
            return None
        stage = self.stage(self.step)
        augmentation = AugmentOptions(width=stage.width, height=stage.height, smallest_crop=stage.smallest_crop)
        return ahead.submit(batches.batch, self.step, stage.batch, augmentation)

    def _learn(self, batch: Batch, teacher: Teacher | None) -> float:
        """Do one step; `self.step` already counts it."""
        options = self.options
        frame, plate = self._picture(batch.frame), self._picture(batch.plate)
        target = torch.from_numpy(batch.alpha)[:, None].to(options.device).float() / 255
        if teacher is not None:
            taught = torch.from_numpy(teacher.mattes(batch.frame, batch.plate))[:, None].to(options.device)
            target = torch.lerp(target, taught, options.teacher_share)
        backdrop = torch.rand(
            (len(batch.frame), 3, 1, 1), generator=torch.Generator().manual_seed(options.seed * 1_000_003 + self.step)
        )
        self.network.train()
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = self.network(
                *((x - MEAN) / STD for x in ((frame, plate) if self.network.shape.plate else (frame,)))
            )
        loss = matte_loss(
            logits.float(), target, frame, backdrop.to(options.device), options.weights, twins=batch.twins
        )
        value = float(loss.detach())
        if math.isfinite(value):
            self.network.zero_grad(set_to_none=True)
            loss.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip))
            if not math.isfinite(norm):  # the next step would be the first to show it, perhaps after a checkpoint
                return norm
            self._optimiser.step(self.rate(self.step - 1))
            self._follow()
        return value

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.options.average, self.step / (self.step + 9))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def _picture(self, pixels: NDArray[np.uint8]) -> Tensor:
        """float32[N, 3, H, W] in 0..1, channels last in memory."""
        return torch.from_numpy(pixels).to(self.options.device).permute(0, 3, 1, 2).float() / 255


def _on_cpu(network: CutNet) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}
