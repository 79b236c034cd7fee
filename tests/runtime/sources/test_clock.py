"""Time: rising timestamps out of whatever comes in, and deadlines that do not drift."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cutline.runtime.sources.clock import Clock, Pace

MS = Fraction(1, 1000)


def make(rate: int | None = 25, *, unit: Fraction | None = None) -> tuple[Clock, list[str]]:
    said: list[str] = []
    clock = Clock(MS, Fraction(rate) if rate else None, lambda kind, text: said.append(kind), unit=unit)
    return clock, said


def test_good_timestamps_are_kept_as_they_are() -> None:
    clock, said = make()
    uneven = [500, 533, 567, 900, 901, 60_000]
    assert [clock.stamp(pts) for pts in uneven] == uneven
    assert said == []


def test_missing_ones_are_filled_in_at_the_frame_rate() -> None:
    clock, said = make()
    assert [clock.stamp(pts) for pts in (None, None, 80, None)] == [0, 40, 80, 120]
    assert set(said) == {"timestamps"}


def test_a_slip_moves_one_frame_only() -> None:
    clock, said = make()
    assert [clock.stamp(pts) for pts in (0, 40, 20, 80, 120)] == [0, 40, 41, 80, 120]
    assert said == ["timestamps"]


def test_a_clock_that_begins_anew_goes_on_from_where_it_was() -> None:
    clock, _ = make()
    assert [clock.stamp(pts) for pts in (9000, 9040, 0, 40, 80)] == [9000, 9040, 9080, 9120, 9160]


def test_a_loop_goes_on_one_frame_later() -> None:
    clock, said = make()
    first = [clock.stamp(pts) for pts in (100, 140)]
    clock.go_on()
    assert clock.origin == 0
    assert first + [clock.stamp(pts) for pts in (100, 140)] == [100, 140, 180, 220]
    assert clock.origin == 80
    assert said == []
    assert clock.stamp(20) == 221  # a slip is no new round
    assert clock.origin == 80


def test_a_new_connection_continues_in_the_old_unit() -> None:
    clock, said = make(unit=Fraction(1, 90_000))
    clock.begin_at(1_000_000)
    assert [clock.stamp(pts) for pts in (7, 47)] == [1_000_000, 1_003_600]
    assert said == []


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(10**9), 10**9), max_size=50), st.sampled_from([None, 1, 25, 1000]))
def test_times_always_rise(stamps: list[int | None], rate: int | None) -> None:
    clock, _ = make(rate)
    out = [clock.stamp(pts) for pts in stamps]
    assert all(a < b for a, b in pairwise(out))


def test_a_schedule_does_not_drift() -> None:
    pace = Pace(29.97, 5)
    assert pace.due_ns(0) == 5
    assert pace.due_ns(2997) == 5 + 100_000_000_000
    assert pace.due_ns(2997 * 36 * 24 * 30) == 5 + 100_000_000_000 * 36 * 24 * 30
