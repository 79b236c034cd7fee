"""Batches out of a pool that is renewed while it is read, so that a seed still decides every one of them.

Composite number k is made from seed k alone and lives in slot k mod capacity. A step reads numbers from a window that
only the step decides; the makers fill the slots ahead of the window and wait when they are a whole pool ahead. So who
is faster changes how long a step takes, and never what it sees.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import CutlineError, InternalError
from cutline.tools.scenes import SCENES, Sampler, Scene, make_scene
from cutline.tools.train.augment import AugmentOptions, augment
from cutline.tools.train.pool import Composite, create_pool, open_pool

__all__ = ["Batch", "Feed", "FeedOptions"]

Maker = Callable[[int], Composite]
_PATIENCE_S = 180.0  # without one new composite: the makers hang
_NAP_S = 0.01
_LOOK_S = 0.2  # between two looks at makers that start
_STAGES = tuple(name for name in SCENES if name != "packshots")
_STAGED_SHOTS = 4  # of one staged scene, which costs more to set up than to photograph
_STAGED_FRAMES = 600  # among which those shots are drawn


@dataclass(frozen=True, slots=True)
class Batch:
    """frame, plate uint8[N, H, W, 3], alpha uint8[N, H, W]; `twins`: the second half shows the first half's shots."""

    frame: NDArray[np.uint8]
    plate: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    twins: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedOptions:
    """Where composites come from and how they are used."""

    products: Path | None = None
    scenes: Path | None = None
    decoys: bool = True  # goods that are part of the empty scene: only a plate can tell them from those that are wanted
    width: int = 512  # of a stored composite, pixels
    height: int = 288
    seed: int = 0
    capacity: int = 1024  # composites in the pool, 1 MB each at 512x288
    first: int = 192  # composites that must be there before the first step
    batch: int = 16  # pictures in a step, at most
    uses: int = 8  # how often each composite is used, on average
    done: int = 0  # steps that an earlier run did
    makers: int = 1  # processes
    twins_every: int = 6  # every so many steps shows its shots twice, for the temporal loss

    def window(self, step: int) -> tuple[int, int]:
        """First number, and one past the last, of the composites that a step draws from."""
        newest = self.first + step * self.batch // self.uses
        return max(0, newest - self.capacity // 2), newest

    @property
    def base(self) -> int:
        """The number that the makers start with: the oldest that the next step may draw."""
        return self.window(self.done)[0]


@final
class Feed:
    """Owns a pool without a name on the disk, and the processes that fill it, until close()."""

    def __init__(self, options: FeedOptions, make: Callable[[FeedOptions], Maker] | None = None) -> None:
        """Start the makers; `make` builds what turns a number into a composite, in each of their processes.

        Raises:
            NoInputError, BadInputError: a folder is missing or has nothing usable.
            StorageError, OutputError: there is no room for the pool in the folder for temporary files.
            InternalError: a maker died before it began.
        """
        self.options = options
        make = make or composite_maker
        make(options)  # a missing folder is reported here, not by a process that nobody sees
        context = multiprocessing.get_context("spawn")
        self._goal: Synchronized[int] = context.Value("q", options.base + options.capacity)
        self._folder = Path(tempfile.mkdtemp(prefix="cutline-train-"))
        self._makers: list[BaseProcess] = []
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._pool = create_pool(
                self._folder / "pool", capacity=options.capacity, width=options.width, height=options.height
            )
            undo.callback(self._pool.close)
            opened = context.Semaphore(0)
            for index in range(options.makers):
                work = partial(_produce, self._folder / "pool", options, make, index, self._goal, opened, os.getpid())
                process = context.Process(target=work, daemon=True, name=f"cutline-maker-{index}")
                process.start()
                undo.callback(_stop, process)
                self._makers.append(process)
            for _ in self._makers:
                while not opened.acquire(timeout=_LOOK_S):
                    self._demand_makers()
            shutil.rmtree(self._folder)  # all have mapped it: a kill from here on leaves no gigabyte behind
            self._owned = undo.pop_all()

    def batch(self, step: int, size: int, augmentation: AugmentOptions) -> Batch:
        """Draw the batch of this step: `size` pictures of the size that `augmentation` names.

        Raises:
            InternalError: the makers died or hang.
        """
        options = self.options
        random = np.random.default_rng([options.seed, step])
        twins = step % options.twins_every == options.twins_every - 1 and size % 2 == 0
        oldest, newest = options.window(step)
        with self._goal.get_lock():
            self._goal.value = max(self._goal.value, oldest + options.capacity)
        numbers = random.integers(oldest, newest, size // 2 if twins else size)
        seeds = random.integers(0, 2**31, len(numbers))
        frames, plates, alphas = [], [], []
        for draw in range(2 if twins else 1):
            for number, seed in zip(numbers, seeds, strict=True):
                look, noise = np.random.default_rng(seed), np.random.default_rng([seed, draw])
                varied = augment(self._composite(int(number)), augmentation, look, noise)
                frames.append(varied.frame)
                plates.append(varied.plate)
                alphas.append(varied.alpha)
        return Batch(np.stack(frames), np.stack(plates), np.stack(alphas), twins)

    def close(self) -> None:
        """Stop the makers and delete the pool; later calls do nothing."""
        self._owned.close()

    def _composite(self, number: int) -> Composite:
        """Composite `number`, waiting until it is there."""
        pool, capacity = self._pool, self.options.capacity
        patience = time.monotonic() + _PATIENCE_S
        while True:
            if pool.round(number % capacity) == (number - self.options.base) // capacity + 1:
                composite = pool.get(number % capacity)
                if composite is not None:
                    return composite
            self._demand_makers()
            if time.monotonic() > patience:
                raise _no_more("nothing came for three minutes")
            time.sleep(_NAP_S)

    def _demand_makers(self) -> None:
        dead = [p.name for p in self._makers if not p.is_alive()]
        if dead:
            raise _no_more(f"{', '.join(dead)} ended")


def composite_maker(options: FeedOptions) -> Maker:
    """What makes composite k: in turn a free still, with the user's goods and places if given, and a staged scene.

    Raises:
        NoInputError: a folder is missing.
        BadInputError: a folder holds nothing usable.
    """
    folders = {"products": options.products, "scenes": options.scenes}
    sampler = Sampler(options.width, options.height, "train", **folders, decoys=options.decoys)
    first = options.seed << 32

    @lru_cache(maxsize=1)
    def staged(number: int) -> Scene:
        name = _STAGES[number % len(_STAGES)]
        return make_scene(name, seed=first + number, width=options.width, height=options.height, split="train")

    def make(number: int) -> Composite:
        if number % 2:
            index = int(np.random.default_rng([options.seed, number]).integers(0, _STAGED_FRAMES))
            shot = staged(number // (2 * _STAGED_SHOTS)).shot(index)
        else:
            shot = sampler.shot(first + number // 2)
        return Composite(shot.rgb, shot.plate, np.rint(shot.alpha * 255).astype(np.uint8))

    return make


def _produce(
    folder: Path,
    options: FeedOptions,
    make: Callable[[FeedOptions], Maker],
    index: int,
    goal: Synchronized[int],
    opened: Semaphore,
    parent: int,
) -> None:
    """Make every `options.makers`-th composite, never more than the pool can hold ahead of the reader."""
    cv2.setNumThreads(1)
    try:
        pool = open_pool(folder)
        opened.release()
        composite = make(options)
        number = options.base + index
        while os.getppid() == parent:  # a killed trainer leaves no makers behind
            if number >= goal.value:
                time.sleep(_NAP_S)
                continue
            pool.put(number % options.capacity, composite(number))
            number += options.makers
    except CutlineError as error:
        raise SystemExit(f"{error}") from error
    except KeyboardInterrupt:
        return


def _no_more(why: str) -> InternalError:
    return InternalError(
        f"no more training pictures: {why}", remedy="Read the messages above; resume with the same command."
    )


def _stop(process: BaseProcess) -> None:
    process.terminate()
    process.join()
    process.close()
