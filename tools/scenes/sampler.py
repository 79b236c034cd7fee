"""Training data at speed: independent random shots, all kinds mixed, from stores of sprites and backdrops."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np

from cutline.tools.scenes.backdrops import draw_backdrop, from_photograph
from cutline.tools.scenes.composition import Composition
from cutline.tools.scenes.goods import draw_good
from cutline.tools.scenes.hand import GRIPS, Hand, draw_hand
from cutline.tools.scenes.light import draw_lamps
from cutline.tools.scenes.packshots import load_packshots, load_photographs, shows_hands
from cutline.tools.scenes.seeds import Split, check_split, generator
from cutline.tools.scenes.shot import F32, Scene, Shot
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Sampler", "sample"]

_BANK = 256  # consecutive seeds that share one store
_BACKDROPS = 24  # in one store
_GOODS = 40  # in one store; and as many packshots
_HANDS = 10  # in one store
_KEPT = 3  # stores


@dataclass(frozen=True, slots=True)
class _Store:
    sprites: list[Sprite]
    hands: list[Hand]
    backdrops: list[tuple[F32, frozenset[str]]]


@final
class Sampler:
    """Owns stores of sprites and backdrops; makes a scene, or a still of one, from any seed.

    A seed gives the same shot in every process. 256 consecutive seeds (from a multiple of 256) share one store, so ask
    for seeds in order, or shuffle within such runs: jumping about makes every call build a store.
    """

    def __init__(
        self,
        width: int,
        height: int,
        split: Split = "train",
        *,
        products: Path | None = None,
        scenes: Path | None = None,
        decoys: bool = True,
    ) -> None:
        """Read the folders, if given.

        Args:
            width, height: of the shots, pixels.
            products: folder of packshots on white, to be mixed in.
            scenes: folder of photographs, used as backdrops beside the generated ones.
            decoys: also use photographs in which somebody seems to hold goods. They are background like everything in a
                photograph: right for a network that sees the plate, misleading for one that does not.
        Raises:
            UsageError: no such split.
            NoInputError: a folder is missing.
            BadInputError: a folder has nothing usable, or a packshot cannot be keyed.
        """
        self.width, self.height, self.split = width, height, check_split(split)
        self._packshots = load_packshots(products, split) if products else ()
        photographs = load_photographs(scenes, split) if scenes else ()
        kept = [(picture, shows_hands(picture)) for picture in photographs]
        self._photographs = [entry for entry in kept if decoys or not entry[1]]
        self._stores: OrderedDict[int, _Store] = OrderedDict()

    def scene(self, seed: int) -> Scene:
        """Return the scene of this seed: its frames 0, 1, 2 ... are a video at 30 frames a second."""
        store = self._store(seed // _BANK)
        rng = generator(self.split, "sample", seed)
        backdrop, tags = store.backdrops[int(rng.integers(len(store.backdrops)))]
        return Composition(store.sprites, backdrop, split=self.split, seed=seed, hands=store.hands, tags=tags)

    def shot(self, seed: int) -> Shot:
        """Return the first frame of the scene of this seed."""
        return self.scene(seed).shot(0)

    def _good(self, rng: np.random.Generator) -> Sprite:
        """Draw a good of this split, seen from some side, in some light, larger than most shots will show it."""
        pixels = int(self.height * 0.8)
        good = draw_good(rng, self.split, pixels)
        return good.view(float(rng.uniform(-0.9, 0.9)), pixels, draw_lamps(rng))

    def _hand(self, rng: np.random.Generator) -> Hand:
        grip = GRIPS[int(rng.integers(len(GRIPS)))]
        half_width = rng.uniform(0.15, 0.35) if grip == "from above" else rng.uniform(0.25, 0.7)
        return draw_hand(rng, grip, float(half_width), self.height * 0.25, draw_lamps(rng))

    def _store(self, number: int) -> _Store:
        if number in self._stores:
            self._stores.move_to_end(number)
            return self._stores[number]
        rng = generator(self.split, "store", number)
        sprites = [self._good(rng) for _ in range(_GOODS)]
        if self._packshots:
            sprites += [self._packshots[int(i)] for i in rng.integers(0, len(self._packshots), _GOODS)]
        hands = [self._hand(rng) for _ in range(_HANDS)]
        self._stores[number] = store = _Store(sprites, hands, [self._backdrop(rng) for _ in range(_BACKDROPS)])
        while len(self._stores) > _KEPT:
            self._stores.popitem(last=False)
        return store

    def _backdrop(self, rng: np.random.Generator) -> tuple[F32, frozenset[str]]:
        """Draw a backdrop and its tags: "decoy" where it shows a hand that holds goods, which are not to be cut out."""
        if self._photographs and rng.random() < 0.5:
            photograph, held = self._photographs[int(rng.integers(len(self._photographs)))]
            tags = frozenset({"photograph", "decoy"} if held else {"photograph"})
            return from_photograph(rng, photograph, self.width, self.height), tags
        return draw_backdrop(rng, self.width, self.height, self.split), frozenset()


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
