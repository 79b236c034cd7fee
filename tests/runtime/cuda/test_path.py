"""A stream on the fake driver: order, lifetimes and counts, over many orders of execution."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_device import KERNELS, SmallInference, SmallNetwork, contract

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.driver import Device, Kernel, Module
from cutline.runtime.cuda.fake import A_CARD, FakeDriver
from cutline.runtime.cuda.frame_graph import CaptureState
from cutline.runtime.cuda.launches import RESET_BYTE
from cutline.runtime.cuda.path import CudaPath
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.slots import ArraySpec, Slot, SlotPool

FRAME = FrameFormat(width=96, height=64)
DEPTH, IN_FLIGHT = 6, 3


class Stream:
    """A path, its slots, and frames pushed through it as the pipeline does."""

    def __init__(
        self,
        driver: FakeDriver,
        network: SmallNetwork,
        style: SmallNetwork | None,
        module: Module | None = None,
        **options: Any,
    ) -> None:
        self.driver, self.network = driver, network
        module = module or driver.load(b"cubin")
        kernels: dict[str, Kernel] = {}

        def kernel(name: str) -> Kernel:
            return kernels.setdefault(name, driver.kernel(module, name))

        asked = StreamOptions(input="x", **options)
        painted = (style.contract, style) if style else None
        self.path = CudaPath(driver, kernel, FRAME, asked, (network.contract, network), painted)
        arrays = {"guide": ArraySpec((3, 8, 16), "uint8"), "matte": ArraySpec((8, 16), "float32")}
        self.pool = SlotPool(format=FRAME, depth=DEPTH, arrays=arrays, alpha=True)
        self.notices = self.path.bind(self.pool)
        self.running: list[Slot] = []
        self.free = list(self.pool.slots)
        self.index = 0

    def start(self, code: int, *, first: bool = False) -> None:
        """Begin with a frame whose luma is `code`."""
        slot = self.free.pop(random.randrange(len(self.free)))
        slot.source.y[:] = code
        self.path.start(slot, Timestamp(self.index, Fraction(1, 25), 0), first=first)
        self.index += 1
        self.running.append(slot)

    def finish(self) -> tuple[float, Slot]:
        """The oldest frame's network answer as post saw it, and its slot."""
        slot = self.running.pop(0)
        self.path.wait(slot)
        self.path.finish(slot, Timestamp(0, Fraction(1, 25), 0), first=False)
        answer = float(np.frombuffer(slot.composite.y[0, :4].tobytes(), np.float32)[0])
        assert slot.arrays["matte"][0, 0] == np.float32(answer)
        self.free.append(slot)
        return answer, slot

    def hang(self) -> None:
        """Let the frame that was started last never come back."""
        self.driver.hang(self.path.streams[self.running[-1].index])

    def run(self, codes: list[int]) -> list[float]:
        """Push frames through, several in flight; their answers in order."""
        found = []
        for code in codes:
            self.start(code)
            if len(self.running) == IN_FLIGHT:
                found.append(self.finish()[0])
        while self.running:
            found.append(self.finish()[0])
        return found

    def close(self) -> None:
        self.path.close()
        self.pool.close()


@contextmanager
def opened(
    *,
    seed: int = 0,
    shape: ModelContract | None = None,
    style: bool = False,
    device: Device = A_CARD,
    no_graphs: str | None = None,
    refuses: str | None = None,
    faults: dict[tuple[str, int], str] | None = None,
    **options: Any,
) -> Iterator[Stream]:
    random.seed(seed)
    driver = FakeDriver(kernels=KERNELS, seed=seed, device=device, no_graphs=no_graphs, faults=faults)
    network = SmallNetwork(driver, shape or contract(), refuses=refuses)
    painter = SmallNetwork(driver, contract(style=True)) if style else None
    stream = Stream(driver, network, painter, **options)
    try:
        yield stream
    finally:
        stream.close()


MAPPED = Device(ordinal=0, name="Orin", sm="sm87", integrated=True, total_bytes=8 << 30, driver_version=(12, 6))
CODES = [(7 * i) % 200 + 1 for i in range(40)]


@pytest.mark.parametrize("device", [A_CARD, MAPPED], ids=["discrete", "integrated"])
@pytest.mark.parametrize("no_graphs", [None, "it has none"], ids=["graphs", "plain"])
@pytest.mark.parametrize("seed", range(4))
def test_every_frame_is_answered_with_itself(device: Device, no_graphs: str | None, seed: int) -> None:
    with opened(seed=seed, device=device, no_graphs=no_graphs) as stream:
        assert stream.run(CODES) == CODES


