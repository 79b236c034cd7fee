"""All peers in turns: one works while the others wait, the order moves on by one each round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.peers.catalogue import Entry
from cutline.benchmarks.peers.rival import Turn
from cutline.runtime.errors import CutlineError

__all__ = ["Contestant", "Result", "hold", "summarise"]

Picture = NDArray[np.uint8]


class Player(Protocol):
    """What a contest asks of a peer's process; `rival.Rival` is one."""

    versions: dict[str, str]

    def turn(self, seconds: float) -> Turn:
        """Work for so many seconds."""
        ...

    def picture(self, frame: int) -> Picture | None:
        """Give the composite of one frame."""
        ...

    def close(self) -> None:
        """End."""
        ...


@dataclass(slots=True, kw_only=True)
class Contestant:
    """One variant of one peer and what it did."""

    entry: Entry
    variant: str
    precision: str
    versions: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)  # by round, without gaps
    picture: Picture | None = None
    failure: str = ""  # why it is left out

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.entry.name}, {self.variant}" if self.variant else self.entry.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the table. Ranges are (least, greatest) of the rounds."""

    name: str
    key: str
    variant: str
    precision: str
    fps: float  # median of the rounds
    fps_range: tuple[float, float]
    ratio: float | None  # frames of Cutline for one of this peer: median of the rounds' own ratios
    ratio_range: tuple[float, float] | None
    ratio_same_precision: float | None  # the same with Cutline held to the peer's precision
    core_ms: float
    peak_mib: float
    others: float  # cores that other programs had during its turns, mean
    difference: float | None  # of its composite from the reference's: mean absolute difference, 0..255
    differs: str
    versions: Mapping[str, str]


def hold(
    contestants: Sequence[Contestant],
    start: Callable[[Contestant], Player],
    *,
    rounds: int,
    seconds: float,
    frame: int,
    tell: Callable[[str], None],
) -> None:
    """Start everyone, hold the rounds, then take a picture of everyone; results are in the contestants.

    Who fails is left out from then on, and its turns so far with it. KeyboardInterrupt leaves what there is.

    Args:
        frame: of the clip, whose composite is kept.
    """
    players: dict[int, Player] = {}

    def attempt(contestant: Contestant, step: Callable[[Contestant], None]) -> None:
        try:
            step(contestant)
        except CutlineError as error:
            contestant.failure = str(error)
            tell(f"{contestant.name} is left out: {error}")
            if player := players.pop(id(contestant), None):
                player.close()

    def enter(contestant: Contestant) -> None:
        player = players[id(contestant)] = start(contestant)
        contestant.versions = player.versions

    def play(contestant: Contestant) -> None:
        turn = players[id(contestant)].turn(seconds)
        contestant.turns.append(turn)
        tell(f"{contestant.name}: {turn.fps:.1f} fps, {turn.core_ms:.1f} core-ms a frame, {turn.peak_mib:.0f} MiB")

    def show(contestant: Contestant) -> None:
        contestant.picture = players[id(contestant)].picture(frame)

    def each(order: Sequence[Contestant], step: Callable[[Contestant], None]) -> None:
        for contestant in order:
            if not contestant.failure:
                attempt(contestant, step)

    try:
        each(contestants, enter)
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            each(_rotated(contestants, number), play)
        each(contestants, show)
    finally:
        for player in players.values():
            player.close()


def summarise(contestants: Sequence[Contestant], *, reference: str, base: Contestant) -> list[Result]:
    """Compare everyone with `base` over the rounds that both played; slowest first.

    Args:
        reference: key of the entry whose first variant's picture the others' are compared with.
        base: the contestant that ratios are frames of.
    """
    played = [c for c in contestants if c.turns and not c.failure]
    wanted = next((c.picture for c in played if c.entry.key == reference), None)
    same = {c.precision: c for c in played if c.entry.key == base.entry.key}
    results = [_result(c, base, same.get(c.precision), wanted) for c in played]
    return sorted(results, key=lambda r: r.fps)


def _result(c: Contestant, base: Contestant, same: Contestant | None, wanted: Picture | None) -> Result:
    rates = [t.fps for t in c.turns]
    ratios = _ratios(base, c)
    at_same = _ratios(same, c) if same is not None and same is not base else []
    return Result(
        name=c.name,
        key=c.entry.key,
        variant=c.variant,
        precision=c.precision,
        fps=statistics.median(rates),
        fps_range=(min(rates), max(rates)),
        ratio=statistics.median(ratios) if ratios else None,
        ratio_range=(min(ratios), max(ratios)) if ratios else None,
        ratio_same_precision=statistics.median(at_same) if at_same else None,
        core_ms=statistics.median(t.core_ms for t in c.turns),
        peak_mib=max(t.peak_mib for t in c.turns),
        others=statistics.fmean(t.others for t in c.turns),
        difference=_difference(c, wanted),
        differs=c.entry.differs,
        versions=c.versions,
    )


def _ratios(base: Contestant, c: Contestant) -> list[float]:
    return [ours.fps / theirs.fps for ours, theirs in zip(base.turns, c.turns, strict=False)]


def _difference(c: Contestant, wanted: Picture | None) -> float | None:
    if wanted is None or c.picture is None or not c.entry.same_picture or c.picture.shape != wanted.shape:
        return None
    return float(np.abs(c.picture.astype(np.int16) - wanted).mean())


def _rotated(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]
