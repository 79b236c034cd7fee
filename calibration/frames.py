"""The frames that a network is calibrated on, and others, unlike them, that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias, final

import numpy as np

from cutline.calibration.clips import Clip, Footage, Moment, find_footage, first_error, open_footage, public_name
from cutline.calibration.collect import Progress
from cutline.calibration.table import FrameRecord
from cutline.calibration.variety import Look, Looker, spread
from cutline.runtime.errors import BadInputError, CutlineError, UsageError

__all__ = ["FrameSet", "Part", "choose_frames"]

Part: TypeAlias = Literal["calibration", "held-out"]

CANDIDATES: Final = 4096  # looked at in all; longer footage is looked at every second, fourth, eighth ... frame
FEWEST: Final = 16  # distinct frames to calibrate on


@dataclass(frozen=True, slots=True)
class Pick:
    """The first frame of a run: clip and frame number, and the digest of what it showed."""

    clip: int
    index: int
    digest: str


@final
class FrameSet:
    """Owns recordings of live sources, until close(). Files are read again whenever frames are needed.

    notices: what the user should know, such as clips that could not be read.
    """

    def __init__(
        self,
        clips: Sequence[Footage],
        calibration: Sequence[Pick],
        held_out: Sequence[Pick],
        run_length: int,
        notices: Sequence[str],
    ) -> None:
        self.clips, self.run_length, self.notices = tuple(clips), run_length, tuple(notices)
        self._parts: dict[Part, tuple[Pick, ...]] = {"calibration": tuple(calibration), "held-out": tuple(held_out)}

    def __enter__(self) -> FrameSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete recordings; later calls do nothing."""
        for clip in self.clips:
            if not isinstance(clip, Clip):
                clip.close()

    def count(self, part: Part) -> int:
        """Sequences of one part; each has run_length frames, fewer where the clip ends."""
        return len(self._parts[part])

    def records(self, part: Part) -> tuple[FrameRecord, ...]:
        """Provenance, one record for each frame that begins a sequence."""
        suffix = f"+{self.run_length - 1}" if self.run_length > 1 else ""
        return tuple(
            FrameRecord(source=public_name(self.clips[p.clip].name), index=p.index, digest=p.digest + suffix)
            for p in self._parts[part]
        )

    def clips_of(self, part: Part) -> tuple[Footage, ...]:
        """The clip of each sequence."""
        return tuple(self.clips[p.clip] for p in self._parts[part])

    def runs(self, part: Part) -> Iterator[tuple[Footage, Iterator[Moment]]]:
        """Decode the frames of one part: for each sequence its clip, and its frames, which are borrowed one at a time.

        Each sequence must be read before the next is asked for.

        Raises:
            BadInputError: a clip no longer holds what it held.
        """
        for number, clip in enumerate(self.clips):
            starts = [p.index for p in self._parts[part] if p.clip == number]
            if starts:
                for run in _runs(clip, starts, self.run_length):
                    yield clip, run


def _runs(clip: Footage, starts: Sequence[int], length: int) -> Iterator[Iterator[Moment]]:
    with closing(clip.read()) as moments:
        for start in starts:
            first = next((m for m in moments if m.index >= start), None)
            if first is None or first.index != start:
                raise BadInputError(
                    "the footage changed while it was in use", remedy="Build again.", clip=clip.name, frame=start
                )
            yield _run(first, moments, length)


def _run(first: Moment, rest: Iterator[Moment], length: int) -> Iterator[Moment]:
    yield first
    yield from islice(rest, length - 1)


def choose_frames(
    inputs: Sequence[str],
    *,
    count: int = 128,
    held_out: int = 32,
    seed: int = 0,
    run_length: int = 1,
    progress: Progress | None = None,
) -> FrameSet:
    """Look through footage and choose frames for variety.

    The same footage, numbers and seed give the same frames. Fewer than asked for are used, and said, when no more are
    distinct.

    Args:
        inputs: clips, folders (searched with their subfolders), globs, cameras, URLs.
        count, held_out: sequences for calibration and for judging; no two of them begin with near-duplicates.
        run_length: frames in each sequence, more than one for recurrent networks.
    Raises:
        UsageError: a number is out of range.
        NoInputError: there is no footage.
        BadInputError: no clip can be read, the frames are noise, all alike, or too few.
    """
    if count < FEWEST or held_out < 1 or run_length < 1:
        raise UsageError(
            "too few calibration frames were asked for",
            remedy=f"Ask for {FEWEST} or more, and one or more held out.",
            count=count,
            held_out=held_out,
            run_length=run_length,
        )
    with ExitStack() as undo:
        scan = _scan(find_footage(inputs), count + held_out, run_length, progress, undo)
        picks = _choose(scan, count + held_out, seed)
        parts = _split(picks, count, held_out, scan.notices)
        undo.pop_all()
        return FrameSet(scan.clips, *parts, run_length, scan.notices)


