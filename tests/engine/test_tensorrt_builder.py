"""Plans are really built where TensorRT for RTX is installed; the other releases are played by stand-ins."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import small_models

from cutline.calibration.fp16 import to_fp16
from cutline.calibration.graph import normalise
from cutline.engine import plan_worker
from cutline.engine.cache import Cache
from cutline.engine.plan_worker import PhaseProgress
from cutline.engine.targets import RTX_DEVICES, BuildTarget
from cutline.engine.tensorrt_builder import PlanOptions, build_plan, demand_library
from cutline.runtime.errors import DeviceError

needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs tensorrt-rtx")
needs_no_tensorrt = pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")


@needs_rtx
def test_a_half_graph_becomes_a_plan_and_the_second_time_is_free(tmp_path: Path) -> None:
    model = to_fp16(normalise(small_models.unet()), {}).model.SerializeToString()
    told: list[float] = []
    target = BuildTarget(kind="tensorrt-rtx", device="sm89")
    options = PlanOptions(level=2, workspace_mib=256)
    plan = build_plan(model, target, options, Cache(tmp_path), lambda fraction, phase: told.append(fraction))
    assert len(plan.data) > 10_000
    assert plan.device == "sm89"
    assert plan.facts["library"].startswith("tensorrt_rtx ")
    assert told == sorted(told)
    assert told[-1] > 0.5
    told.clear()
    assert build_plan(model, target, options, Cache(tmp_path), lambda fraction, phase: told.append(fraction)) == plan
    assert told == []


@needs_rtx
def test_every_offered_capability_is_known_to_the_library() -> None:
    import tensorrt_rtx

    known = {name.lower() for name in dir(tensorrt_rtx.ComputeCapability) if name.startswith("SM")}
    assert set(RTX_DEVICES) <= known


@needs_rtx
def test_a_graph_that_tensorrt_refuses_is_one_line(tmp_path: Path) -> None:
    target = BuildTarget(kind="tensorrt-rtx", device="sm89")
    with pytest.raises(DeviceError) as caught:
        build_plan(b"no graph at all", target, PlanOptions(), Cache(tmp_path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 69


@needs_no_tensorrt
def test_tensorrt_that_is_demanded_and_absent_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="not installed") as caught:
        demand_library(BuildTarget(kind="tensorrt"))
    assert caught.value.exit_code == 69


class Config:
    """A builder config of an early release: no progress monitor, no timing cache, no capabilities."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = size


class Builder:
    plan: bytes | None = b"plan"
    seen: dict[str, Any]

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        Builder.seen = {}

    def create_network(self, flags: int) -> Any:
        Builder.seen["flags"] = flags
        return types.SimpleNamespace(num_outputs=1)

    def create_builder_config(self) -> Config:
        Builder.seen["config"] = Config()
        return Builder.seen["config"]

    def build_serialized_network(self, _network: Any, _config: Config) -> bytes | None:
        if Builder.plan is None:
            self.logger.log(self.logger.ERROR, "tactic  exceeds\nworkspace")
        return Builder.plan


class Logger:
    ERROR, INTERNAL_ERROR, INFO = "error", "internal", "info"


class Parser:
    num_errors = 0

    def __init__(self, network: Any, logger: Any) -> None: ...

    def parse(self, _data: bytes) -> bool:
        return True


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """TensorRT as it was before 11: typing is a flag, and much is missing."""
    module: Any = types.ModuleType("early_tensorrt")
    module.__version__ = "10.3.0"
    module.ILogger, module.Builder, module.OnnxParser = Logger, Builder, Parser
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    module.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")
    monkeypatch.setitem(sys.modules, "early_tensorrt", module)
    monkeypatch.setattr(Builder, "plan", b"plan")
    return module  # type: ignore[no-any-return]


def request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    wanted = {
        "module": "early_tensorrt",
        "model": str(tmp_path / "model.onnx"),
        "plan": str(tmp_path / "model.plan"),
        "timing_cache": str(tmp_path / "timing.bin"),
        "device": None,
        "workspace_mib": 64,
        "level": 4,
    }
    return {**wanted, **changes}


@pytest.mark.usefixtures("early")
def test_an_early_release_gets_the_typing_flag_and_only_what_it_knows(tmp_path: Path) -> None:
    result = plan_worker.task(request(tmp_path), lambda news: None)
    assert result["version"] == "10.3.0"
    assert Builder.seen["flags"] == 1 << 1
    assert Builder.seen["config"].limits == {"workspace": 64 << 20}
    assert Builder.seen["config"].builder_optimization_level == 4
    assert (tmp_path / "model.plan").read_bytes() == b"plan"
    assert not (tmp_path / "timing.bin").exists()


def test_a_release_without_the_flag_gets_none(tmp_path: Path, early: Any) -> None:
    early.NetworkDefinitionCreationFlag = types.SimpleNamespace()
    plan_worker.task(request(tmp_path), lambda news: None)
    assert Builder.seen["flags"] == 0


@pytest.mark.usefixtures("early")
def test_a_release_that_cannot_build_for_others_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="does not run on"):
        plan_worker.task(request(tmp_path, device="sm89"), lambda news: None)


def test_a_device_that_the_release_does_not_know_is_named_with_those_it_does(
    tmp_path: Path, early: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    early.ComputeCapability = types.SimpleNamespace(SM75=1, SM89=2, CURRENT=3)
    monkeypatch.setattr(Config, "set_compute_capability", lambda *_: True, raising=False)
    with pytest.raises(DeviceError, match=r"10\.3\.0 does not know sm90") as caught:
        plan_worker.task(request(tmp_path, device="sm90"), lambda news: None)
    assert caught.value.facts["known"] == "sm75 sm89"


@pytest.mark.usefixtures("early")
def test_a_failed_build_carries_the_library_s_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "plan", None)
    with pytest.raises(DeviceError, match="tactic exceeds workspace"):
        plan_worker.task(request(tmp_path), lambda news: None)
    assert not (tmp_path / "model.plan").exists()


def test_nested_phases_become_one_fraction() -> None:
    outer = PhaseProgress(4, None)
    outer.done = 1
    inner = PhaseProgress(2, outer)
    inner.done = 1
    assert inner.whole() == pytest.approx((1 + 0.5) / 4)
