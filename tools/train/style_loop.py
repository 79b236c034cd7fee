"""Training of one style network: steps, an averaged copy of the weights, and checkpoints that outlive a kill."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutline.runtime.errors import BadInputError, ContractError, UsageError
from cutline.tools.train.checkpoint import store, why_unread
from cutline.tools.train.export import MEAN, STD
from cutline.tools.train.style_canvas import Still, draw_canvas, still_channels
from cutline.tools.train.style_features import Features, StyleTargets
from cutline.tools.train.style_losses import StyleWeights, style_loss, unlike
from cutline.tools.train.style_network import StyleNet, StyleShape

__all__ = ["Crops", "StyleLoopOptions", "StyleTrainer", "load_style_network"]

_SCHEMA = 1
_CANVAS = 512  # pixels a side, of the patch of still patterns that crops are laid on
_LOOKED_AT = 24  # batches, to see how bright pictures are
_MARGIN = 16  # pixels by which a twin's scene may be moved
_NOISE = 0.025  # largest standard deviation of the noise on a twin


class Crops(Protocol):
    """Where pictures come from."""

    def batch(self, step: int, size: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleLoopOptions:
    """How one style is learned."""

    steps: int
    seed: int = 0
    batch: int = 4
    rate: float = 2e-3  # highest learning rate
    warm_up: int = 50  # steps
    average: float = 0.99  # decay of the moving average, per step
    clip: float = 1.0  # norm of the gradient
    save_every_s: float = 60.0
    weights: StyleWeights = field(default_factory=StyleWeights)
    still: Still = "grain"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise UsageError(
                "there is nothing to train",
                remedy="Ask for one step and a batch of 2 at least.",
                steps=self.steps,
                batch=self.batch,
            )


@final
class StyleTrainer:
    """Owns a style network, its average and its optimiser; borrows the features."""

    def __init__(self, network: StyleNet, features: Features, style: Tensor, options: StyleLoopOptions) -> None:
        """Prepare to learn.

        Args:
            style: float[1, 3, H, W] in 0..1, the style image.
        """
        self.options, self.step = options, 0
        self.losses: list[float] = []
        self.network = network.to(options.device, memory_format=torch.channels_last)
        self.average = StyleNet(network.shape).to(options.device)
        self.average.load_state_dict(network.state_dict())
        self._optimiser = torch.optim.Adam(network.parameters(), lr=options.rate)
        self._features = features
        self._recent: list[Tensor] = []  # differences of Gram matrices, of the pictures before
        used = still_channels(options.still)
        self._style = style.to(options.device)
        self._canvas = torch.from_numpy(draw_canvas(_CANVAS, _CANVAS) * used[:, None, None])
        with torch.no_grad():
            for weights in (self.network.canvas.weight, self.average.canvas.weight):
                weights *= torch.from_numpy(used).to(options.device)[:, None, None]  # what it never sees, it never uses

    def run(self, crops: Crops, checkpoint: Path, progress: Callable[[int, float], None] | None = None) -> None:
        """Train up to `options.steps`, saving now and then and at the end.

        Raises:
            BadInputError: the loss is no longer a number; the last checkpoint is untouched.
            StorageError: a checkpoint could not be saved; the one before it is untouched.
        """
        self._prepare(crops)
        saved = time.monotonic()
        while self.step < self.options.steps:
            loss = self._learn(crops.batch(self.step, self.options.batch))
            if not math.isfinite(loss):
                raise BadInputError(
                    "the loss is no longer a number; the last checkpoint is intact",
                    remedy="Resume with a lower learning rate (--rate).",
                    step=self.step,
                    rate=self.options.rate,
                )
            self.step += 1
            self.losses.append(loss)
            if progress:
                progress(self.step, loss)
            if time.monotonic() - saved > self.options.save_every_s:
                self.save(checkpoint)
                saved = time.monotonic()
        self.save(checkpoint)

    def save(self, path: Path) -> None:
        """Write all that is needed to go on. Raises StorageError; what was there is then intact."""
        store(
            path,
            {
                "schema": _SCHEMA,
                "shape": {**asdict(self.average.shape), "widths": list(self.average.shape.widths)},
                "step": self.step,
                "network": _on_cpu(self.network),
                "average": _on_cpu(self.average),
                "optimiser": self._optimiser.state_dict(),
                "recent": [g.cpu() for g in self._recent],
                "losses": list(self.losses),
            },
        )

    def resume(self, path: Path) -> None:
        """Go on where the run that wrote `path` was.

        Raises:
            BadInputError: the file is damaged, or the checkpoint of another network.
        """
        found = _read(path)
        try:
            self.network.load_state_dict(found["network"])
            self.average.load_state_dict(found["average"])
            self._optimiser.load_state_dict(found["optimiser"])
            self._recent = [g.to(self.options.device) for g in found["recent"]]
            self.step, self.losses = int(found["step"]), [float(x) for x in found["losses"]]
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from error

    def rate(self, step: int) -> float:
        """Learning rate of that step: a linear warm-up, then half a cosine down to a hundredth."""
        options = self.options
        warm = min(1.0, (step + 1) / max(1, min(options.warm_up, options.steps // 4)))
        return options.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / options.steps)))

    def _prepare(self, crops: Crops) -> None:
        """Find out how bright pictures are, and what the style's parts of that brightness look like."""
        some = torch.cat([torch.from_numpy(crops.batch(k, self.options.batch)) for k in range(_LOOKED_AT)])
        height, width = some.shape[2:]
        self._targets = StyleTargets(self._features, self._style, width=width, height=height, seed=self.options.seed)
        self._targets.learn_tones(some)

    def _learn(self, pictures: NDArray[np.float32]) -> float:
        """Do one step. Half of the pictures have a twin: the same picture under other noise, or a moved one."""
        options = self.options
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        random = np.random.default_rng((options.seed, 3, self.step))
        frames = torch.from_numpy(pictures)
        half, (rows, columns) = len(frames) // 2, frames.shape[2:]
        down, right = (4 * int(random.integers(-_MARGIN // 4, _MARGIN // 4 + 1)) for _ in range(2))
        quarter = max(1, half // 2)
        twins = torch.cat([frames[:quarter], torch.roll(frames[half : half + quarter], (down, right), (2, 3))])
        count = len(frames) + len(twins)
        sigma = torch.from_numpy(random.uniform(0.0, _NOISE, (count, 1, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(random.standard_normal((count, *frames.shape[1:]), np.float32))
        seen = (torch.cat([frames, twins]) + noise * sigma).clamp(0, 1).to(options.device)
        y, x = (4 * int(random.integers((_CANVAS - side) // 8 + 1)) for side in (rows, columns))
        canvas = self._canvas[None, :, y : y + rows // 2, x : x + columns // 2].to(options.device)
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            out = self.network(((seen - MEAN) / STD).contiguous(memory_format=torch.channels_last), canvas)
        styled, twin = (out.float() * STD + MEAN).split([len(frames), len(twins)])
        loss = style_loss(
            frames.to(options.device), styled, self._features, self._targets, self._recent, options.weights
        )
        calm = unlike(styled[:quarter], twin[:quarter], None)
        calm = calm + unlike(styled[half : half + quarter], twin[quarter:], (down, right))
        loss = loss + options.weights.calm * calm
        return self._descend(loss)

    def _descend(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip))
        if not math.isfinite(norm):  # the next step would be the first to show it, perhaps after a checkpoint
            return norm
        self._optimiser.step()
        keep = min(self.options.average, self.step / (self.step + 9))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        return value


def load_style_network(path: Path) -> StyleNet:
    """Read the averaged network of a checkpoint.

    Raises:
        BadInputError: the file is damaged, or no checkpoint of a style.
    """
    found = _read(path)
    try:
        shape = StyleShape(widths=tuple(found["shape"]["widths"]), blocks=found["shape"]["blocks"])
        network = StyleNet(shape)
        network.load_state_dict(found["average"])
    except (RuntimeError, ValueError, KeyError, TypeError, ContractError) as error:
        raise _unreadable(path, error) from error
    return network.eval()


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if found["schema"] != _SCHEMA:
            raise ValueError("another version wrote it")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise _unreadable(path, error) from error
    return found


def _unreadable(path: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"the checkpoint cannot be read: {why_unread(error)}", remedy="Delete it to start again.", path=str(path)
    )


def _on_cpu(network: StyleNet) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}
