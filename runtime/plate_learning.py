"""Learns the clean plate from video in which the scene may never be empty all at once.

For each pixel the few colours that stay are collected (a small mixture, after Stauffer and Grimson, CVPR 1999). Which
of them is the empty scene cannot be told by time alone: a bottle may stand for most of a clip. The plate-less cut-out
network says how much each colour looked like a product while it was there, and neighbours settle what is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias, final

import cv2
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cutline.runtime.branch import Branch, window_of
from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Image
from cutline.runtime.errors import BadInputError, NoInputError, UsageError
from cutline.runtime.kernels import Background, Post, PostOptions, Window
from cutline.runtime.options import StreamOptions
from cutline.runtime.plate_fit import empty_part, shift_of
from cutline.runtime.sessions import open_engine
from cutline.runtime.slots import ArraySpec, Slot, SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Notice, Opener, Source, SourceOptions

__all__ = ["PlateLearner", "learn_plate"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Stretch: TypeAlias = tuple[float, float, float, float]  # begin and length in the frame; begin and length in the network

COLOURS: Final = 4  # remembered per pixel
SAME_BELOW: Final = 14.0  # summed distance in codes under which two colours are one
POLL_S: Final = 0.1  # how soon it is seen that learning is to stop
SAMPLES_PER_S: Final = 6.0
SAMPLES_MIN: Final = 8
STAYED: Final = 0.02  # share of the samples that a colour must have been there to be believed
LOOKS_LIKE_PRODUCT: Final = 60.0  # codes of disagreement with neighbours that outweigh a mean alpha of 1
ROUNDS: Final = 12
AROUND: Final = 41  # pixels of the network's picture: half the width of a product that fills a kiosk's view
DOUBTFUL: Final = 0.3  # mean alpha of what may be a product that never left
TOLD: Final = 0.01  # share of the plate in doubt from which the user hears of it
MOVED_FOR: Final = 3  # samples in a row, each compared with one of a second before
SPECK: Final = 16  # codes off the median of its neighbours: no detail of a scene is one pixel at the network's size


def learn_plate(options: StreamOptions, image: Image, opener: Opener, notify: Callable[[str], None]) -> U8:
    """Watch the first `options.learn_plate` seconds of the input and return its empty scene.

    Args:
        image: the input of the network that will use the plate.
    Returns:
        uint8[3, image.height, image.width], Y, Cb, Cr, where that network sees them.
    Raises:
        UsageError: the input can be read only once.
        BadInputError: the input ended before enough frames were seen.
        NoInputError: it was stopped before that.
        CutlineError: what opening or reading the input raises.
    """
    seconds = options.learn_plate or 0.0
    if options.input == "-" or Path(options.input).is_fifo():
        raise UsageError("no plate can be learnt from a pipe, it is read only once", remedy="Give --plate PICTURE.")
    notify(f"learning the plate from {seconds:g} s of {options.shown_name}")
    with ExitStack() as undo:
        source = opener.open(options.input, SourceOptions(policy="block"), notify)
        undo.callback(source.close)
        with open_bundle("cutout") as bundle:  # not before: a camera may be waited for
            engine = open_engine(bundle)
        undo.callback(engine.close)
        frame, known = source.info.format, engine.contract.frame
        rate = float(source.info.frame_rate or 25)
        branch = Branch(engine, frame, replace(options, framing="fit"))  # all that the other network may see
        arrays = {
            "guide": ArraySpec((3, known.height, known.width), "uint8"),
            "matte": ArraySpec((known.height, known.width), "float32"),
            **branch.arrays,
        }
        pool = SlotPool(format=frame, depth=3, arrays=arrays, alpha=False)
        undo.callback(pool.close)
        branch.bind(pool.slots)
        undo.callback(branch.session.close)
        learner = PlateLearner(known.width, known.height)
        post = Post(frame, engine.contract.primary, branch.window, PostOptions(temporal=0.0))
        every = max(1, round(rate / SAMPLES_PER_S))
        _watch(source, pool, branch, post, learner, opener, notify, frames=int(seconds * rate), every=every)
    if learner.moved:
        notify("the camera moved while the plate was learnt, so the plate is blurred: fix the camera and start again")
    codes = learner.plate()
    if learner.doubtful >= TOLD:
        notify(
            f"{learner.doubtful:.0%} of the learnt plate looked like goods all the time, and what never left is taken "
            "for the scene: give --learn-plate more seconds, or a picture to --plate"
        )
    return _through_another(codes, branch.window, window_of(image, frame, options))


def _watch(
    source: Source, pool: SlotPool, branch: Branch, post: Post, learner: PlateLearner, opener: Opener,
    notify: Callable[[str], None], *, frames: int, every: int,
) -> None:  # fmt: skip
    """Learn from so many frames. A camera that falls silent is waited for, as it is when frames are shown."""
    source.start(pool)
    for slot in pool.slots:
        source.offer(slot)
    seen, end = 0, None
    while seen < frames and end is None:
        if opener.stopped:
            raise NoInputError("stopped before the plate was learnt", remedy="Start again.", input=source.name)
        event = source.take(POLL_S)
        if isinstance(event, Notice) and event.kind in ("reconnecting", "reconnected"):
            notify(event.text)  # what else there is to say of the input is said when its frames are shown
        end = event if isinstance(event, End) else None
        if not isinstance(event, Filled):
            continue
        slot = pool.slots[event.slot_index]
        pool.move(slot, SlotState.READY)
        pool.move(slot, SlotState.RUNNING)
        if seen % every == 0:
            _learn_from(slot, branch, post, learner)
        pool.move(slot, SlotState.DONE)
        pool.move(slot, SlotState.FREE)
        source.offer(slot)
        seen += 1
    if learner.samples < SAMPLES_MIN:
        if end is not None and end.error is not None:
            raise end.error
        longer = "a longer input" if end is not None else "more seconds to --learn-plate"
        raise BadInputError(
            "too few frames to learn a plate from",
            remedy=f"Give {longer}, or a picture to --plate.",
            samples=learner.samples,
        )


def _learn_from(slot: Slot, branch: Branch, post: Post, learner: PlateLearner) -> None:
    guide, matte = slot.arrays["guide"], slot.arrays["matte"]
    branch.prepare(slot, guide)
    branch.session.start(slot)
    branch.session.wait(slot)
    original = Background(kind="original")
    post.run(slot.source, branch.output(slot), guide, background=original, out=slot.composite, matte=matte)
    learner.add(guide, matte)


@final
class PlateLearner:
    """Owns the colours that stayed at each pixel, how long they stayed, and how much they looked like a product."""

    def __init__(self, width: int, height: int) -> None:
        self._colours: F32 = np.zeros((COLOURS, 3, height, width), np.float32)
        self._weights: F32 = np.zeros((COLOURS, height, width), np.float32)
        self._alphas: F32 = np.zeros((COLOURS, height, width), np.float32)
        self._first: F32 | None = None
        self._past: deque[U8] = deque(maxlen=round(SAMPLES_PER_S) + 1)
        self._elsewhere = 0  # samples in a row in which the scene lay elsewhere than a second before
        self.samples = 0
        self.moved = False  # whether the camera was
        self.doubtful = 0.0  # share of the last plate that looked like a product whenever it was seen

    def add(self, codes: U8, matte: F32) -> None:
        """Take one sample.

        Args:
            codes: uint8[3, h, w], Y, Cb, Cr.
            matte: float32[h, w], what the plate-less network took for a product.
        """
        sample = self._in_first_light(codes.astype(np.float32))
        self._past.append(codes.copy())
        shift = shift_of(self._past[0].astype(np.float32), codes, empty_part(matte))
        self._elsewhere = 0 if shift is None else self._elsewhere + 1
        self.moved |= self._elsewhere == MOVED_FOR
        distance = np.abs(self._colours - sample).sum(axis=1)
        distance[self._weights == 0] = np.inf
        nearest = distance.argmin(axis=0)
        known = np.take_along_axis(distance, nearest[None], 0)[0] < SAME_BELOW
        place = np.where(known, nearest, self._weights.argmin(axis=0))
        chosen = np.arange(COLOURS)[:, None, None] == place
        fresh = chosen & ~known
        self._weights[fresh] = 0
        self._alphas[fresh] = 0
        self._weights += chosen
        # a product is a region: a patch of it that the network overlooked is judged by what stood around it
        self._alphas += chosen * np.maximum(matte, cv2.blur(matte, (AROUND, AROUND)))
        step = (chosen / np.maximum(self._weights, 1))[:, None]
        self._colours += step.astype(np.float32) * (sample - self._colours)
        self.samples += 1

    def plate(self) -> U8:
        """The empty scene as it is known by now: uint8[3, h, w]."""
        present = self._weights >= max(2.0, STAYED * self.samples)
        present |= self._weights == self._weights.max(axis=0)
        product = self._alphas / np.maximum(self._weights, 1)
        rarity = 0.1 * (1 - self._weights / self.samples)
        cost = np.where(present, product + rarity, np.float32(np.inf))
        chosen = cost.argmin(axis=0)
        for _ in range(ROUNDS):
            around = np.stack([cv2.blur(c, (15, 15)) for c in self._pick(chosen)])
            disagreement = np.abs(self._colours - around).sum(axis=1) / LOOKS_LIKE_PRODUCT
            settled = (cost + disagreement).argmin(axis=0)
            if np.array_equal(settled, chosen):
                break
            chosen = settled
        self.doubtful = float(np.mean(np.take_along_axis(product, chosen[None], 0) > DOUBTFUL))
        codes = np.clip(np.rint(self._pick(chosen)), 0, 255).astype(np.uint8)
        return np.stack([_without_specks(plane) for plane in codes])

    def _pick(self, chosen: NDArray[np.intp]) -> F32:
        return np.asarray(np.take_along_axis(self._colours, chosen[None, None], 0)[0], np.float32)

    def _in_first_light(self, sample: F32) -> F32:
        """Undo a change of exposure or white balance of the whole picture since the first sample."""
        if self._first is None:
            self._first = sample.copy()
            return sample
        thinned = np.s_[:, ::4, ::4]
        mine, first = sample[thinned], self._first[thinned]
        gain = np.median((first[0] + 1) / (mine[0] + 1))
        shift = np.median(first[1:] - mine[1:], axis=(1, 2))
        return np.concatenate([sample[:1] * np.float32(gain), sample[1:] + shift[:, None, None].astype(np.float32)])


def _through_another(codes: U8, known: Window, wanted: Window) -> U8:
    """The same scene, uint8[3, h, w], in another window of the same frames, of whatever size and shape."""
    (s, t), (ks, kt) = (wanted.source, wanted.target), (known.source, known.target)
    columns = _places(wanted.width, (s.x, s.width, t.x, t.width), (ks.x, ks.width, kt.x, kt.width))
    rows = _places(wanted.height, (s.y, s.height, t.y, t.height), (ks.y, ks.height, kt.y, kt.height))
    x, y = np.meshgrid(columns, rows)
    return np.stack([cv2.remap(p, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for p in codes])


def _places(side: int, wanted: Stretch, known: Stretch) -> F32:
    """Where the pixels of one axis of the wanted picture lie in the known one; beside its target, the nearest of it."""
    source, length, target, size = wanted
    inside = (np.arange(side) + 0.5 - target) / size * length
    in_frame = source + np.clip(inside, min(0.5, length / 2), max(length / 2, length - 0.5))
    source, length, target, size = known
    return np.asarray((in_frame - source) / length * size + target - 0.5, np.float32)


def _without_specks(plane: U8) -> U8:
    median = np.asarray(cv2.medianBlur(plane, 5), np.uint8)
    return np.where(cv2.absdiff(plane, median) > SPECK, median, plane)
