"""Eight cameras on one card: one network, a set of contexts and streams for each camera, and nothing between them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from small_device import KERNELS, SmallNetwork, contract
from test_path import CODES, IN_FLIGHT, Stream

from cutline.runtime.cuda.driver import Memory, Pinned
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.errors import DeviceLostError

CAMERAS = 8


class Site:
    """Cameras that share a driver and a network, as the streams of one process do."""

    def __init__(self, seed: int) -> None:
        random.seed(seed)
        self.driver = FakeDriver(kernels=KERNELS, seed=seed)
        self.network = SmallNetwork(self.driver, contract(states=True, plate=True))
        module = self.driver.load(b"cubin")
        self.free: list[int] = [self.driver.free_bytes()]
        self.cameras: list[Stream] = []
        for _ in range(CAMERAS):
            self.cameras.append(Stream(self.driver, self.network, None, module=module))
            self.free.append(self.driver.free_bytes())

    def close(self) -> None:
        for camera in self.cameras:
            camera.close()


@pytest.fixture(params=range(3))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(request.param)
    yield site
    site.close()


def wanted(codes: list[int]) -> list[float]:
    """Each frame's own code, and how many of its own camera came before it."""
    return [code + 100000 * i for i, code in enumerate(codes)]


def codes_of(camera: int) -> list[int]:
    return [code + camera for code in CODES]


def test_frames_of_all_cameras_come_back_in_order_and_none_is_another_camera_s(site: Site) -> None:
    """In whatever order frames arrive, one thread serving them all."""
    found: list[list[float]] = [[] for _ in site.cameras]
    due = [index for index in range(CAMERAS) for _ in CODES]
    random.shuffle(due)
    begun = [0] * CAMERAS
    with site.driver.still():
        for index in due:
            camera = site.cameras[index]
            camera.start(codes_of(index)[begun[index]])
            begun[index] += 1
            if len(camera.running) == IN_FLIGHT:
                found[index].append(camera.finish()[0])
        for index, camera in enumerate(site.cameras):
            while camera.running:
                found[index].append(camera.finish()[0])
    assert found == [wanted(codes_of(index)) for index in range(CAMERAS)]


def test_cameras_in_threads_of_their_own_lose_nothing_and_make_nothing(site: Site) -> None:
    found: list[list[float]] = [[] for _ in site.cameras]

    def serve(index: int) -> None:
        site.driver.attach()
        found[index] = site.cameras[index].run(codes_of(index))

    before = site.driver.calls.copy()
    with site.driver.still():
        threads = [threading.Thread(target=serve, args=(index,)) for index in range(CAMERAS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [wanted(codes_of(index)) for index in range(CAMERAS)]
    calls = site.driver.calls - before
    calls.pop("work")
    frames = CAMERAS * len(CODES)
    assert calls == {"replay": frames, "record": frames, "synchronise": frames}


def test_a_camera_whose_work_never_ends_holds_up_no_other(site: Site) -> None:
    """Nothing in one camera's streams waits for another's: no event, no memory and no lock is shared."""
    stuck, others = site.cameras[3], [c for c in site.cameras if c is not site.cameras[3]]
    found: list[list[float]] = []

    def serve() -> None:
        site.driver.attach()
        found.extend(camera.run(codes_of(index)) for index, camera in enumerate(others))

    stuck.start(1)
    stuck.hang()
    rest = threading.Thread(target=serve, daemon=True)
    rest.start()
    rest.join(60)
    waits = rest.is_alive()
    site.driver.lose("CUDA_ERROR_LAUNCH_FAILED")
    rest.join()
    assert not waits
    assert found == [wanted(codes_of(index)) for index in range(len(others))]
    with pytest.raises(DeviceLostError):
        stuck.finish()


def test_every_camera_takes_the_same_memory_and_the_weights_are_there_once(site: Site) -> None:
    taken = {before - after for before, after in zip(site.free, site.free[1:], strict=False)}
    assert taken == {site.cameras[0].path._arena.nbytes}
    blocks = [resource for resource in site.driver.live if isinstance(resource, Memory)]
    assert len(blocks) == CAMERAS
    pools = sum(camera.pool.layout.nbytes for camera in site.cameras)
    assert sum(resource.nbytes for resource in site.driver.live if isinstance(resource, Pinned)) >= pools
    contexts = CAMERAS * 2 * len(site.cameras[0].pool.slots)  # a pair for each slot: states change sides
    assert site.network.live == contexts
