"""CudaPython against the real package's names and signatures; what needs a device is in test_conformance.py."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cutline.benchmarks.probe import ADD, PROBE
from cutline.runtime.cuda import cuda_python
from cutline.runtime.cuda.cuda_python import CudaPython
from cutline.runtime.errors import DeviceError, DeviceLostError

bindings = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")


class Recorder:
    """The real module's names and constants; its functions only check how many arguments they are given."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.given: dict[str, tuple[Any, ...]] = {}
        self.fails: dict[str, Any] = {}
        self.handle = 1000

    def __getattr__(self, name: str) -> Any:
        real = getattr(bindings, name)
        if not name.startswith("cu"):
            return real
        wanted = _parameters(real)

        def call(*given: Any) -> tuple[Any, ...]:
            assert len(given) == len(wanted), f"{name}{wanted} was given {given}"
            self.called.append(name)
            self.given[name] = given
            status = self.fails.get(name, bindings.CUresult.CUDA_SUCCESS)
            return (status, *self.results(name))

        return call

    def results(self, name: str) -> tuple[Any, ...]:
        self.handle += 1
        known = {
            "cuDriverGetVersion": (13000,),
            "cuDeviceGetName": (b"A card\0\0\0",),
            "cuDeviceGetAttribute": (8,),
            "cuDeviceTotalMem": (1 << 30,),
            "cuCtxGetStreamPriorityRange": (0, -5),
            "cuMemGetInfo": (1 << 29, 1 << 30),
            "cuEventElapsedTime": (1.5,),
            "cuGetErrorString": (b"because",),
        }
        return known.get(name, (self.handle,) if MAKES.search(name) else ())


MAKES = re.compile(r"Get|Create|Alloc$|Retain|Load|EndCapture|Instantiate")


def _parameters(function: Any) -> list[str]:
    """What the first line of a binding's docstring lists: `cuMemAlloc(size_t bytesize)`."""
    listed = re.search(r"\((.*)\)", function.__doc__.splitlines()[0])
    assert listed is not None
    return [part for part in re.sub(r"\[[^\]]*\]", "", listed[1]).split(",") if part.strip()]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(cuda_python, "_bindings", lambda: recorder)
    return recorder


def test_every_call_fits_the_real_signature(recorder: Recorder) -> None:
    driver = CudaPython(0)
    memory, pinned, stream = driver.alloc(64), driver.pin(4096, 64), driver.stream(urgent=True)
    mark, module = driver.event(timing=True), driver.load(PROBE)
    kernel = driver.kernel(module, ADD)
    driver.copy(memory.address, pinned.device_address, 64, stream=stream)
    driver.fill(memory.address, 0, 64, stream=stream)
    driver.launch(kernel, (1, 1, 1), (32, 1, 1), b"12345678", stream=stream)
    driver.record(mark, stream=stream)
    driver.hold(mark, stream=stream)
    driver.synchronise(mark)
    assert driver.elapsed_ms(mark, mark) == 1.5
    assert driver.free_bytes() == 1 << 29
    driver.begin_capture(stream)
    driver.replay(driver.end_capture(stream), stream=stream)
    driver.close()
    assert str(driver.device) == "cuda:0 (A card, sm88)"
    assert recorder.called[-1] == "cuDevicePrimaryCtxRelease"
    released = {"cuMemFree", "cuMemHostUnregister", "cuStreamDestroy", "cuEventDestroy", "cuGraphExecDestroy"}
    assert released <= set(recorder.called)


def test_events_are_external_in_a_capture_and_only_there(recorder: Recorder) -> None:
    driver = CudaPython(0)
    stream, mark = driver.stream(), driver.event()
    driver.hold(mark, stream=stream)
    assert recorder.given["cuStreamWaitEvent"][2] == 0
    driver.begin_capture(stream)
    driver.hold(mark, stream=stream)
    driver.record(mark, stream=stream)
    assert recorder.given["cuStreamWaitEvent"][2] == 1
    assert recorder.given["cuEventRecordWithFlags"][2] == 1


def test_streams_never_wait_for_the_default_stream_and_urgent_ones_go_first(recorder: Recorder) -> None:
    driver = CudaPython(0)
    driver.stream()
    assert recorder.given["cuStreamCreateWithPriority"] == (1, 0)
    driver.stream(urgent=True)
    assert recorder.given["cuStreamCreateWithPriority"] == (1, -5)