@pytest.mark.parametrize("no_graphs", [None, "it has none"], ids=["graphs", "plain"])
@pytest.mark.parametrize("seed", range(4))
def test_recurrent_states_pass_from_frame_to_frame(no_graphs: str | None, seed: int) -> None:
    with opened(seed=seed, shape=contract(states=True), no_graphs=no_graphs) as stream:
        assert stream.run(CODES) == [code + 100000 * i for i, code in enumerate(CODES)]


def test_a_first_frame_forgets_what_came_before_it() -> None:
    with opened(shape=contract(states=True)) as stream:
        stream.run(CODES[:5])
        stream.start(9, first=True)
        answer, slot = stream.finish()
        assert answer == 9
        assert slot.arrays["matte"].reshape(-1)[1:2].view(np.uint8)[0] == RESET_BYTE
        assert stream.run([9]) == [100009]


@pytest.mark.parametrize("seed", range(4))
def test_frames_in_flight_keep_what_the_frame_behind_them_forgets(seed: int) -> None:
    with opened(seed=seed, shape=contract(states=True)) as stream:
        found = []
        for i in range(12):
            stream.start(1, first=i % 4 == 3)
            if len(stream.running) == IN_FLIGHT:
                found.append(stream.finish()[0])
        while stream.running:
            found.append(stream.finish()[0])
        assert found == [1 + 100000 * seen for seen in (0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 0)]


def test_the_very_first_frame_finds_nothing_left_by_the_warm_up() -> None:
    with opened(shape=contract(states=True)) as stream:
        stream.start(3)
        answer, slot = stream.finish()
        assert answer == 3
        assert slot.arrays["matte"].reshape(-1)[1:2].view(np.uint8)[0] == RESET_BYTE


def test_in_steady_state_a_frame_is_one_launch_one_record_and_one_wait_and_nothing_is_made() -> None:
    with opened(shape=contract(states=True)) as stream:
        stream.run(CODES[:3])
        before, live = stream.driver.calls.copy(), stream.driver.live
        with stream.driver.still():
            stream.run(CODES)
        calls = stream.driver.calls - before
        calls.pop("work")
        assert calls == {"replay": len(CODES), "record": len(CODES), "synchronise": len(CODES)}
        assert stream.driver.live == live


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_plate_is_seen_by_the_frames_started_after_it(seed: int, every: int) -> None:
    with opened(seed=seed, shape=contract(plate=True)) as stream:
        plate = np.ones((1, 3, 8, 16), np.float32)
        found = []
        with stream.driver.still():
            for i in range(12):
                if i % every == 0:
                    given = plate * i
                    stream.path.set_plate(given)
                    given[:] = 99  # the path has its own copy
                stream.start(5)
                if len(stream.running) == IN_FLIGHT:
                    found.append(stream.finish()[0])
            while stream.running:
                found.append(stream.finish()[0])
        assert found == [5 + 1000 * (i - i % every) for i in range(12)]


def test_style_strength_reaches_the_style_network_and_post() -> None:
    with opened(style=True, style_strength=0.5, background="original") as stream:
        stream.start(5)
        _, slot = stream.finish()
        assert slot.composite.y[0, 4:8].tobytes() == np.float32(0.5).tobytes()
        with stream.driver.still():
            stream.path.set_strength(0.25)
            stream.start(5)
            _, slot = stream.finish()
        assert slot.composite.y[0, 4:8].tobytes() == np.float32(0.25).tobytes()
        assert slot.alpha is not None
        assert slot.alpha[0, 0] == 77


def test_a_picture_background_lies_on_the_device(tmp_path: Path) -> None:
    import cv2

    picture = tmp_path / "grey.png"
    cv2.imwrite(str(picture), np.full((64, 96, 3), 128, np.uint8))
    with opened(background=str(picture)) as stream:
        stream.start(5)
        _, slot = stream.finish()
        assert 120 <= slot.composite.y[0, 12] <= 132


def test_a_refusal_of_the_network_is_a_notice_and_frames_are_launched_call_by_call() -> None:
    with opened(refuses="kernels are still compiled") as stream:
        assert stream.notices == ["frames are launched without CUDA graphs: kernels are still compiled"]
        assert stream.run(CODES) == CODES
        states = {graph.state for graphs in stream.path._graphs for graph in graphs}
        assert states == {CaptureState.PLAIN}


