"""Scenes by name."""

from __future__ import annotations

from pathlib import Path

from cutline.runtime.errors import UsageError
from cutline.tools.scenes.backdrops import draw_backdrop, from_photograph
from cutline.tools.scenes.composition import Composition
from cutline.tools.scenes.conveyor import Conveyor
from cutline.tools.scenes.hand import GRIPS, draw_hand
from cutline.tools.scenes.kiosk import Kiosk
from cutline.tools.scenes.light import draw_lamps
from cutline.tools.scenes.packshots import load_packshots, load_photographs, shows_hands
from cutline.tools.scenes.seeds import Split, check_split, generator
from cutline.tools.scenes.shelf import Shelf
from cutline.tools.scenes.shot import Scene
from cutline.tools.scenes.stage import Stage
from cutline.tools.scenes.turntable import Turntable

__all__ = ["SCENES", "STAGES", "make_scene"]

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Kiosk, Conveyor, Shelf, Turntable)}
SCENES = (*STAGES, "packshots")


def make_scene(
    name: str,
    *,
    seed: int,
    width: int,
    height: int,
    split: Split = "train",
    products: Path | None = None,
    scenes: Path | None = None,
) -> Scene:
    """Make the scene of this name and seed.

    Args:
        name: one of SCENES.
        seed: any whole number; the same gives the same video.
        width, height: pixels.
        split: whose goods, textures and places: those for training, or those held out.
        products: folder of packshots on white, for "packshots".
        scenes: folder of photographs to put them into; without it the generated places are used.
    Raises:
        UsageError: no such scene or split, or "packshots" without products.
        NoInputError: a folder is missing.
        BadInputError: a folder has nothing usable, or a packshot cannot be keyed.
    """
    if name in STAGES:
        return STAGES[name](seed=seed, width=width, height=height, split=check_split(split))
    if name == "packshots":
        if products is None:
            raise UsageError("the packshots scene has no products", remedy="Name a folder of packshots on white.")
        return _packshots(seed, width, height, check_split(split), products, scenes)
    raise UsageError(f"no scene {name}", remedy=f"Use one of {', '.join(SCENES)}.")


def _packshots(seed: int, width: int, height: int, split: Split, products: Path, scenes: Path | None) -> Scene:
    """Compose packshots of a folder on a photograph of another, or on a generated place."""
    rng = generator(split, "packshots", seed)
    sprites = load_packshots(products, split)
    tags: set[str] = set()
    if scenes is None:
        backdrop = draw_backdrop(rng, width, height, split)
    else:
        photographs = load_photographs(scenes, split)
        photograph = photographs[int(rng.integers(len(photographs)))]
        backdrop = from_photograph(rng, photograph, width, height)
        tags = {"photograph", "decoy"} if shows_hands(photograph) else {"photograph"}
    grips = [GRIPS[int(number)] for number in rng.integers(0, len(GRIPS), 2)]
    hands = [draw_hand(rng, grip, float(rng.uniform(0.25, 0.5)), height * 0.25, draw_lamps(rng)) for grip in grips]
    return Composition(sprites, backdrop, split=split, seed=seed, hands=hands, tags=frozenset(tags))
