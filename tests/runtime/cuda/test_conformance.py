"""What every driver does alike. On a machine with a GPU the same tests run on it (`pytest -m gpu`)."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.benchmarks.probe import ADD, PROBE, SPIN, probe_params
from cutline.runtime.cuda.driver import Driver, Kernel, Memory, Pinned, Stream
from cutline.runtime.errors import DeviceError, DeviceLostError

COUNT = 100_000  # uint32
BYTES = 4 * COUNT
GRID, BLOCK = (64, 1, 1), (256, 1, 1)
LONG = 200_000  # rounds of probe_spin: about a millisecond
COUNTED: Final = np.arange(COUNT, dtype=np.uint32)
HOST: Final[list[NDArray[Any]]] = []  # kept until the driver is closed, and the memory is pinned no more


@pytest.fixture(autouse=True)
def _keep_what_is_pinned(driver: Driver) -> Iterator[None]:  # set up after the driver, so torn down before it
    yield
    driver.close()
    HOST.clear()


def host(count: int, dtype: Any) -> NDArray[Any]:
    """Zeros on pages of their own: nothing else may be pinned there."""
    array: NDArray[Any] = np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize), dtype)
    HOST.append(array)
    return array


def pin(driver: Driver, array: NDArray[Any]) -> Pinned:
    return driver.pin(array.ctypes.data, array.nbytes)


def settle(driver: Driver, stream: Stream) -> None:
    mark = driver.event()
    driver.record(mark, stream=stream)
    driver.synchronise(mark)
    driver.release(mark)


def probes(driver: Driver) -> tuple[Kernel, Kernel]:
    module = driver.load(PROBE)
    return driver.kernel(module, ADD), driver.kernel(module, SPIN)


def needs_graphs(driver: Driver) -> None:
    if driver.no_graphs:
        pytest.skip(driver.no_graphs)


def test_it_says_what_the_device_is(driver: Driver) -> None:
    device = driver.device
    assert device.name
    assert device.sm.startswith("sm")
    assert device.sm[2:].isdigit()
    assert 0 < driver.free_bytes() <= device.total_bytes
    assert device.driver_version >= (12, 0)


def test_bytes_survive_the_way_to_the_device_and_back(driver: Driver) -> None:
    there, back = host(COUNT, np.uint32), host(COUNT, np.uint32)
    there[:] = COUNTED
    stream, memory = driver.stream(), driver.alloc(BYTES)
    driver.copy(memory.address, pin(driver, there).device_address, BYTES, stream=stream)
    driver.copy(pin(driver, back).device_address, memory.address, BYTES, stream=stream)
    settle(driver, stream)
    np.testing.assert_array_equal(back, there)


def test_device_memory_is_aligned(driver: Driver) -> None:
    assert all(driver.alloc(n).address % 256 == 0 for n in (1, 3, 1000, 4097))


def test_a_fill_sets_every_byte_of_its_range_and_no_other(driver: Driver) -> None:
    back = host(64, np.uint8)
    stream, memory, pinned = driver.stream(), driver.alloc(64), pin(driver, back)
    driver.fill(memory.address, 7, 64, stream=stream)
    driver.fill(memory.address + 16, 255, 32, stream=stream)
    driver.copy(pinned.device_address, memory.address, 64, stream=stream)
    settle(driver, stream)
    assert back.tolist() == [7] * 16 + [255] * 32 + [7] * 16


def test_a_kernel_gets_its_struct_and_works_in_stream_order(driver: Driver) -> None:
    back = host(COUNT, np.uint32)
    stream, memory, pinned = driver.stream(), driver.alloc(BYTES), pin(driver, back)
    add, _ = probes(driver)
    driver.fill(memory.address, 0, BYTES, stream=stream)
    for value in (1, 20, 300):
        driver.launch(add, GRID, BLOCK, probe_params(memory.address, COUNT, value), stream=stream)
    driver.copy(pinned.device_address, memory.address, BYTES, stream=stream)
    settle(driver, stream)
    assert (back == 321).all()


def test_mapped_memory_is_worked_on_where_it_lies(driver: Driver) -> None:
    array = host(COUNT, np.uint32)
    array[:] = COUNTED
    stream, mapped = driver.stream(), pin(driver, array)
    add, _ = probes(driver)
    driver.launch(add, GRID, BLOCK, probe_params(mapped.device_address, COUNT, 5), stream=stream)
    settle(driver, stream)
    np.testing.assert_array_equal(array, COUNTED + 5)


def test_a_stream_that_holds_for_an_event_sees_what_was_done_before_it(driver: Driver) -> None:
    back = host(COUNT, np.uint32)
    first, second = driver.stream(), driver.stream(urgent=True)
    memory, pinned, mark = driver.alloc(BYTES), pin(driver, back), driver.event()
    add, spin = probes(driver)
    driver.fill(memory.address, 0, BYTES, stream=first)
    driver.launch(spin, (1, 1, 1), BLOCK, probe_params(memory.address, LONG), stream=first)
    driver.launch(add, GRID, BLOCK, probe_params(memory.address, COUNT, 9), stream=first)
    driver.record(mark, stream=first)
    driver.hold(mark, stream=second)
    driver.copy(pinned.device_address, memory.address, BYTES, stream=second)
    settle(driver, second)
    assert (back == 9).all()


def test_holding_for_an_event_never_recorded_holds_nothing(driver: Driver) -> None:
    back = host(16, np.uint8)
    stream, memory, pinned = driver.stream(), driver.alloc(16), pin(driver, back)
    driver.hold(driver.event(), stream=stream)
    driver.fill(memory.address, 3, 16, stream=stream)
    driver.copy(pinned.device_address, memory.address, 16, stream=stream)
    settle(driver, stream)
    assert (back == 3).all()


def test_time_between_two_events_is_measured(driver: Driver) -> None:
    stream, begin, end = driver.stream(), driver.event(timing=True), driver.event(timing=True)
    memory = driver.alloc(256)
    _, spin = probes(driver)
    driver.record(begin, stream=stream)
    driver.launch(spin, (1, 1, 1), BLOCK, probe_params(memory.address, LONG), stream=stream)
    driver.record(end, stream=stream)
    driver.synchronise(end)
    assert driver.elapsed_ms(begin, end) > 0


def test_another_thread_works_once_it_attached(driver: Driver) -> None:
    back = host(16, np.uint8)
    stream, memory, pinned = driver.stream(), driver.alloc(16), pin(driver, back)
    failures: list[BaseException] = []

    def body() -> None:
        try:
            driver.attach()
            driver.fill(memory.address, 3, 16, stream=stream)
            driver.copy(pinned.device_address, memory.address, 16, stream=stream)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    settle(driver, stream)
    assert not failures
    assert (back == 3).all()


def test_captured_work_runs_at_each_launch_and_not_before(driver: Driver) -> None:
    needs_graphs(driver)
    back = host(COUNT, np.uint32)
    stream, memory, pinned = driver.stream(), driver.alloc(BYTES), pin(driver, back)
    add, _ = probes(driver)
    driver.fill(memory.address, 0, BYTES, stream=stream)
    settle(driver, stream)
    driver.begin_capture(stream)
    driver.launch(add, GRID, BLOCK, probe_params(memory.address, COUNT, 1), stream=stream)
    driver.copy(pinned.device_address, memory.address, BYTES, stream=stream)
    graph = driver.end_capture(stream)
    settle(driver, stream)
    assert (back == 0).all()
    for _ in range(3):
        driver.replay(graph, stream=stream)
    settle(driver, stream)
    assert (back == 3).all()


def test_graphs_on_different_streams_keep_the_order_of_a_shared_event(driver: Driver) -> None:
    """Each graph reads what the one launched before it wrote, though nothing but the event orders the two streams."""
    needs_graphs(driver)
    back = host(COUNT, np.uint32)
    memory, pinned, order = driver.alloc(BYTES), pin(driver, back), driver.event()
    add, spin = probes(driver)
    streams = [driver.stream() for _ in range(3)]
    driver.fill(memory.address, 0, BYTES, stream=streams[0])
    driver.record(order, stream=streams[0])
    settle(driver, streams[0])
    graphs = []
    for stream in streams:
        driver.begin_capture(stream)
        driver.hold(order, stream=stream)
        driver.launch(spin, (1, 1, 1), BLOCK, probe_params(memory.address, LONG // 10), stream=stream)
        driver.launch(add, GRID, BLOCK, probe_params(memory.address, COUNT, 1), stream=stream)
        driver.record(order, stream=stream)
        graphs.append(driver.end_capture(stream))
    for turn in range(30):
        driver.replay(graphs[turn % 3], stream=streams[turn % 3])
    last = streams[29 % 3]
    driver.copy(pinned.device_address, memory.address, BYTES, stream=last)
    settle(driver, last)
    assert (back == 30).all()


def test_a_stream_that_holds_for_an_event_of_a_graph_sees_what_that_graph_did(driver: Driver) -> None:
    """Each launch of the graph records the event anew: who holds for it then waits for that launch."""
    needs_graphs(driver)
    back = host(COUNT, np.uint32)
    memory, pinned, order = driver.alloc(BYTES), pin(driver, back), driver.event(waited=False)
    add, spin = probes(driver)
    first, second = driver.stream(), driver.stream(urgent=True)
    driver.fill(memory.address, 0, BYTES, stream=first)
    settle(driver, first)
    driver.begin_capture(first)
    driver.launch(spin, (1, 1, 1), BLOCK, probe_params(memory.address, LONG), stream=first)
    driver.launch(add, GRID, BLOCK, probe_params(memory.address, COUNT, 1), stream=first)
    driver.record(order, stream=first)
    graph = driver.end_capture(first)
    for launches in range(1, 11):
        driver.replay(graph, stream=first)
        driver.hold(order, stream=second)
        driver.copy(pinned.device_address, memory.address, BYTES, stream=second)
        settle(driver, second)
        assert (back == launches).all()


def test_a_capture_that_fails_leaves_the_stream_usable(driver: Driver) -> None:
    needs_graphs(driver)
    back = host(16, np.uint8)
    stream, memory, pinned = driver.stream(), driver.alloc(16), pin(driver, back)
    driver.begin_capture(stream)
    driver.fill(memory.address, 7, 16, stream=stream)
    with pytest.raises(DeviceError, match="STREAM_CAPTURE"):
        driver.alloc(64)  # which no capture allows
    with pytest.raises(DeviceError, match="STREAM_CAPTURE"):
        driver.end_capture(stream)
    driver.fill(memory.address, 3, 16, stream=stream)
    driver.copy(pinned.device_address, memory.address, 16, stream=stream)
    settle(driver, stream)
    assert (back == 3).all()


def test_ending_a_capture_that_was_not_begun_is_refused(driver: Driver) -> None:
    needs_graphs(driver)
    with pytest.raises(DeviceError):
        driver.end_capture(driver.stream())


def test_too_much_memory_is_refused_by_name_and_nothing_is_lost(driver: Driver) -> None:
    with pytest.raises(DeviceError, match="OUT_OF_MEMORY") as caught:
        driver.alloc(1 << 50)
    assert not isinstance(caught.value, DeviceLostError)
    assert isinstance(driver.alloc(1024), Memory)


def test_an_image_that_is_no_cubin_is_refused(driver: Driver) -> None:
    with pytest.raises(DeviceError):
        driver.load(b"")


def test_a_kernel_that_is_not_there_is_refused_by_name(driver: Driver) -> None:
    module = driver.load(PROBE)
    with pytest.raises(DeviceError, match="probe_nothing"):
        driver.kernel(module, "probe_nothing")


def test_what_was_released_cannot_be_released_again(driver: Driver) -> None:
    for resource in (driver.alloc(64), driver.stream(), driver.event()):
        driver.release(resource)
        with pytest.raises(Exception, match="released before"):
            driver.release(resource)


def test_close_works_twice_and_releases_what_is_left(driver: Driver) -> None:
    left: list[Any] = [
        driver.alloc(64),
        driver.stream(),
        driver.event(),
        driver.load(PROBE),
        pin(driver, host(64, np.uint8)),
    ]
    driver.close()
    driver.close()
    for resource in left:
        with pytest.raises(Exception, match="released before"):
            driver.release(resource)