def test_a_capture_that_fails_is_a_notice_and_frames_are_launched_call_by_call() -> None:
    with opened(faults={("end_capture", 2): "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}) as stream:
        assert len(stream.notices) == 1
        assert "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" in stream.notices[0]
        assert stream.run(CODES) == CODES


def test_a_stream_may_be_made_run_and_closed_in_threads_of_its_own() -> None:
    driver = FakeDriver(kernels=KERNELS)
    network, made, failures = SmallNetwork(driver, contract()), list[Stream](), list[BaseException]()

    def guarded(body: Any) -> None:
        def run() -> None:
            try:
                body()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    guarded(driver.attach)  # whoever opens the engine
    module = driver.load(b"cubin")
    guarded(lambda: made.append(Stream(driver, network, None, module=module)))
    guarded(lambda: made[0].start(7))
    guarded(lambda: made[0].finish())
    guarded(lambda: made[0].close())
    assert failures == []
    assert driver.live == {module}


class Slowly(SmallNetwork):
    """Remembers how many contexts were being made at once."""

    at_once = most = 0

    def inference(self, addresses: Mapping[str, int], scratch: int) -> SmallInference:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        time.sleep(0.005)
        self.at_once -= 1
        return super().inference(addresses, scratch)


def test_streams_start_one_after_the_other() -> None:
    """While one thread captures, no other may synchronise the device, and libraries do when they make a context."""
    driver = FakeDriver(kernels=KERNELS)
    network, module = Slowly(driver, contract()), driver.load(b"cubin")

    def start() -> None:
        driver.attach()
        Stream(driver, network, None, module=module).close()

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.most == 1
    assert driver.live == {module}


def test_too_little_memory_says_how_much_is_needed_and_what_to_lower_and_leaves_nothing() -> None:
    small = Device(ordinal=0, name="Tiny", sm="sm89", integrated=False, total_bytes=1 << 16, driver_version=(13, 0))
    driver = FakeDriver(kernels=KERNELS, device=small)
    network = SmallNetwork(driver, contract())
    with pytest.raises(DeviceError, match="too little free memory") as caught:
        Stream(driver, network, None)
    assert caught.value.facts["needed_mib"] == 1
    assert "fewer streams" in caught.value.remedy


@pytest.mark.parametrize("call", ["alloc", "pin", "stream", "event", "copy", "launch", "end_capture", "replay"])
def test_a_failing_start_leaves_nothing_behind(call: str) -> None:
    driver = FakeDriver(kernels=KERNELS, faults={(call, 1): "CUDA_ERROR_INVALID_VALUE"})
    network = SmallNetwork(driver, contract())
    module = driver.load(b"cubin")
    path = None
    arrays = {"guide": ArraySpec((3, 8, 16), "uint8"), "matte": ArraySpec((8, 16), "float32")}
    pool = SlotPool(format=FRAME, depth=2, arrays=arrays, alpha=False)
    try:
        asked, matte = StreamOptions(input="x"), (network.contract, network)
        path = CudaPath(driver, lambda name: driver.kernel(module, name), FRAME, asked, matte, None)
        path.bind(pool)
        path.start(pool.slots[0], Timestamp(0, Fraction(1, 25), 0), first=False)
        path.start(pool.slots[1], Timestamp(1, Fraction(1, 25), 0), first=False)
    except DeviceError:
        pass
    if path is not None:
        path.close()
        path.close()
    assert driver.live == {module}
    assert network.live == 0


def test_a_lost_device_is_found_by_the_wait_and_closing_does_not_hang() -> None:
    with opened(faults={("work", 700): "CUDA_ERROR_ILLEGAL_ADDRESS"}) as stream:
        with pytest.raises(DeviceLostError, match="CUDA_ERROR_ILLEGAL_ADDRESS while waiting for a frame"):
            stream.run(CODES * 20)
        with pytest.raises(DeviceLostError):
            stream.start(1)


def test_closing_waits_for_frames_that_run_and_frees_everything() -> None:
    with opened(shape=contract(states=True, plate=True)) as stream:
        stream.start(1)
        stream.start(2)
    kinds = {type(resource).__name__ for resource in stream.driver.live}
    assert kinds == {"Module"}
    assert stream.network.live == 0
