"""The network alone on the fake driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from small_device import KERNELS, SmallNetwork, contract

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.cuda.session import CudaSession
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.sessions import TimedSession
from cutline.runtime.slots import SlotPool

DEPTH = 3


@contextmanager
def opened(shape: ModelContract, seed: int = 0) -> Iterator[tuple[CudaSession, SlotPool, FakeDriver]]:
    driver = FakeDriver(kernels=KERNELS, seed=seed)
    network = SmallNetwork(driver, shape)
    engine = CudaEngine(driver, network, b"cubin", shape, name="x", precision="fp32", library="small")
    form = FrameFormat(width=16, height=8)
    pool = SlotPool(format=form, depth=DEPTH, arrays=engine.arrays("a_"), alpha=False, composite=False)
    session = engine.session(pool.slots, "a_")
    try:
        yield session, pool, driver
    finally:
        session.close()
        session.close()
        assert network.live == 0
        kinds = {type(resource).__name__ for resource in driver.live}
        assert kinds == {"Module"}
        pool.close()
        engine.close()


def run(session: CudaSession, pool: SlotPool, values: list[float]) -> list[float]:
    """Inferences in flight together, slot after slot; the first value of each answer."""
    found = []
    for begin in range(0, len(values), DEPTH):
        batch = list(zip(pool.slots, values[begin : begin + DEPTH], strict=False))
        for slot, value in batch:
            slot.arrays["a_input"][:] = value
            session.start(slot)
        for slot, _ in batch:
            session.wait(slot)
            found.append(float(slot.arrays["a_output"].reshape(-1)[0]))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_each_inference_answers_its_own_input(seed: int) -> None:
    with opened(contract(), seed) as (session, pool, driver):
        values = [float(n) for n in range(1, 10)]
        with driver.still():
            assert run(session, pool, values) == values


@pytest.mark.parametrize("seed", range(4))
def test_states_pass_on_and_reset_forgets_them(seed: int) -> None:
    with opened(contract(states=True), seed) as (session, pool, _):
        assert run(session, pool, [1] * 5) == [1 + 100000 * n for n in range(5)]
        session.reset()
        assert run(session, pool, [1] * 2) == [1, 100001]


def test_a_plate_counts_from_the_next_inference_on() -> None:
    with opened(contract(plate=True)) as (session, pool, _):
        assert run(session, pool, [5]) == [5]
        session.set_plate(np.full((1, 3, 8, 16), 2, np.float32))
        assert run(session, pool, [5, 6]) == [2005, 2006]


def test_a_strength_is_set() -> None:
    with opened(contract(style=True)) as (session, pool, _):
        session.set_strength(0.25)
        assert run(session, pool, [1]) == [0.25]


def test_a_plate_for_a_network_that_takes_none_is_refused() -> None:
    with opened(contract()) as (session, _, _), pytest.raises(DeviceError, match="no clean plate"):
        session.set_plate(np.zeros((1, 3, 8, 16), np.float32))


def test_the_device_keeps_times_of_each_part() -> None:
    with opened(contract()) as (session, pool, _):
        assert isinstance(session, TimedSession)
        run(session, pool, [1])
        times = session.device_times(pool.slots[0])
        assert min(times.h2d_ms, times.compute_ms, times.d2h_ms) > 0
        assert times.pre_ms == times.post_ms == 0