def test_a_failing_call_is_named_and_what_was_made_is_released(recorder: Recorder) -> None:
    driver = CudaPython(0)
    recorder.fails["cuMemAlloc"] = bindings.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY while taking 64 bytes of device memory: because"):
        driver.alloc(64)
    driver.stream()
    driver.close()
    assert "cuStreamDestroy" in recorder.called


def test_after_a_sticky_error_nothing_is_asked_of_the_driver(recorder: Recorder) -> None:
    driver = CudaPython(0)
    driver.alloc(64)
    recorder.fails["cuEventSynchronize"] = bindings.CUresult.CUDA_ERROR_LAUNCH_FAILED
    with pytest.raises(DeviceLostError):
        driver.synchronise(driver.event())
    before = list(recorder.called)
    driver.attach()
    with pytest.raises(DeviceLostError, match="CUDA_ERROR_LAUNCH_FAILED while taking 64 bytes"):
        driver.alloc(64)
    driver.close()
    assert recorder.called == before


def test_a_device_that_is_found_lost_while_closing_is_closed_all_the_same(recorder: Recorder) -> None:
    driver = CudaPython(0)
    driver.alloc(64), driver.stream()
    recorder.fails["cuStreamDestroy"] = bindings.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
    driver.close()
    driver.close()
    assert recorder.called.count("cuStreamDestroy") == 1
    assert "cuMemFree" not in recorder.called  # it went with the context


def test_a_loss_that_attach_finds_is_told_by_the_next_call_so_that_closing_goes_on(recorder: Recorder) -> None:
    driver = CudaPython(0)
    recorder.fails["cuCtxSetCurrent"] = bindings.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
    driver.attach()
    with pytest.raises(DeviceLostError, match="CUDA_ERROR_ILLEGAL_ADDRESS while making an event"):
        driver.event()


def test_a_device_that_does_not_open_is_not_lost(recorder: Recorder) -> None:
    """`auto` then takes the CPU, and no supervisor tries again and again."""
    recorder.fails["cuInit"] = bindings.CUresult.CUDA_ERROR_UNKNOWN
    with pytest.raises(DeviceError, match="CUDA_ERROR_UNKNOWN while starting the NVIDIA driver") as caught:
        CudaPython(0)
    assert not isinstance(caught.value, DeviceLostError)


@pytest.mark.parametrize("call", ["cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"])
def test_a_gpu_that_another_program_has_to_itself_is_one_line_and_what_to_do(recorder: Recorder, call: str) -> None:
    """Compute mode exclusive-process: there is a driver and a GPU, and no context to be had."""
    recorder.fails[call] = bindings.CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE
    with pytest.raises(DeviceError, match="CUDA_ERROR_DEVICE_UNAVAILABLE while") as caught:
        CudaPython(0).stream()
    assert (type(caught.value), caught.value.exit_code) == (DeviceError, 69)
    assert "End the other program on this GPU" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("cuDevicePrimaryCtxRelease" in recorder.called) == (call == "cuCtxSetCurrent")  # what was taken


def test_an_error_that_is_newer_than_the_bindings_loses_the_device(recorder: Recorder) -> None:
    """cuda-bindings raise then, instead of giving the status: a new kind of fault on a new GPU."""

    def faulty(event: int) -> tuple[Any, ...]:  # noqa: ARG001
        raise ValueError("721 is not a valid CUresult")

    driver = CudaPython(0)
    recorder.cuEventSynchronize = faulty
    with pytest.raises(DeviceLostError, match="CUDA_ERROR_UNKNOWN while waiting for a frame: 721 is not"):
        driver.synchronise(driver.event())


def test_a_thread_that_turned_to_another_device_comes_back(recorder: Recorder) -> None:
    first, second = CudaPython(0), CudaPython(1)
    contexts = []
    for driver in (first, second, first):
        driver.attach()
        contexts.append(recorder.given["cuCtxSetCurrent"])
    assert contexts[0] == contexts[2] != contexts[1]


def test_a_closed_device_leaves_the_context_of_others_current(recorder: Recorder) -> None:
    driver = CudaPython(0)
    driver.close()
    recorder.called.clear()
    driver.attach()
    driver.close()
    assert recorder.called == []


@pytest.mark.usefixtures("recorder")
def test_an_old_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_python, "DRIVER_TOO_OLD", (99, 0))
    with pytest.raises(DeviceError, match="too old"):
        CudaPython(0)


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("libcuda.so.1 is not there")

    monkeypatch.setattr(bindings, "cuDriverGetVersion", missing)
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        CudaPython(0)
    assert caught.value.exit_code == 69
    assert "--device cpu" in caught.value.remedy
