"""Training data at speed: independent random shots, all kinds mixed, from a store of sprites and backdrops that is renewed."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np

from cutline.tools.scenes.backdrops import draw_backdrop, from_photograph
from cutline.tools.scenes.composition import Composition
from cutline.tools.scenes.goods import draw_good
from cutline.tools.scenes.light import draw_lamps
from cutline.tools.scenes.packshots import load_packshots, load_photographs
from cutline.tools.scenes.seeds import Split, check_split, generator
from cutline.tools.scenes.shot import F32, Scene, Shot
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Sampler", "sample"]

_BANK = 256  # consecutive seeds that share one store
_BACKDROPS = 24  # in one store
_GOODS = 40  # in one store; and as many packshots
_KEPT = 3  # stores


@final
class Sampler:
    """Owns stores of sprites and backdrops; makes a scene, or a still of one, from any seed.

    A seed gives the same shot in every process. 256 consecutive seeds (from a multiple of 256) share one store, so ask for seeds in
    order, or shuffle within such runs: jumping about makes every call build a store.
    """

    def __init__(
        self,
        width: int,
        height: int,
        split: Split = "train",
        *,
        products: Path | None = None,
        scenes: Path | None = None,
    ) -> None:
        """Read the folders, if given.

        Args:
            width, height: of the shots, pixels.
            products: folder of packshots on white, to be mixed in.
            scenes: folder of photographs, used as backdrops beside the generated ones.
        Raises:
            UsageError: no such split.
            NoInputError: a folder is missing.
            BadInputError: a folder has nothing usable, or a packshot cannot be keyed.
        """
        self.width, self.height, self.split = width, height, check_split(split)
        self._packshots = load_packshots(products, split) if products else ()
        self._photographs = load_photographs(scenes, split) if scenes else ()
        self._stores: OrderedDict[int, tuple[list[Sprite], list[F32]]] = OrderedDict()

    def scene(self, seed: int) -> Scene:
        """Return the scene of this seed: its frames 0, 1, 2 ... are a video at 30 frames a second."""
        sprites, backdrops = self._store(seed // _BANK)
        rng = generator(self.split, "sample", seed)
        backdrop = backdrops[int(rng.integers(len(backdrops)))]
        return Composition(sprites, backdrop, split=self.split, seed=seed)

    def shot(self, seed: int) -> Shot:
        """Return the first frame of the scene of this seed."""
        return self.scene(seed).shot(0)

    def _good(self, rng: np.random.Generator) -> Sprite:
        """Draw a good of this split, seen from some side, in some light, somewhat larger than most shots will show it."""
        pixels = int(self.height * 0.8)
        good = draw_good(rng, self.split, pixels)
        sprite = good.view(float(rng.uniform(-0.9, 0.9)), pixels, draw_lamps(rng))
        return sprite

    def _store(self, number: int) -> tuple[list[Sprite], list[F32]]:
        if number in self._stores:
            self._stores.move_to_end(number)
            return self._stores[number]
        rng = generator(self.split, "store", number)
        backdrops = []
        for _ in range(_BACKDROPS):
            if self._photographs and rng.random() < 0.5:
                photograph = self._photographs[int(rng.integers(len(self._photographs)))]
                backdrops.append(from_photograph(rng, photograph, self.width, self.height))
            else:
                backdrops.append(draw_backdrop(rng, self.width, self.height, self.split))
        sprites = [self._good(rng) for _ in range(_GOODS)]
        if self._packshots:
            sprites += [self._packshots[int(i)] for i in rng.integers(0, len(self._packshots), _GOODS)]
        self._stores[number] = (sprites, backdrops)
        while len(self._stores) > _KEPT:
            self._stores.popitem(last=False)
        return sprites, backdrops


@lru_cache(maxsize=4)
def _shared(width: int, height: int, split: Split, products: Path | None, scenes: Path | None) -> Sampler:
    return Sampler(width, height, split, products=products, scenes=scenes)


def sample(
    seed: int,
    width: int,
    height: int,
    split: Split = "train",
    *,
    products: Path | None = None,
    scenes: Path | None = None,
) -> Shot:
    """Return the random still of this seed, from a Sampler kept for these arguments. Raises as Sampler does."""
    return _shared(width, height, split, products, scenes).shot(seed)
