from __future__ import annotations

import pytest

from cutline.runtime.cuda import faults
from cutline.runtime.errors import DeviceError, DeviceLostError


def test_an_error_names_itself_explains_and_helps() -> None:
    error = faults.cuda_error("CUDA_ERROR_OUT_OF_MEMORY", "out of memory", "taking 5 bytes", device="cuda:0")
    assert str(error).startswith("CUDA_ERROR_OUT_OF_MEMORY while taking 5 bytes: out of memory (device='cuda:0'). ")
    assert error.remedy.startswith("Lower")
    assert error.exit_code == 69
    assert type(error) is DeviceError


def test_sticky_errors_lose_the_device() -> None:
    for name in faults.STICKY:
        assert isinstance(faults.cuda_error(name, "", "waiting"), DeviceLostError)


def test_a_gpu_that_another_program_holds_is_not_lost() -> None:
    error = faults.cuda_error("CUDA_ERROR_DEVICE_UNAVAILABLE", "busy", "opening cuda:0")
    assert type(error) is DeviceError
    assert error.remedy.startswith("End the other program")


def test_every_name_of_ours_is_one_of_cudas_and_every_error_of_cudas_has_a_remedy() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    names = {status.name for status in driver.CUresult} - {"CUDA_SUCCESS"}
    newer = {"TENSOR_MEMORY_LEAK", "CONTAINED", "CALL_REQUIRES_NEWER_DRIVER"}  # than cuda-bindings 12.9
    names |= {f"CUDA_ERROR_{name}" for name in newer}
    assert names >= faults.STICKY
    assert names >= {f"CUDA_ERROR_{name}" for name in faults._REMEDIES}
    assert all(faults.remedy_for(name).endswith(".") for name in names)


# cudaGetErrorString of CUDA 13, of the errors after which cuda.h says that the process must end
STICKY_WORDS = (
    "an illegal memory access was encountered",
    "the launch timed out and was terminated",
    "device-side assert triggered",
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "unspecified launch failure",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected during the execution",
)
TENSORRT = "[runner.cpp::execute::1] Error Code 1: Cuda Runtime (an illegal memory access was encountered)"


def test_a_tensorrt_error_is_named_and_a_lost_device_seen_in_it() -> None:
    error = faults.tensorrt_error([TENSORRT], "running the network", remedy="Report this.")
    assert isinstance(error, DeviceLostError)
    assert "TensorRT error 1, Cuda Runtime, while running the network" in str(error)


def test_the_driver_s_words_for_every_sticky_error_are_known_where_tensorrt_quotes_them() -> None:
    for words in STICKY_WORDS:
        error = faults.tensorrt_error([f"Error Code 1: Cuda Runtime ({words})"], "running", remedy="Report this.")
        assert isinstance(error, DeviceLostError), words


def test_a_tensorrt_error_that_is_no_fault_of_the_device_loses_nothing() -> None:
    words = "[api.cpp::set::9] Error Code 3: API Usage Error (Parameter check failed)"
    error = faults.tensorrt_error([words], "binding a tensor", remedy="Report this.")
    assert type(error) is DeviceError
    assert "API Usage Error" in str(error)


def test_a_network_too_large_for_the_memory_is_told_what_to_lower() -> None:
    words = "[memory.cpp::alloc::2] Error Code 2: OutOfMemory (Requested size was 9663676416 bytes.)"
    error = faults.tensorrt_error([words], "loading engine.plan", remedy="Rebuild it.")
    assert error.remedy.startswith("Lower the number of streams")


def test_silence_is_said() -> None:
    assert "gave no reason" in str(faults.tensorrt_error([], "loading", remedy="Rebuild it."))
