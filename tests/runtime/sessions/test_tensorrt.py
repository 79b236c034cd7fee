"""What TensorRT is asked, in which order; nothing of it ran on a GPU."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import Engine, Runtime, make_module, plan_of

from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.cuda.driver import Device, Stream
from cutline.runtime.errors import ContractError, DeviceError, DeviceLostError
from cutline.runtime.manifest import Target
from cutline.runtime.sessions import EngineOptions, rtx_cache, tensorrt
from cutline.runtime.sessions.devices import driver_is_there
from cutline.runtime.sessions.tensorrt import Library, TensorRtNetwork

CARD = Device(ordinal=0, name="A card", sm="sm89", integrated=False, total_bytes=1 << 30, driver_version=(13, 0))
CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=8, height=4),
    outputs=(Output(tensor="alpha", meaning="alpha", width=8, height=4),),
    states=(State(input="before", output="after", shape=(1, 16), dtype="float16"),),
)
TENSORS = {
    "image": ("INPUT", "FLOAT", [1, 3, 4, 8]),
    "before": ("INPUT", "HALF", [1, 16]),
    "alpha": ("OUTPUT", "FLOAT", [1, 1, 4, 8]),
    "after": ("OUTPUT", "HALF", [1, 16]),
    "unread": ("OUTPUT", "INT8", [2, 2]),
}
ADDRESSES = {name: 256 * (i + 1) for i, name in enumerate(TENSORS)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def target(kind: str = "tensorrt", *, device: str = "sm89", library: str = "tensorrt 10.3.0") -> Target:
    return Target(kind=kind, precision="fp16", member="engine.plan", device=device, facts={"library": library})  # type: ignore[arg-type]


def opened(plan: bytes, *, rtx: bool = False) -> tuple[TensorRtNetwork, Library]:
    kind, version = ("tensorrt-rtx", "1.7.1") if rtx else ("tensorrt", "10.3.0")
    library = Library(make_module(rtx=rtx, version=version), kind)
    return TensorRtNetwork(plan, target(kind, library=library.name), library, CARD, CONTRACT), library


@pytest.mark.parametrize("api", ["10.0", "10.3", "rtx"])
def test_every_tensor_is_bound_by_address_and_scratch_is_shared(api: str) -> None:
    network, library = opened(plan_of(TENSORS, api=api, scratch=4096), rtx=api == "rtx")
    assert network.tensors == {"image": 384, "before": 32, "alpha": 128, "after": 32, "unread": 4}
    assert network.scratch_bytes == 4096
    first, second = (network.inference(ADDRESSES, 0x10000) for _ in range(2))
    contexts = library.runtime.engines[0].contexts
    assert [c.bound for c in contexts] == [ADDRESSES, ADDRESSES]
    for context in contexts:
        assert context.memory == (0x10000, 4096) or context.device_memory == 0x10000
    first.queue(Stream(77))
    second.queue(Stream(78))
    assert [c.queued for c in contexts] == [[77], [78]]


def test_memory_is_managed_by_us_on_every_release() -> None:
    old, library = opened(plan_of(TENSORS))
    old.inference(ADDRESSES, 0x10000)
    assert library.runtime.engines[0].contexts[0].given.name == "USER_MANAGED"
    new, library = opened(plan_of(TENSORS, api="rtx"), rtx=True)
    new.inference(ADDRESSES, 0x10000)
    config = library.runtime.engines[0].config
    assert config.strategy.name == "USER_MANAGED"
    assert config.cuda_graph_strategy.name == "DISABLED"


def test_what_the_engine_was_built_for_is_compared_before_its_bytes_are_touched() -> None:
    library = Library(make_module(), "tensorrt")
    for wrong, said in ((target(device="sm87"), "another GPU"), (target(library="tensorrt 10.3.1"), "another release")):
        with pytest.raises(DeviceError, match=said) as caught:
            TensorRtNetwork(plan_of(TENSORS), wrong, library, CARD, CONTRACT)
        assert "cutline build" in caught.value.remedy
    assert library.runtime.engines == []


def test_rtx_judges_the_header_before_the_engine_is_loaded() -> None:
    library = Library(make_module(rtx=True, version="1.7.1"), "tensorrt-rtx")
    wanted = target("tensorrt-rtx", library=library.name)
    with pytest.raises(DeviceError, match="does not accept the engine: VERSION_MISMATCH, UNSUPPORTED_CC"):
        TensorRtNetwork(plan_of(TENSORS, state="stale"), wanted, library, CARD, CONTRACT)
    assert library.runtime.engines == []


def test_what_the_library_complained_of_is_in_the_error() -> None:
    with pytest.raises(DeviceError, match="TensorRT error 4, Internal Error, while loading engine"):
        opened(b"no plan")


def test_all_engines_of_a_process_share_the_one_logger_that_the_library_heeds() -> None:
    module = make_module()
    first, second = Library(module, "tensorrt"), Library(module, "tensorrt")
    first.runtime.complain("the second engine's trouble")  # TensorRT tells the first logger, whoever is concerned
    with pytest.raises(DeviceError, match="the second engine's trouble"):
        second.demand(False, "loading", remedy="none")
    with pytest.raises(DeviceError, match="no reason"):
        first.demand(False, "loading", remedy="none")


def test_an_engine_with_other_tensors_than_the_contract_is_refused_and_let_go() -> None:
    library = Library(make_module(), "tensorrt")
    other = plan_of({**TENSORS, "alpha": ("OUTPUT", "FLOAT", [1, 1, 4, 9])})
    with pytest.raises(ContractError, match="alpha") as caught:
        TensorRtNetwork(other, target(library=library.name), library, CARD, CONTRACT)
    engine = weakref.ref(library.runtime.engines.pop())
    assert caught.value.__traceback__ is not None  # it holds the network, and must not hold the engine
    assert engine() is None
    with pytest.raises(DeviceError, match="no fixed size"):
        opened(plan_of({**TENSORS, "unread": ("OUTPUT", "INT8", [-1, 2])}))


def test_a_lost_device_is_told_from_a_refusal() -> None:
    lost = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    for words, kind in ((lost, DeviceLostError), ("Error Code 3: API Usage Error (bad)", DeviceError)):
        network, _ = opened(plan_of(TENSORS, fails=words))
        with pytest.raises(DeviceError, match="while running the network") as caught:
            network.inference(ADDRESSES, 0x10000).queue(Stream(77))
        assert type(caught.value) is kind


OUT_OF_MEMORY = "[defaultAllocator.cpp::allocateAsync::48] Error Code 1: Cuda Runtime (out of memory)"


@pytest.mark.parametrize(
    ("kind", "method", "doing"),
    [(Runtime, "deserialize_cuda_engine", "loading"), (Engine, "create_execution_context", "making an execution")],
)
def test_a_model_larger_than_the_memory_is_one_line_and_what_to_lower(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str, doing: str
) -> None:
    def refuse(self: Any, _: object) -> None:
        (self.complain if kind is Runtime else self.log)(OUT_OF_MEMORY)

    monkeypatch.setattr(kind, method, refuse)
    with pytest.raises(DeviceError, match=f"while {doing}.*out of memory") as caught:
        opened(plan_of(TENSORS))[0].inference(ADDRESSES, 0x10000)
    assert (type(caught.value), caught.value.exit_code) == (DeviceError, 69)
    assert caught.value.remedy.startswith("Lower the number of streams")
    assert "\n" not in str(caught.value)


def test_why_a_network_cannot_be_captured_is_said() -> None:
    network, _ = opened(plan_of(TENSORS, api="rtx", uncapturable=True), rtx=True)
    reason = network.inference(ADDRESSES, 0x10000).not_captured(Stream(77))
    assert reason == "tensorrt_rtx 1.7.1 says that this network cannot be captured"
    network, _ = opened(plan_of(TENSORS))
    assert network.inference(ADDRESSES, 0x10000).not_captured(Stream(77)) is None


def test_compiled_kernels_are_kept_for_the_next_start_and_for_this_user_alone() -> None:
    plan = plan_of(TENSORS, api="rtx")
    network, _ = opened(plan, rtx=True)
    network.inference(ADDRESSES, 0x10000)
    (file,) = rtx_cache.cache_folder().iterdir()
    assert file.read_bytes() == b"kernels compiled here"
    assert file.stat().st_mode & 0o777 == 0o600
    _, library = opened(plan, rtx=True)
    assert library.runtime.engines[0].config.cache.loaded == b"kernels compiled here"


@pytest.mark.parametrize("harm", ["writable by others", "link"])
def test_a_cache_that_others_could_have_written_is_not_read(harm: str, tmp_path: Path) -> None:
    plan = plan_of(TENSORS, api="rtx")
    opened(plan, rtx=True)[0].inference(ADDRESSES, 0x10000)
    (file,) = rtx_cache.cache_folder().iterdir()
    if harm == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        os.chmod(file, 0o666)  # noqa: PTH101 - the test's point
    _, library = opened(plan, rtx=True)
    assert library.runtime.engines[0].config.cache.loaded is None


def test_a_library_that_gives_no_cache_is_no_error(tmp_path: Path) -> None:
    handle: Any = type("Cache", (), {"serialize": lambda _: None})()
    cache = rtx_cache.RuntimeCache(handle, b"plan", "tensorrt_rtx 1.7", CARD)
    cache.save()
    assert list(tmp_path.rglob("*.cache")) == []


def test_another_release_or_gpu_has_another_cache() -> None:
    cache: Any = type("Cache", (), {"deserialize": lambda *_: False})()
    other = Device(ordinal=0, name="B", sm="sm86", integrated=False, total_bytes=1, driver_version=(13, 0))
    paths = {
        rtx_cache.RuntimeCache(cache, plan, name, device).path
        for plan in (b"a", b"b")
        for name in ("tensorrt_rtx 1.7", "tensorrt_rtx 1.8")
        for device in (CARD, other)
    }
    assert len(paths) == 8


class Carried:
    """A bundle, as far as its targets go."""

    def __init__(self, *targets: Target) -> None:
        self.manifest = type("Manifest", (), {"targets": targets, "name": "cutout"})()


OPENVINO = Target(kind="openvino", precision="bf16", member="x")


@pytest.mark.parametrize(
    ("targets", "precision", "said"),
    [
        ([OPENVINO], "auto", "has no engine for a GPU"),
        ([target(device="sm75"), target(device="sm120")], "auto", r"no engine for sm89 .*sm120 sm75"),
        ([target()], "int8", "demanded precision .*fp16"),
    ],
)
def test_a_bundle_without_the_engine_says_what_it_has(targets: list[Target], precision: str, said: str) -> None:
    bundle: Any = Carried(*targets)
    with pytest.raises(DeviceError, match=said) as caught:
        tensorrt.choose_target(bundle, EngineOptions(precision=precision), CARD)  # type: ignore[arg-type]
    assert caught.value.exit_code == 69


def test_the_first_target_of_this_gpu_is_chosen() -> None:
    bundle: Any = Carried(OPENVINO, target(device="sm75"), target(), target("tensorrt-rtx"))
    assert tensorrt.choose_target(bundle, EngineOptions(), CARD) is bundle.manifest.targets[2]


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tensorrt.MODULES, "tensorrt", "no_such_tensorrt")
    with pytest.raises(DeviceError, match="no_such_tensorrt cannot be loaded") as caught:
        tensorrt.load_library("tensorrt")
    assert "--device cpu" in caught.value.remedy


@pytest.mark.skipif(driver_is_there(), reason="the driver is there: the engine may well load")
def test_a_real_plan_of_the_shipped_network_is_refused_by_name_where_there_is_no_driver(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    from cutline.engine.cache import Cache
    from cutline.engine.targets import BuildTarget
    from cutline.engine.tensorrt_builder import PlanOptions, build_plan

    with open_bundle("cutout") as bundle:
        contract, source = bundle.manifest.contract, bundle.read("source.onnx")
    plan = build_plan(source, BuildTarget(kind="tensorrt-rtx", device="sm89"), PlanOptions(), Cache(tmp_path))
    library = tensorrt.load_library("tensorrt-rtx")
    wanted = target("tensorrt-rtx", library=library.name)
    assert plan.facts["library"] == library.name
    with pytest.raises(DeviceError, match="CUDA driver version is insufficient"):
        TensorRtNetwork(plan.data, wanted, library, CARD, contract)
