from __future__ import annotations

import pytest

from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import DeviceError, UsageError
from cutline.runtime.sessions import EngineOptions, devices, open_engine


@pytest.mark.parametrize(
    ("text", "kind", "ordinal"), [("auto", "auto", 0), ("cpu", "cpu", 0), ("cuda", "cuda", 0), ("cuda:3", "cuda", 3)]
)
def test_a_device_is_read(text: str, kind: str, ordinal: int) -> None:
    assert devices.parse_device(text) == (kind, ordinal)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "cuda:1234", ""])
def test_an_unknown_device_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        devices.parse_device(text)


def test_a_demanded_gpu_without_a_driver_is_exit_69_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_is_there", lambda: False)
    with open_bundle("cutout") as bundle, pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        open_engine(bundle, EngineOptions(device="cuda:1"))
    assert caught.value.exit_code == 69
    assert caught.value.facts == {"device": "cuda:1"}


@pytest.mark.parametrize(
    ("driver", "reason"), [(False, "there is no NVIDIA driver"), (True, "the bundle has no engine for a GPU")]
)
def test_auto_says_why_it_took_the_cpu(monkeypatch: pytest.MonkeyPatch, driver: bool, reason: str) -> None:
    monkeypatch.setattr(devices, "driver_is_there", lambda: driver)
    monkeypatch.setattr(devices, "open_on_gpu", lambda *_: pytest.fail("it was tried"))
    with open_bundle("cutout") as bundle:
        engine = open_engine(bundle, EngineOptions())
    assert engine.device.startswith("cpu")
    assert engine.chosen == reason


def test_auto_says_what_went_wrong_when_it_tried_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("tensorrt cannot be loaded", remedy="Install it.")

    monkeypatch.setattr(devices, "why_not_gpu", lambda *_: None)
    monkeypatch.setattr(devices, "open_on_gpu", fail)
    with open_bundle("cutout") as bundle:
        engine = open_engine(bundle, EngineOptions())
    assert engine.chosen == "tensorrt cannot be loaded"


def test_what_was_demanded_needs_no_reason() -> None:
    with open_bundle("cutout") as bundle:
        assert open_engine(bundle, EngineOptions(device="cpu")).chosen == ""
