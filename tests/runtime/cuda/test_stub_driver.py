"""CudaPython through the real cuda-bindings, onto a libcuda of our own: what arrives there, argument by argument."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")

PROGRAM = """
import ctypes
from cutline.benchmarks.probe import ADD, PROBE, probe_params
from cutline.runtime.cuda.cuda_python import CudaPython
from cutline.runtime.errors import DeviceError

driver = CudaPython(0)
host = ctypes.create_string_buffer(4096)
memory, pinned = driver.alloc(64), driver.pin(ctypes.addressof(host), 4096)
stream, mark = driver.stream(urgent=True), driver.event(timing=True)
kernel = driver.kernel(driver.load(PROBE), ADD)
assert pinned.device_address == pinned.address + 1
driver.copy(memory.address, 4097, 64, stream=stream)
driver.fill(memory.address, 7, 64, stream=stream)
driver.launch(kernel, (1, 2, 3), (32, 1, 1), probe_params(0xABCDEF, 5, 6), stream=stream)
driver.record(mark, stream=stream)
driver.hold(mark, stream=stream)
driver.synchronise(mark)
assert (driver.elapsed_ms(mark, mark), driver.free_bytes()) == (1.5, 1 << 29)
driver.begin_capture(stream)
driver.record(mark, stream=stream)
driver.hold(mark, stream=stream)
driver.replay(driver.end_capture(stream), stream=stream)
try:
    driver.alloc(1 << 50)
except DeviceError as error:
    print(error)
driver.close()
driver.close()
library = ctypes.CDLL("libcuda.so.1")
library.stub_log.restype = ctypes.c_char_p
print(library.stub_log().decode().replace(str(pinned.address), "HOST"))
"""

ARRIVED = """
cuInit 0 0 0
cuDeviceGet 0 0 0
cuDevicePrimaryCtxRetain 0 0 0
cuCtxSetCurrent 119 0 0
cuMemAlloc 64 0 0
cuMemHostRegister HOST 4096 3
cuStreamCreateWithPriority 1 5 0
cuEventCreate 1 0 0
cuModuleLoadData 46 0 0
probe_add 4099 0 0
cuMemcpyAsync 65536 4097 64
cuMemsetD8Async 65536 7 64
cuLaunchKernel 10203 32000 11259375
cuEventRecord 4098 4097 0
cuStreamWaitEvent 4097 4098 0
cuEventSynchronize 4098 0 0
cuStreamBeginCapture 4097 1 0
cuEventRecordWithFlags 4098 4097 1
cuStreamWaitEvent 4097 4098 1
cuStreamEndCapture 4097 0 0
cuGraphInstantiate 4101 0 0
cuGraphDestroy 4101 0 0
cuGraphUpload 4102 4097 0
cuGraphLaunch 4102 4097 0
cuGraphExecDestroy 4102 0 0
cuModuleUnload 4099 0 0
cuEventDestroy 4098 0 0
cuStreamDestroy 4097 0 0
cuMemHostUnregister HOST 0 0
cuMemFree 65536 0 0
cuDevicePrimaryCtxRelease 0 0 0
"""
"""Handles count from 4097: stream, event, module, function, recording, graph. Grid 1, 2, 3 is 10203; 32000 is a
block of 32 and no bytes; 11259375 is the first word of the kernel's struct."""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library."""
    folder = tmp_path_factory.mktemp("stub")
    source = Path(__file__).with_name("stub_driver.cpp")
    flags = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, str(source), "-o", str(folder / "libcuda.so.1"), "-ldl"], check=True)
    return folder


def test_every_argument_arrives_at_the_driver_as_meant(stub: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    complaint, _, log = done.stdout.partition("\n")
    assert complaint.startswith(
        "CUDA_ERROR_OUT_OF_MEMORY while taking 1125899906842624 bytes of device memory: because"
    )
    assert log.split("\n")[:-2] == ARRIVED.strip().split("\n")


HELD = """
import ctypes, threading
from cutline.runtime.cuda.cuda_python import CudaPython

driver = CudaPython(0)
stream, mark = driver.stream(), driver.event()
driver.record(mark, stream=stream)
library = ctypes.CDLL("libcuda.so.1")
library.stub_hold(1)
threading.Timer(0.1, lambda: library.stub_hold(0)).start()
driver.synchronise(mark)
"""


def test_other_threads_go_on_while_one_waits_for_an_event(stub: Path) -> None:
    """Before 12.9.1 cuda-bindings wait with the interpreter's lock: feeder, finisher and watchdog would stand still."""
    done = subprocess.run(
        [sys.executable, "-c", HELD], env={**os.environ, "LD_LIBRARY_PATH": str(stub)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


ELDER = """
from cutline.runtime.cuda.cuda_python import CudaPython
from cutline.runtime.errors import DeviceError

driver = CudaPython(0)
stream, mark = driver.stream(), driver.event(timing=True)
driver.record(mark, stream=stream)
try:
    print(driver.elapsed_ms(mark, mark))
except DeviceError as error:
    print(error, error.remedy)
driver.close()
"""


def test_bindings_that_look_for_what_an_older_driver_has_not_are_named(stub: Path) -> None:
    """cuda-bindings 13 ask for the newest form of a function, and CUDA 12.6 (JetPack 6) does not have all of them."""
    done = subprocess.run(
        [sys.executable, "-c", ELDER], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(stub), "STUB_DRIVER_VERSION": "12060"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.5") or ("cuEventElapsedTime" in done.stdout and "cuda-bindings<13" in done.stdout)
