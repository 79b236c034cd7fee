"""Device memory of one process, opened by another: the real driver through cuda-bindings, onto a stub or a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")

OWNER = """
import ctypes, mmap, subprocess, sys
import numpy as np
from cutline.runtime.cuda.cuda_python import CudaPython

with CudaPython(0) as driver:
    pages = np.frombuffer(mmap.mmap(-1, 4 << 20), np.uint8)
    memory, pinned = driver.alloc(4 << 20), driver.pin(pages.ctypes.data, 4 << 20)
    stream, mark = driver.stream(), driver.event()
    name = driver.share(memory)
    assert len(name) == 64
    subprocess.run([sys.executable, "-c", sys.argv[1], name.hex(), str(memory.nbytes)], check=True)
    driver.copy(pinned.device_address, memory.address, memory.nbytes, stream=stream)
    driver.record(mark, stream=stream)
    driver.synchronise(mark)
    print(sorted(set(pages[: 3 << 20].tolist())), sorted(set(pages[3 << 20 :].tolist())))
"""

OTHER = """
import sys
from cutline.runtime.cuda.cuda_python import CudaPython

with CudaPython(0) as driver:
    shared = driver.open_shared(bytes.fromhex(sys.argv[1]), int(sys.argv[2]))
    stream, mark = driver.stream(), driver.event()
    driver.fill(shared.address, 5, 3 << 20, stream=stream)
    driver.fill(shared.address + (3 << 20), 9, 1 << 20, stream=stream)
    driver.record(mark, stream=stream)
    driver.synchronise(mark)
    driver.release(shared)
"""


def run(**more: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", OWNER, OTHER]
    return subprocess.run(
        program, env={**os.environ, **more}, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def test_what_another_process_writes_is_there(stub_gpu: Any) -> None:
    done = run()
    assert (done.stdout, done.stderr) == ("[5] [9]\n", "")
    assert f"opened {4 << 20}\nclosed 0" in stub_gpu.log.read_text()


@pytest.mark.gpu
def test_what_another_process_writes_is_there_on_a_gpu() -> None:
    done = run()
    if "DeviceError" in done.stderr and "no NVIDIA driver" in done.stderr:
        pytest.skip("there is no NVIDIA driver")
    assert (done.stdout, done.stderr) == ("[5] [9]\n", "")


@pytest.mark.usefixtures("stub_gpu")
def test_a_gpu_that_shares_nothing_says_so() -> None:
    done = run(STUB_SHARES_NOTHING="1")
    assert "CUDA_ERROR_NOT_SUPPORTED while sharing device memory" in done.stderr
