"""A stream's device memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutline.runtime.cuda.fake import A_CARD, FakeDriver
from cutline.runtime.cuda.memory import Arena
from cutline.runtime.errors import DeviceError

SMALL = replace(A_CARD, total_bytes=4 << 20)


def test_parts_lie_side_by_side_and_one_of_no_bytes_is_nowhere() -> None:
    with FakeDriver() as driver:
        arena = Arena(driver, {"a": 100, "nothing": 0, "b": 300}, lower="Use less.")
        assert (arena["b"] - arena["a"], arena["nothing"], arena.nbytes) == (256, 0, 768)
        arena.close()
        arena.close()
        assert driver.live == set()


def test_what_the_driver_counts_as_free_is_not_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """An integrated GPU shares memory with the host, whose caches count as taken and give way."""
    with FakeDriver() as driver:
        monkeypatch.setattr(driver, "free_bytes", lambda: 0)
        assert Arena(driver, {"a": 1000}, lower="Use less.")["a"]


def test_too_little_memory_says_how_much_is_needed_what_is_largest_and_what_to_lower() -> None:
    with FakeDriver(device=SMALL) as driver:
        taken = driver.alloc(1 << 20)
        with pytest.raises(DeviceError, match="too little free memory") as caught:
            Arena(driver, {"small": 1 << 20, "large": 5 << 20}, lower="Use less.")
        assert caught.value.facts == {"needed_mib": 6, "free_mib": 3, "largest": "large, 5 MiB"}
        assert caught.value.remedy == "Use less."
        assert driver.live == {taken}


def test_another_failure_keeps_its_name() -> None:
    faults = {("alloc", 0): "CUDA_ERROR_INVALID_VALUE"}
    with FakeDriver(faults=faults) as driver, pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_VALUE"):
        Arena(driver, {"a": 1000}, lower="Use less.")
