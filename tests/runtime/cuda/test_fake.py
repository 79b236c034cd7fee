"""The fake driver catches what a GPU would let pass, or punish much later."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.benchmarks.probe import ADD, probe_params
from cutline.runtime.cuda.driver import Event, Graph, Stream
from cutline.runtime.cuda.fake import FakeDriver, RuleBroken
from cutline.runtime.errors import DeviceError, DeviceLostError

Break = Callable[[FakeDriver, Stream, int], object]


def paged(nbytes: int) -> NDArray[np.uint8]:
    """Zeros on pages of their own."""
    return np.frombuffer(mmap.mmap(-1, nbytes), np.uint8)


def pinned(driver: FakeDriver, array: NDArray[np.uint8]) -> int:
    return driver.pin(array.ctypes.data, array.nbytes).device_address


def settle(driver: FakeDriver, stream: Stream) -> None:
    mark = driver.event()
    driver.record(mark, stream=stream)
    driver.synchronise(mark)


def release_and_copy(driver: FakeDriver, stream: Stream, address: int) -> None:
    gone = driver.alloc(64)
    driver.release(gone)
    driver.copy(address, gone.address, 64, stream=stream)


def release_under_work(driver: FakeDriver, stream: Stream, address: int) -> None:
    used = driver.alloc(64)
    driver.copy(used.address, address, 64, stream=stream)
    driver.release(used)


def release_under_graph(driver: FakeDriver, stream: Stream, address: int) -> None:
    used = driver.alloc(64)
    driver.begin_capture(stream)
    driver.copy(used.address, address, 64, stream=stream)
    driver.end_capture(stream)
    driver.release(used)


def launch_on_released(driver: FakeDriver, stream: Stream, address: int) -> None:  # noqa: ARG001
    gone = driver.alloc(64)
    kernel = driver.kernel(driver.load(b"cubin"), ADD)
    driver.release(gone)
    driver.launch(kernel, (1, 1, 1), (32, 1, 1), probe_params(gone.address, 4), stream=stream)


PAGEABLE = paged(64)


def capture_pageable(driver: FakeDriver, stream: Stream, address: int) -> None:
    driver.begin_capture(stream)
    driver.copy(address, PAGEABLE.ctypes.data, 64, stream=stream)


BROKEN: dict[str, tuple[Break, str]] = {
    "copy beyond the end": (lambda d, s, a: d.copy(a + 1, a, 64, stream=s), "neither device memory nor pinned"),
    "copy from pageable memory": (lambda d, s, a: d.copy(a, PAGEABLE.ctypes.data, 64, stream=s), "nor pinned"),
    "pinning part of a page": (lambda d, s, a: d.pin(PAGEABLE.ctypes.data + 16, 16), "shares its first page"),
    "the same in a capture": (capture_pageable, "nor pinned"),
    "copy from what was released": (release_and_copy, "released"),
    "release under queued work": (release_under_work, "still used"),
    "release under a graph": (release_under_graph, "still used"),
    "kernel on what was released": (launch_on_released, "released memory"),
    "default stream": (lambda d, s, a: d.fill(a, 0, 1, stream=Stream(0)), "default stream"),
    "per-thread default stream": (lambda d, s, a: d.fill(a, 0, 1, stream=Stream(2)), "default stream"),
    "unknown stream": (lambda d, s, a: d.fill(a, 0, 1, stream=Stream(99999)), "not there"),
    "unknown event": (lambda d, s, a: d.synchronise(Event(99999)), "not there"),
    "unknown graph": (lambda d, s, a: d.replay(Graph(99999), stream=s), "not there"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_raised_at_once(name: str) -> None:
    act, said = BROKEN[name]
    with FakeDriver() as driver:
        stream, memory = driver.stream(), driver.alloc(64)
        with pytest.raises(RuleBroken, match=said):
            act(driver, stream, memory.address)


@pytest.mark.parametrize(
    "make",
    [
        lambda d, s: d.alloc(64),
        lambda d, s: d.pin(PAGEABLE.ctypes.data, 64),
        lambda d, s: d.stream(),
        lambda d, s: d.event(),
        lambda d, s: d.load(b"cubin"),
        lambda d, s: d.begin_capture(s),
    ],
)
def test_nothing_is_made_while_frames_run(make: Callable[[FakeDriver, Stream], object]) -> None:
    with FakeDriver() as driver:
        stream = driver.stream()
        with driver.still(), pytest.raises(RuleBroken, match="made while frames run"):
            make(driver, stream)
        make(driver, stream)


def test_a_thread_must_attach() -> None:
    with FakeDriver() as driver:
        raised: list[BaseException] = []

        def body() -> None:
            try:
                driver.event()
            except RuleBroken as error:
                raised.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        assert len(raised) == 1


def test_nothing_runs_before_somebody_waits() -> None:
    with FakeDriver() as driver:
        there, back = paged(64), paged(64)
        there[:] = 9
        stream = driver.stream()
        driver.copy(pinned(driver, back), pinned(driver, there), 64, stream=stream)
        assert (back == 0).all()
        settle(driver, stream)
        assert (back == 9).all()


def test_a_missing_dependency_shows_in_the_bytes() -> None:
    """Two streams, nothing between them: over many seeds the copy is seen both before and after the fill."""
    seen = set()
    for seed in range(20):
        with FakeDriver(seed=seed) as driver:
            back = paged(1)
            first, second, memory = driver.stream(), driver.stream(), driver.alloc(1)
            driver.fill(memory.address, 1, 1, stream=first)
            settle(driver, first)
            driver.fill(memory.address, 2, 1, stream=first)
            driver.copy(pinned(driver, back), memory.address, 1, stream=second)
            settle(driver, second)
            seen.add(int(back[0]))
    assert seen == {1, 2}


def test_the_host_waits_for_no_event_that_is_for_streams_alone() -> None:
    with FakeDriver() as driver:
        stream, mark = driver.stream(), driver.event(waited=False)
        driver.record(mark, stream=stream)
        driver.hold(mark, stream=driver.stream())
        with pytest.raises(RuleBroken, match="for streams alone"):
            driver.synchronise(mark)


def test_waiting_in_a_capture_fails_and_spoils_it() -> None:
    with FakeDriver() as driver:
        stream, mark = driver.stream(), driver.event()
        driver.begin_capture(stream)
        with pytest.raises(DeviceError, match="STREAM_CAPTURE_UNSUPPORTED"):
            driver.synchronise(mark)
        with pytest.raises(DeviceError, match="STREAM_CAPTURE_INVALIDATED"):
            driver.end_capture(stream)
        driver.synchronise(mark)


def test_a_fault_strikes_at_the_call_that_was_named() -> None:
    with FakeDriver(faults={("fill", 2): "CUDA_ERROR_INVALID_VALUE"}) as driver:
        stream, memory = driver.stream(), driver.alloc(64)
        driver.fill(memory.address, 0, 64, stream=stream)
        driver.fill(memory.address, 0, 64, stream=stream)
        with pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_VALUE while queueing a fill"):
            driver.fill(memory.address, 0, 64, stream=stream)
        driver.fill(memory.address, 0, 64, stream=stream)


def test_a_sticky_error_is_found_by_whoever_waits_and_stays() -> None:
    with FakeDriver(faults={("work", 1): "CUDA_ERROR_ILLEGAL_ADDRESS"}) as driver:
        stream, memory, mark = driver.stream(), driver.alloc(64), driver.event()
        driver.fill(memory.address, 0, 64, stream=stream)
        driver.record(mark, stream=stream)
        for _ in range(2):
            with pytest.raises(DeviceLostError, match="CUDA_ERROR_ILLEGAL_ADDRESS while waiting for a frame"):
                driver.synchronise(mark)
        with pytest.raises(DeviceLostError):
            driver.alloc(64)
        driver.release(memory)


def test_live_lists_what_was_not_released() -> None:
    with FakeDriver() as driver:
        memory, stream = driver.alloc(64), driver.stream()
        assert driver.live == {memory, stream}
        driver.release(memory)
        driver.release(stream)
        assert driver.live == set()
