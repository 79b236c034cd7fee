"""Slots: the states, the sums that always add up, and memory that another process can map and that leaves no trace."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cutline.runtime.errors import InternalError, UsageError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.slots import ArraySpec, Slot, SlotPool, SlotState, view_planes

ODD = FrameFormat(width=67, height=35)
S = SlotState
LEGAL = {
    (S.FREE, S.FILLING),
    (S.FILLING, S.READY),
    (S.FILLING, S.FREE),
    (S.READY, S.RUNNING),
    (S.READY, S.FREE),
    (S.RUNNING, S.DONE),
    (S.RUNNING, S.FREE),
    (S.DONE, S.FREE),
}


def make(depth: int = 3, *, alpha: bool = True, composite: bool = True) -> SlotPool:
    arrays = {"input": ArraySpec((1, 3, 5, 7), "float32"), "half": ArraySpec((3, 3), "bfloat16")}
    return SlotPool(format=ODD, depth=depth, arrays=arrays, alpha=alpha, composite=composite)


class PoolRounds(RuleBasedStateMachine):
    """Moves slots about at random, legally or not, beside a plain model of the sums."""

    @initialize(depth=st.integers(1, 4))
    def begin(self, depth: int) -> None:
        self.pool = SlotPool(format=ODD, depth=depth, arrays={}, alpha=False)
        self.states = [S.FREE] * depth
        self.came_in = self.went_out = self.was_dropped = 0

    @rule(index=st.integers(0, 3), to=st.sampled_from(S), dropped=st.booleans())
    def move(self, index: int, to: SlotState, dropped: bool) -> None:
        index %= len(self.states)
        before = self.states[index]
        legal = (before, to) in LEGAL and (not dropped or (to is S.FREE and before is not S.FILLING))
        if not legal:
            with pytest.raises(InternalError):
                self.pool.move(self.pool.slots[index], to, dropped=dropped)
            return
        self.pool.move(self.pool.slots[index], to, dropped=dropped)
        self.states[index] = to
        self.came_in += to is S.READY
        if to is S.FREE:
            reached_the_sink = before is S.DONE and not dropped
            self.went_out += reached_the_sink
            self.was_dropped += before in (S.READY, S.RUNNING, S.DONE) and not reached_the_sink

    @rule(n=st.integers(0, 5))
    def lose_at_the_source(self, n: int) -> None:
        self.pool.add_dropped(n)
        self.came_in += n
        self.was_dropped += n

    @invariant()
    def sums_add_up(self) -> None:
        counts = self.pool.counts()
        in_flight = sum(state in (S.READY, S.RUNNING, S.DONE) for state in self.states)
        assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight
        assert (counts.frames_in, counts.frames_out, counts.dropped) == (self.came_in, self.went_out, self.was_dropped)
        assert counts.in_flight == in_flight <= counts.peak_in_flight <= len(self.states)
        assert [slot.state for slot in self.pool.slots] == self.states

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.pool.close()


TestPoolRounds = PoolRounds.TestCase
TestPoolRounds.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_sums_add_up_while_several_threads_move_slots() -> None:
    pool = make(depth=4)
    bad: list[object] = []

    def go_round(slot: Slot, drop: bool) -> None:
        for _ in range(300):
            for state in (S.FILLING, S.READY, S.RUNNING):
                pool.move(slot, state)
            if not drop:
                pool.move(slot, S.DONE)
            pool.move(slot, S.FREE)
            counts = pool.counts()
            if counts.frames_in != counts.frames_out + counts.dropped + counts.in_flight:
                bad.append(counts)

    threads = [threading.Thread(target=go_round, args=(slot, slot.index % 2 == 0)) for slot in pool.slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bad
    counts = pool.counts()
    assert (counts.frames_in, counts.frames_out, counts.dropped, counts.in_flight) == (1200, 600, 600, 0)
    pool.close()


def test_every_array_is_aligned_and_none_overlap() -> None:
    pool = make()
    for slot in pool.slots:
        for planes in (slot.source, slot.composite):
            for plane in (planes.y, planes.u, planes.v):
                assert plane.ctypes.data % 64 == 0
                assert plane.strides[0] % 64 == 0
        assert all(array.ctypes.data % 64 == 0 for array in slot.arrays.values())
    parts = []
    for number, slot in enumerate(pool.slots):
        assert slot.alpha is not None
        views = [*_planes(slot.source), *_planes(slot.composite), slot.alpha, *slot.arrays.values()]
        for offset, view in enumerate(views):
            view[...] = number * 16 + offset
            parts.append((view, number * 16 + offset))
    for view, value in parts:
        assert (view == value).all()
    pool.close()


def test_shapes_and_types_are_those_asked_for() -> None:
    pool = make(alpha=False)
    slot = pool.slots[0]
    assert slot.alpha is None
    assert slot.source.y.shape == (35, 67)
    assert slot.source.u.shape == slot.source.v.shape == (18, 34)
    assert (slot.arrays["input"].shape, slot.arrays["input"].dtype) == ((1, 3, 5, 7), np.float32)
    assert slot.arrays["half"].dtype == np.uint16  # NumPy has no bfloat16
    assert slot.arrays["input"].flags.c_contiguous
    pool.close()


def test_without_a_composite_its_planes_are_the_source() -> None:
    pool = make(composite=False)
    assert np.shares_memory(pool.slots[0].composite.y, pool.slots[0].source.y)
    assert pool.layout.nbytes < make().layout.nbytes
    pool.close()


def test_what_another_mapping_of_the_descriptor_writes_is_seen_in_the_slot() -> None:
    pool = make()
    layout = pool.layout
    memory = mmap.mmap(pool.fd, layout.nbytes)
    for index in range(layout.depth):
        view = view_planes(memory, index * layout.slot_bytes, layout.y, layout.u, layout.v)
        view.y[:], view.u[:], view.v[:] = 10 + index, 20 + index, 30 + index
    for index, slot in enumerate(pool.slots):
        assert [int(plane[-1, -1]) for plane in _planes(slot.source)] == [10 + index, 20 + index, 30 + index]
    pool.close()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has anonymous memory files")
def test_memory_has_no_name_that_a_killed_process_could_leave_behind() -> None:
    code = (
        "import os, signal\n"
        "from cutline.runtime.frame import FrameFormat\n"
        "from cutline.runtime.slots import SlotPool\n"
        "pool = SlotPool(format=FrameFormat(width=640, height=360), depth=4, arrays={}, alpha=False)\n"
        "print(os.readlink(f'/proc/self/fd/{pool.fd}'), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == -9, ran.stderr
    assert ran.stdout.strip() == "/memfd:cutline-slots (deleted)"
    assert not [path for path in Path("/dev/shm").iterdir() if "cutline" in path.name]


def test_close_works_twice_and_leaves_views_valid_but_no_descriptor() -> None:
    before = _descriptors()
    pool = make()
    view = pool.slots[1].arrays["input"]
    view[:] = 3
    pool.close()
    pool.close()
    assert pool.fd == -1
    assert (view == 3).all()
    del view
    assert _descriptors() == before


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        make(depth=0)


def test_a_pool_that_no_memory_can_hold_is_refused_and_leaves_no_descriptor() -> None:
    before = _descriptors()
    with pytest.raises(UsageError):
        SlotPool(format=ODD, depth=1, arrays={"x": ArraySpec((1 << 62,), "uint8")}, alpha=False)
    assert _descriptors() == before


def _planes(planes: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return planes.y, planes.u, planes.v  # type: ignore[attr-defined]


def _descriptors() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("composite", "pitch", "pictures"), [(True, 0, 2), (True, 256, 1), (False, 0, 1), (False, 256, 0)]
)
def test_pictures_that_are_elsewhere_take_no_memory(composite: bool, pitch: int, pictures: int) -> None:
    form = FrameFormat(width=256, height=256)
    pool = SlotPool(format=form, depth=1, arrays={}, alpha=False, composite=composite, surface_pitch=pitch)
    assert abs(pool.layout.slot_bytes - pictures * 256 * 256 * 3 // 2) <= 4096
    pool.close()
