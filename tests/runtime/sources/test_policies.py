"""Policies: files wait for slots, live and paced sources never do; a pace is a schedule, not a sleep."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cutline.runtime.sources import End, Filled, Source, SourceOptions

from .conftest import Clips, Taken, children, drain, open_pool, recycle

FRAMES = 40


@pytest.fixture
def clip(clips: Clips) -> Path:
    return clips.make("forty.mp4", frames=FRAMES)


def slowly(source: Source, pause_s: float) -> Taken:
    """Take everything, with a rest after each frame."""
    pool = open_pool(source, depth=1)
    taken = Taken()
    while taken.end is None:
        event = source.take(30)
        assert event is not None
        if isinstance(event, Filled):
            taken.filled.append(event)
            time.sleep(pause_s)
            recycle(source, pool, event)
        elif isinstance(event, End):
            taken.end = event
            pool.add_dropped(event.skipped)
    counts = pool.counts()
    assert counts.frames_in == counts.frames_out + counts.dropped
    assert counts.frames_out == len(taken.filled)
    taken.frames_in = counts.frames_in
    source.close()
    pool.close()
    return taken


def test_block_loses_nothing_however_slow_the_taker(clip: Path) -> None:
    taken = slowly(Source(str(clip), SourceOptions(policy="block")), 0.005)
    assert [filled.index for filled in taken.filled] == list(range(FRAMES))
    assert taken.frames_in == FRAMES


def test_latest_never_waits_and_every_frame_is_counted(clip: Path) -> None:
    taken = slowly(Source(str(clip), SourceOptions(policy="latest", pace_fps=200)), 0.05)
    assert len(taken.filled) < FRAMES
    assert taken.end is not None
    assert len(taken.filled) + sum(f.skipped for f in taken.filled) + taken.end.skipped == FRAMES == taken.frames_in
    indexes = [filled.index for filled in taken.filled]
    assert indexes == sorted(set(indexes))


def test_a_paced_file_is_due_at_even_steps_from_the_first(clip: Path) -> None:
    _, taken = drain(clip, SourceOptions(pace_fps=100))
    starts = [filled.time.available_ns - filled.index * 10_000_000 for filled in taken.filled]
    assert len(set(starts)) == 1  # the deadlines are absolute: no frame's lateness moves the next


def test_a_paced_source_that_is_late_leaves_out_what_is_overdue_but_never_all(clip: Path) -> None:
    others = children()
    source = Source(str(clip), SourceOptions(pace_fps=1e6))  # the next frame is always due already
    (decoder,) = children() - others
    os.kill(decoder, signal.SIGSTOP)
    pool = open_pool(source, depth=FRAMES)  # it is not for want of slots: all are there before the first frame
    os.kill(decoder, signal.SIGCONT)
    indexes, skipped = [], 0
    while not isinstance(event := source.take(30), End):
        assert isinstance(event, Filled)
        indexes.append(event.index)
        skipped += event.skipped
        recycle(source, pool, event)
    assert indexes == [10, 21, 32]
    assert len(indexes) + skipped + event.skipped == FRAMES
    source.close()
    pool.close()


def test_a_paced_file_that_blocks_is_late_and_leaves_nothing_out(clip: Path) -> None:
    _, taken = drain(clip, SourceOptions(policy="block", pace_fps=1e6))
    assert [filled.index for filled in taken.filled] == list(range(FRAMES))


def test_a_paced_frame_is_not_there_before_it_is_due(clip: Path) -> None:
    source = Source(str(clip), SourceOptions(pace_fps=20, frame_limit=5))
    pool = open_pool(source)
    while not isinstance(event := source.take(30), End):
        assert isinstance(event, Filled)
        assert time.monotonic_ns() >= event.time.available_ns
        recycle(source, pool, event)
    source.close()
    pool.close()


def test_a_paced_file_that_blocks_loses_nothing(clip: Path) -> None:
    taken = slowly(Source(str(clip), SourceOptions(policy="block", pace_fps=1000)), 0.002)
    assert [filled.index for filled in taken.filled] == list(range(FRAMES))


def test_the_schedule_begins_with_the_first_offer(clip: Path) -> None:
    source = Source(str(clip), SourceOptions(pace_fps=50, frame_limit=3))
    time.sleep(0.3)  # the network is being compiled, say
    before = time.monotonic_ns()
    pool = open_pool(source)
    event = source.take(30)
    assert isinstance(event, Filled)
    assert (event.index, event.skipped) == (0, 0)
    assert event.time.available_ns >= before
    source.close()
    pool.close()


def test_closing_in_the_middle_frees_the_slots(clip: Path) -> None:
    source = Source(str(clip), SourceOptions(loop=True))
    pool = open_pool(source, depth=3)
    assert isinstance(source.take(30), Filled)
    source.close()
    states = sorted(slot.state.value for slot in pool.slots)
    assert states == ["filling", "free", "free"]  # the one that was taken is the taker's
    source.offer(pool.slots[states.index("free")])
    assert source.take(0) is None
    pool.close()


def test_taking_in_vain_returns_in_time_and_nothing_is_lost(clip: Path) -> None:
    source = Source(str(clip))
    pool = open_pool(source, depth=1)
    first = source.take(30)
    assert isinstance(first, Filled)
    assert [source.take(0), source.take(0.01)] == [None, None]
    recycle(source, pool, first)
    second = source.take(30)
    assert isinstance(second, Filled)
    assert second.index == 1
    source.close()
    pool.close()


def test_random_rests_never_break_the_sums(clip: Path) -> None:
    random = np.random.default_rng(5)
    source = Source(str(clip), SourceOptions(policy="latest", pace_fps=300, loop=True, frame_limit=150))
    pool = open_pool(source, depth=3)
    held: list[Filled] = []
    seen = 0
    while not isinstance(event := source.take(0.02), End):
        if isinstance(event, Filled):
            seen += 1 + event.skipped
            held.append(event)
        counts = pool.counts()
        assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight
        if held and random.random() < 0.6:
            recycle(source, pool, held.pop(0))
        time.sleep(random.exponential(0.003))
    assert seen + event.skipped == 150
    source.close()
    pool.close()
