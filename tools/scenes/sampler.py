"""Training data at speed: independent random shots, all kinds mixed, from stores of sprites and backdrops."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.backdrops import draw_backdrop, from_photograph
from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.composition import Composition
from cutline.tools.scenes.goods import draw_good
from cutline.tools.scenes.hand import GRIPS, Hand, draw_hand
from cutline.tools.scenes.light import draw_lamps
from cutline.tools.scenes.packshots import load_packshots, load_photographs, shows_hands
from cutline.tools.scenes.seeds import Split, check_split, generator
from cutline.tools.scenes.shot import F32, Scene, Shot, f32
from cutline.tools.scenes.sprite import Sprite, place

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
            decoys: also use photographs in which somebody seems to hold goods, and goods that are part of the place.
                They are background, and on the plate: right for a network that sees it, misleading for others.
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
        self._decoys = decoys
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
            chosen = rng.integers(0, len(self._packshots), _GOODS)
            sprites += [varied(rng, self._packshots[int(number)]) for number in chosen]
        hands = [self._hand(rng) for _ in range(_HANDS)]
        self._stores[number] = store = _Store(sprites, hands, [self._backdrop(rng, sprites) for _ in range(_BACKDROPS)])
        while len(self._stores) > _KEPT:
            self._stores.popitem(last=False)
        return store

    def _backdrop(self, rng: np.random.Generator, sprites: list[Sprite]) -> tuple[F32, frozenset[str]]:
        """Draw a backdrop and its tags: "decoy" where it shows a hand that holds goods, which are not to be cut out."""
        if self._photographs and rng.random() < 0.5:
            photograph, held = self._photographs[int(rng.integers(len(self._photographs)))]
            tags = frozenset({"photograph", "decoy"} if held else {"photograph"})
            return from_photograph(rng, photograph, self.width, self.height), tags
        backdrop = draw_backdrop(rng, self.width, self.height, self.split)
        if not self._decoys or rng.random() < 0.8:
            return backdrop, frozenset()
        return with_decoys(rng, backdrop, sprites), frozenset({"decoy"})


def with_decoys(rng: np.random.Generator, backdrop: F32, sprites: list[Sprite]) -> F32:
    """Put goods into the place itself: they are on the plate and not to be cut out. Half of them are out of focus."""
    canvas, height = Canvas(backdrop), backdrop.shape[0]
    blur = height * float(rng.uniform(0.008, 0.03)) if rng.random() < 0.5 else 0.0
    for _ in range(int(rng.integers(1, 4))):
        sprite = sprites[int(rng.integers(len(sprites)))]
        x, y = rng.uniform(0, backdrop.shape[1]), height * rng.uniform(0.3, 1.0)
        matrix = place(sprite, float(x), float(y), height * float(rng.uniform(0.2, 0.7)), foot=True)
        canvas.put(sprite, matrix, 1, light=np.full(3, rng.uniform(0.4, 1.0), np.float32), defocus=blur)
    return canvas.colour


def varied(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """Return a packshot as another of its brand would look elsewhere: other hue, saturation and light from one side."""
    keep, turn = rng.uniform(0.6, 1.25), rng.normal(0, 0.12)
    grey = np.full((3, 3), 1 / 3)
    cos, sin = np.cos(turn), np.sin(turn) / np.sqrt(3)  # a turn about the grey axis
    hue = cos * np.eye(3) + (1 - cos) * grey + sin * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    matrix = f32((keep * hue + (1 - keep) * grey) * rng.uniform(0.75, 1.15))
    x = np.linspace(-1, 1, sprite.width, dtype=np.float32)
    y = np.linspace(-1, 1, sprite.height, dtype=np.float32)[:, None]
    light = 1 + np.float32(rng.normal(0, 0.15)) * x + np.float32(rng.normal(0, 0.1)) * y
    rgba = sprite.rgba.astype(np.float32)
    coloured = cv2.transform(rgba[..., :3], matrix) * light[..., None]
    rgba[..., :3] = np.clip(coloured, 0, rgba[..., 3:])
    return Sprite(cv2.convertScaleAbs(rgba), sprite.tags, sprite.optics)


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