@dataclass(slots=True)
class _Scan:
    clips: list[Footage]
    seen: list[tuple[Pick, Look]]
    random: int
    notices: list[str]


def _scan(found: Sequence[Clip], wanted: int, run_length: int, progress: Progress | None, undo: ExitStack) -> _Scan:
    scan = _Scan([], [], 0, [])
    errors: list[CutlineError] = []
    share = max(CANDIDATES // len(found), 8)
    for clip in found:
        try:
            footage = open_footage(clip, most=min(4 * wanted * run_length, share))
            if not isinstance(footage, Clip):
                undo.callback(footage.close)
            looks = _look_through(footage, share, run_length, _teller(progress, clip.name, len(scan.seen)))
        except CutlineError as error:
            errors.append(error)
            scan.notices.append(f"{clip.name} was left out: {error.what}")
            continue
        number = len(scan.clips)
        scan.clips.append(footage)
        scan.random += sum(look.random for look in looks.values())
        scan.seen += [(Pick(number, i, k.digest), k) for i, k in looks.items() if not k.random]
    if not scan.clips:
        raise first_error(errors)
    if scan.random > len(scan.seen):
        raise BadInputError(
            "the calibration frames are random noise, from which ranges cannot be learnt",
            remedy="Give footage of the site.",
            noise=scan.random,
            pictures=len(scan.seen),
        )
    if scan.random:
        scan.notices.append(f"{scan.random} frames of noise were left out")
    return scan


def _teller(progress: Progress | None, name: str, before: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if progress is not None:
            progress(before + done, None, f"looking through {name}")

    return tell


def _look_through(footage: Footage, most: int, run_length: int, tell: Callable[[int], None]) -> dict[int, Look]:
    """Look at every n-th frame; n doubles whenever there would be more than `most`."""
    stride, looks, last = run_length, dict[int, Look](), 0
    looker: Looker | None = None
    for moment in footage.read():
        last = moment.index
        if moment.index % stride:
            continue
        looker = looker or Looker(moment.format)
        looks[moment.index] = looker.look(moment.planes)
        tell(len(looks))
        if len(looks) > most:
            stride *= 2
            looks = {i: look for i, look in looks.items() if i % stride == 0}
    return {i: look for i, look in looks.items() if i + run_length - 1 <= last or i == 0}


def _choose(scan: _Scan, wanted: int, seed: int) -> list[Pick]:
    """Distinct frames, in the footage's order."""
    need = FEWEST + 1
    if not scan.seen:
        raise BadInputError("there are no calibration frames", remedy="Give footage of the site.")
    thumbnails = np.stack([look.thumbnail for _, look in scan.seen])
    chosen = spread(thumbnails, wanted, seed=seed)
    if len(chosen) < need and len(scan.seen) >= need:
        raise BadInputError(
            f"the calibration frames are all alike: {len(scan.seen)} were looked at, {len(chosen)} differ",
            remedy=f"Give footage in which at least {need} frames differ.",
        )
    if len(chosen) < need:
        raise BadInputError("there are too few calibration frames", remedy=f"Give at least {need}.", found=len(chosen))
    return [scan.seen[i][0] for i in chosen]


def _split(picks: list[Pick], count: int, held_out: int, notices: list[str]) -> tuple[list[Pick], list[Pick]]:
    """Hold out frames evenly over the footage, fewer of them where frames are few."""
    if len(picks) < count + held_out:
        share = held_out / (count + held_out)
        held_out = max(1, min(round(len(picks) * share), len(picks) - FEWEST))
        notices.append(f"only {len(picks)} frames differ: {len(picks) - held_out} for calibration, {held_out} held out")
    places = {int((i + 0.5) * len(picks) / held_out) for i in range(held_out)}
    return [p for i, p in enumerate(picks) if i not in places], [p for i, p in enumerate(picks) if i in places]
