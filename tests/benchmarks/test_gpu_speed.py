"""What the device checks time, and what they make of the times."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from cutline.benchmarks.gpu import bandwidth, card, soak, speed, timing
from cutline.benchmarks.gpu.bed import SPIN_BLOCKS, Bed, Frames, SpinNetwork
from cutline.benchmarks.gpu.record import NotRun
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import FrameFormat

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=32, height=18),
    outputs=(Output(tensor="alpha", meaning="alpha", width=32, height=18),),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bandwidth, soak, speed):
        monkeypatch.setattr(module, "SIZES", {"1080p": FrameFormat(width=96, height=54)})
    monkeypatch.setattr(bandwidth, "LARGE_BYTES", 1 << 16)
    monkeypatch.setattr(bandwidth, "ROUND_BYTES", 1 << 18)
    monkeypatch.setattr(timing, "WARM_S", 0.0)
    monkeypatch.setattr(timing, "MOST_TURNS", 2)


@pytest.fixture
def bed() -> Iterator[Bed]:
    driver = FakeDriver()  # its kernels do nothing
    made = Bed(driver, b"cubin", CONTRACT)
    made.take(SpinNetwork(driver, CONTRACT, cost_ms=1.0, multiprocessors=7), "stand-in")
    with made.scope():
        yield made
    made.close()


def test_works_are_timed_in_turns(bed: Bed) -> None:
    log: list[str] = []
    with closing(timing.Stopwatch(bed.driver, bed.stream)) as watch:
        times = watch.medians(lambda: log.append("a"), lambda: log.append("b"))
    assert all(ms > 0 for ms in times)
    blocks = [log[n : n + 2] for n in range(2, len(log), 2)]  # after one turn of each
    assert blocks == [["a", "a"], ["b", "b"]] * timing.ROUNDS


def test_a_time_is_the_median_of_the_blocks(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 1.0, 5.0, 2.0, 900.0, 3.0])
    monkeypatch.setattr(timing.Stopwatch, "block", lambda self, work, turns: next(times))
    with closing(timing.Stopwatch(bed.driver, bed.stream)) as watch:
        assert watch.medians(lambda: None) == [3.0]


def test_what_cannot_be_captured_is_not_timed(bed: Bed) -> None:
    driver: Any = bed.driver
    driver.no_graphs = "none here"
    with pytest.raises(NotRun, match="none here"):
        bandwidth.check_copy(bed)


def test_python_launches_no_kernel_and_queues_no_copy_while_bandwidth_is_timed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = bed.driver
    block, blocks = timing.Stopwatch.block, []

    def watched(self: timing.Stopwatch, work: timing.Work, turns: int) -> float:
        before = driver.calls["launch"], driver.calls["copy"], driver.calls["replay"]
        took = block(self, work, turns)
        after = driver.calls["launch"], driver.calls["copy"], driver.calls["replay"]
        blocks.append([late - early - own for early, late, own in zip(before, after, (0, 0, turns), strict=True)])
        return took

    monkeypatch.setattr(timing.Stopwatch, "block", watched)
    bandwidth.check_bandwidth(bed, "1080p")
    assert blocks
    assert all(block == [0, 0, 0] for block in blocks)


@pytest.mark.parametrize(("copy_ms", "verdict"), [(3.1, "missed"), (3.3, "passed")])
def test_a_kernel_is_held_against_a_copy_of_the_same_bytes(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, copy_ms: float, verdict: str
) -> None:
    monkeypatch.setattr(timing.Stopwatch, "medians", lambda self, *works: [4.0, copy_ms, 8.0][: len(works)])
    driver: Any = bed.driver
    copied: set[int] = set()
    copy = driver.copy

    def noted(target: int, source: int, nbytes: int, *, stream: Any) -> None:
        copied.add(nbytes)
        copy(target, source, nbytes, stream=stream)

    monkeypatch.setattr(driver, "copy", noted)
    checks = bandwidth.check_bandwidth(bed, "1080p")
    assert [check.name for check in checks] == [
        "pre at 1080p", "post's full-size pass at 1080p", "post, all launches, at 1080p",
    ]  # fmt: skip
    large_gbs = 2 * bandwidth.LARGE_BYTES * bandwidth.LARGE_TURNS / 8.0 / 1e6
    for check in checks:
        figures: Any = check.figures
        assert check.verdict == verdict
        assert figures["share of a copy of the same bytes"] == pytest.approx(copy_ms / 4)
        moved = figures["MB that must move"]
        assert round(1e6 * moved) // 2 in copied
        assert figures["share of the large copy"] == pytest.approx(moved / figures["ms"] / large_gbs)
    _, last, whole = (float(check.figures["MB that must move"]) for check in checks)
    assert whole > last  # the others' bytes are in it
    alone = [key for key in checks[2].figures if key.endswith("share")]
    assert len(alone) == checks[2].figures["launches"]
    assert alone[-1].endswith("cutline_post share")


@pytest.mark.parametrize(
    ("ratio", "host_us", "stand_in", "graphs", "verdict"),
    [
        (0.96, 50, False, True, "passed"), (0.94, 50, False, True, "missed"), (0.96, 70, False, True, "missed"),
        (0.96, 70, False, False, "passed"), (0.96, 50, True, True, "measured"), (0.5, 50, True, True, "measured"),
        (0.96, 70, True, True, "missed"),
    ],
)  # fmt: skip
def test_a_ratio_counts_with_a_network_alone(
    ratio: float, host_us: float, stand_in: bool, graphs: bool, verdict: str
) -> None:
    assert speed._verdict(ratio, host_us, stand_in=stand_in, graphs=graphs) == verdict


def test_the_copies_that_are_timed_are_those_of_frames_in_their_direction(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = bed.driver
    made: list[Frames] = []
    seen: list[set[Any]] = []
    copy, block = driver.copy, timing.Stopwatch.block

    def frames(*given: Any, **more: Any) -> Frames:
        made.append(Frames(*given, **more))
        return made[-1]

    def noted(target: int, source: int, nbytes: int, *, stream: Any) -> None:
        seen[-1].add((target, source, nbytes))
        copy(target, source, nbytes, stream=stream)

    def watched(self: timing.Stopwatch, work: timing.Work, turns: int) -> float:
        seen.append(set())
        return block(self, work, turns)

    monkeypatch.setattr(speed, "Frames", frames)
    monkeypatch.setattr(timing.Stopwatch, "block", watched)
    seen.append(set())
    monkeypatch.setattr(driver, "copy", noted)
    check = speed.check_streams(bed, "1080p", 0.05)
    first_places = [made[0].places[n] for n in range(len(made[0].places))]
    into = {copy for place in first_places for copy in place.copies_in}
    out = {copy for place in first_places for copy in place.copies_out}
    assert seen[2] == set(first_places[0].copies_in)
    assert seen[3] == set(first_places[0].copies_out)
    assert seen[2] <= into
    assert seen[3] <= out
    assert sum(n for *_, n in seen[3]) > sum(n for *_, n in seen[2]) + 96 * 54  # alpha, and the matte
    assert check.verdict in ("measured", "missed")
    added, ratio = float(check.figures["added ms"]), float(check.figures["ratio"])
    assert added > 0
    assert 0 < ratio < 1


def test_the_stand_in_fills_the_card_for_as_long_as_it_is_told(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = bed.engine.network
    network._base_ms, network._round_ms = 0.1, 0.001
    driver: Any = bed.driver
    launched: list[tuple[Any, int]] = []

    def launch(kernel: Any, grid: Any, block: Any, params: bytes, *, stream: Any) -> None:  # noqa: ARG001
        launched.append((grid, int.from_bytes(params[8:12], "little")))

    monkeypatch.setattr(driver, "launch", launch)
    place = bed.room(1 << 16)
    for ms in (2.1, 0.3, 0.01):
        network.cost(ms)
        network.queue(place, place + (1 << 15), bed.stream)
    grid = (SPIN_BLOCKS * 7, 1, 1)
    assert launched == [(grid, 2000), (grid, 200), (grid, 1)]


def test_a_soak_shorter_than_its_first_look_has_one(bed: Bed) -> None:
    assert soak.check_soak(bed, 1e-9, None).figures["looks"] == 1


@pytest.mark.parametrize(
    ("computing", "drawing", "integrated", "verdict"),
    [(0, 0, False, "failed"), (1, 0, False, "passed"), (0, 2, False, "passed"), (None, 0, False, "passed"),
     (0, 0, True, "passed")],
)  # fmt: skip
def test_memory_of_the_device_counts_where_nobody_else_takes_it(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, computing: int | None, drawing: int, integrated: bool, verdict: str
) -> None:
    driver: Any = bed.driver
    driver.device = dataclasses.replace(driver.device, integrated=integrated)
    free = iter(range(1 << 40, 0, -(10 << 20)))
    monkeypatch.setattr(driver, "free_bytes", lambda: next(free))
    monkeypatch.setattr(soak, "DRIFT", math.inf)
    monkeypatch.setattr(soak, "GROWTH_MIB", math.inf)
    gpu: Any = SimpleNamespace(other_processes=lambda drawing=False: drawn if drawing else computing)
    drawn = drawing
    check = soak.check_soak(bed, 0.05, gpu)
    assert check.verdict == verdict
    assert bool(check.notes) == (verdict == "passed")


class Libcuda:
    """Answers like the driver's library for GPU 3."""

    def cuInit(self, _flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = 40 + ordinal
        return 0 if ordinal == 3 else 101

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        assert (attribute, device.value) == (16, 43)
        value._obj.value = 132
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        assert (size, device.value) == (32, 43)
        text.value = b"0000:41:00.0"
        return 0


def test_a_card_is_known_to_nvml_by_its_address_and_not_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda())
    monkeypatch.setattr(card, "gpu_at", lambda address: address)
    assert card.multiprocessors(3) == 132
    assert card.nvml_gpu(3) == b"0000:41:00.0"
    assert card.nvml_gpu(0) is None
    with pytest.raises(DeviceError):
        card.multiprocessors(0)


def test_without_a_driver_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert card.nvml_gpu(0) is None
    with pytest.raises(DeviceError):
        card.multiprocessors(0)
