from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cutline.benchmarks.peers.catalogue import Entry
from cutline.benchmarks.peers.contest import Contestant, Picture, hold, summarise
from cutline.benchmarks.peers.rival import Turn
from cutline.runtime.errors import DeviceError


def make_turn(fps: float, others: float = 0.0) -> Turn:
    return Turn(frames=int(fps * 10), seconds=10.0, cpu_s=fps * 0.2, others_s=10 * others, peak_mib=100.0)


def contestant(key: str, *, rates: tuple[float, ...] = (), variant: str = "", precision: str = "fp32") -> Contestant:
    entry = Entry(
        path=Path(f"{key}.py"), name=key.title(), about="", packages=(), variants={variant: precision}, differs="",
        same_picture=key != "floor",
    )  # fmt: skip
    return Contestant(entry=entry, variant=variant, precision=precision, turns=[make_turn(r) for r in rates])


@dataclass
class Log:
    events: list[str] = field(default_factory=list)


@dataclass
class FakePlayer:
    key: str
    log: Log
    fails_at: int = 99
    versions: dict[str, str] = field(default_factory=lambda: {"lib": "1.0"})
    count: int = 0

    def turn(self, seconds: float) -> Turn:
        self.count += 1
        self.log.events.append(self.key)
        if self.count == self.fails_at:
            raise DeviceError("it has ended", remedy="Look.")
        return make_turn(10 * seconds)

    def picture(self, frame: int) -> Picture | None:
        return np.full((1, 1, 3), frame, np.uint8)

    def close(self) -> None:
        self.log.events.append(f"close {self.key}")


def run(contestants: list[Contestant], log: Log, rounds: int = 3, **fails_at: int) -> list[str]:
    told: list[str] = []

    def start(c: Contestant) -> FakePlayer:
        return FakePlayer(c.entry.key, log, fails_at.get(c.entry.key, 99))

    hold(contestants, start, rounds=rounds, seconds=1.0, frame=7, tell=told.append)
    return told


def test_each_round_begins_with_another_peer() -> None:
    log = Log()
    everyone = [contestant(key) for key in "abc"]
    run(everyone, log)
    assert log.events == [*"abc", *"bca", *"cab", "close a", "close b", "close c"]
    assert all(len(c.turns) == 3 for c in everyone)
    picture = everyone[0].picture
    assert picture is not None
    assert picture[0, 0, 0] == 7


def test_who_fails_is_left_out_and_the_others_go_on() -> None:
    log = Log()
    a, b = contestant("a"), contestant("b")
    told = run([a, b], log, b=2)
    assert "it has ended" in b.failure
    assert any(line.startswith("B is left out") for line in told)
    assert len(a.turns) == 3
    assert log.events.count("close b") == 1
    assert [r.key for r in summarise([a, b], reference="a", base=a)] == ["a"]


def test_who_cannot_start_is_left_out() -> None:
    def start(c: Contestant) -> FakePlayer:
        if c.entry.key == "b":
            raise DeviceError("no library", remedy="Install it.")
        return FakePlayer(c.entry.key, Log())

    a, b, c = contestant("a"), contestant("b"), contestant("c")
    c.failure = "is not installed"
    hold([a, b, c], start, rounds=2, seconds=1.0, frame=0, tell=lambda text: None)
    assert "no library" in b.failure
    assert (len(a.turns), len(b.turns), len(c.turns)) == (2, 0, 0)


def test_an_interrupt_ends_every_process_and_leaves_what_there_is() -> None:
    log = Log()

    class Impatient(FakePlayer):
        def turn(self, seconds: float) -> Turn:
            if self.key == "b":
                raise KeyboardInterrupt
            return super().turn(seconds)

    a, b = contestant("a"), contestant("b")
    with pytest.raises(KeyboardInterrupt):
        hold([a, b], lambda c: Impatient(c.entry.key, log), rounds=3, seconds=1.0, frame=0, tell=lambda text: None)
    assert log.events == ["a", "close a", "close b"]
    assert len(a.turns) == 1


def test_ratios_are_taken_within_a_round() -> None:
    """Rates that fall together, as on a machine that grows busier, leave the ratio alone."""
    ours, theirs = contestant("ours", rates=(100, 60, 20)), contestant("theirs", rates=(50, 15, 10))
    slow, fast = summarise([ours, theirs], reference="", base=ours)
    assert (slow.key, fast.key) == ("theirs", "ours")
    assert slow.ratio == 2.0
    assert slow.ratio_range == (2.0, 4.0)
    assert slow.fps == 15
    assert fast.ratio == 1.0
    assert slow.core_ms == pytest.approx(20)


def test_a_peer_is_also_compared_at_its_own_precision() -> None:
    best = contestant("ours", rates=(80,), precision="bf16")
    exact = contestant("ours", rates=(40,), variant="fp32", precision="fp32")
    peer = contestant("peer", rates=(10,), precision="fp32")
    found = {(r.key, r.variant): r for r in summarise([best, exact, peer], reference="", base=best)}
    assert found["peer", ""].ratio == 8
    assert found["peer", ""].ratio_same_precision == 4
    assert found["ours", ""].ratio_same_precision is None


def test_without_a_turn_of_ours_there_is_no_ratio() -> None:
    (only,) = summarise([contestant("peer", rates=(5,))], reference="", base=contestant("ours"))
    assert only.ratio is None
    assert only.ratio_range is None


def test_the_difference_is_that_of_composites_of_the_same_kind() -> None:
    reference, peer, floor = (contestant(key, rates=(1,)) for key in ("reference", "peer", "floor"))
    reference.picture = np.full((2, 2, 3), 10, np.uint8)
    peer.picture = np.full((2, 2, 3), 7, np.uint8)
    floor.picture = np.zeros((2, 2, 3), np.uint8)
    found = {r.key: r.difference for r in summarise([reference, peer, floor], reference="reference", base=peer)}
    assert found == {"reference": 0, "peer": 3, "floor": None}
