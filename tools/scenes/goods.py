"""All goods that can be drawn, by kind; no kind is both for training and for the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from cutline.tools.scenes.cuboid import BOXES
from cutline.tools.scenes.filigree import FILIGREE
from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.produce import PRODUCE
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.slender import SLENDER
from cutline.tools.scenes.soft import PACKS
from cutline.tools.scenes.sprite import Sprite
from cutline.tools.scenes.vessels import VESSELS

__all__ = ["KINDS", "Good", "draw_good"]


class Good(Protocol):
    """One object that can be drawn from any side."""

    @property
    def tags(self) -> frozenset[str]: ...

    @property
    def width(self) -> float:
        """Greatest width, in its own heights."""
        ...

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians about its vertical axis, `height` pixels high."""
        ...


Maker = Callable[[np.random.Generator, Split, int], Good]

KINDS: dict[Split, dict[str, Maker]] = {
    split: {**VESSELS[split], **BOXES[split], **PRODUCE[split], **PACKS[split], **SLENDER[split], **FILIGREE[split]}
    for split in ("train", "test")
}


def draw_good(rng: np.random.Generator, split: Split, pixels: int) -> Good:
    """Draw a good of this split; `pixels` is the height at which it will mostly be seen."""
    makers = list(KINDS[split].values())
    return makers[int(rng.integers(len(makers)))](rng, split, pixels)
