from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_tensorrt import make_module, plan_of

from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.cuda.driver import Device
from cutline.runtime.cuda.fake import A_CARD, FakeDriver
from cutline.runtime.errors import DeviceError, UsageError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Cubin, Target
from cutline.runtime.sessions import EngineOptions, devices, open_engine, tensorrt


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


CARD_CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=8, height=4),
    outputs=(Output(tensor="alpha", meaning="alpha", width=8, height=4),),
)
TENSORS = {"image": ("INPUT", "FLOAT", [1, 3, 4, 8]), "alpha": ("OUTPUT", "FLOAT", [1, 1, 4, 8])}


class Carried:
    """A bundle with one engine and one cubin for sm89."""

    path = Path("small.cutline")

    def __init__(self, *, release: str = "tensorrt 10.3.0") -> None:
        target = Target(
            kind="tensorrt", precision="fp16", member="e.plan", device="sm89", facts={"library": release}
        )  # fmt: skip
        cubin = Cubin(device="sm89", member="cubins/sm89.cubin", source=sources_digest(), toolkit=(12, 9))
        facts = {"targets": (target,), "cubins": (cubin,), "name": "small", "contract": CARD_CONTRACT}
        self.manifest = type("Manifest", (), facts)()

    def read(self, member: str) -> bytes:
        return plan_of(TENSORS) if member == "e.plan" else b"cubin"


@pytest.fixture
def tensorrt_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "load_library", lambda kind: tensorrt.Library(make_module(), kind))


@pytest.mark.usefixtures("tensorrt_is_there")
def test_an_engine_for_this_gpu_is_loaded_and_named() -> None:
    driver, bundle = FakeDriver(), Carried()
    engine = devices.engine_on(driver, bundle, EngineOptions())  # type: ignore[arg-type]
    assert engine.device == "cuda:0 (Fake GPU, sm89) with tensorrt 10.3.0, fake"
    assert (engine.name, engine.precision, engine.chosen) == ("small", "fp16", "")
    engine.close()
    engine.close()
    assert driver.live == set()


@pytest.mark.usefixtures("tensorrt_is_there")
@pytest.mark.parametrize(
    ("device", "release", "said"),
    [
        (replace(A_CARD, sm="sm87"), "tensorrt 10.3.0", "no engine for sm87"),
        (replace(A_CARD, driver_version=(11, 8)), "tensorrt 10.3.0", "driver is too old"),
        (A_CARD, "tensorrt 10.13.3", "another release"),
    ],
)
def test_what_does_not_fit_is_one_error_and_leaves_the_device_free(device: Device, release: str, said: str) -> None:
    driver, bundle = FakeDriver(device=device), Carried(release=release)
    driver.stream()
    with pytest.raises(DeviceError, match=said) as caught:
        devices.engine_on(driver, bundle, EngineOptions())  # type: ignore[arg-type]
    assert caught.value.exit_code == 69
    assert driver.live == set()
