"""What is measured on: shots whose goods, textures, places and seeds no training has seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import UsageError
from cutline.tools.scenes import SCENES, Sampler, Shot, make_scene

__all__ = ["CATEGORIES", "Case", "CaseOptions", "category_mask", "held_out_cases", "held_out_clips"]

_STAGES = tuple(name for name in SCENES if name != "packshots")
CATEGORIES = ("opaque", "transparent", "thin", "low-contrast", "hand-held")
_APART = 23  # frames between two shots of one scene
_SHOTS = 4  # of one scene
_CLIP_FROM = 30  # frame of a scene: a second after it began, goods are moving
_CLIP_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Case:
    """One shot and the name under which it is reported."""

    name: str
    shot: Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """How many shots, and from where."""

    shots: int = 300
    seed: int = 900_000
    width: int = 512
    height: int = 288
    products: Path | None = None
    scenes: Path | None = None
    decoys: bool = True  # also goods that are part of the empty scene, which only a plate can tell from the others

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise UsageError("there is nothing to measure", remedy="Ask for at least one shot.", shots=self.shots)


def held_out_cases(options: CaseOptions) -> Iterator[Case]:
    """Yield the held-out shots: half from the named scenes in turn, half free stills, with the user's folders if given.

    Of the folders, only the held-out fifth of the files is used.

    Raises:
        NoInputError: a folder is missing.
        BadInputError: a folder holds nothing usable.
    """
    folders = {"products": options.products, "scenes": options.scenes}
    sampler = Sampler(options.width, options.height, "test", **folders, decoys=options.decoys)
    names = _STAGES
    staged = options.shots // 2
    for number in range(options.shots - staged):
        yield Case(f"still-{number}", sampler.shot(options.seed + number))
    for number in range(staged):
        scene, index = divmod(number, _SHOTS)
        name = names[scene % len(names)]
        seed = options.seed + scene // len(names)
        if index == 0:
            video = make_scene(name, seed=seed, width=options.width, height=options.height, split="test")
        yield Case(f"{name}-{seed}-{index * _APART}", video.shot(index * _APART))


def held_out_clips(options: CaseOptions) -> Iterator[list[Shot]]:
    """Yield short pieces of held-out video, frame by frame: two of each staged scene, none for a handful of shots."""
    for number in range(min(2 * len(_STAGES), options.shots // _CLIP_FRAMES)):
        name, seed = _STAGES[number % len(_STAGES)], options.seed + number
        video = make_scene(name, seed=seed, width=options.width, height=options.height, split="test")
        yield [video.shot(_CLIP_FROM + index) for index in range(_CLIP_FRAMES)]


def category_mask(shot: Shot, category: str) -> NDArray[np.bool_] | None:
    """Where a category is measured: its own items, and all that is no item; None when the shot has no such item.

    bool[H, W]. Other items are left out, so that a lost bottle does not count against the can beside it.
    """
    wanted = [item for item, tags in shot.item_tags.items() if category in tags]
    if not wanted:
        return None
    return np.asarray(np.isin(shot.items, [0, *wanted]))
