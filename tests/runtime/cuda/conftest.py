"""Drivers to test: the fake one always, the real ones where a GPU and their library are."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutline.benchmarks.probe import ADD, SPIN
from cutline.runtime.cuda.driver import Driver, Grid
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.errors import DeviceError

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `small_device`


def add_on_host(grid: Grid, block: Grid, params: bytes) -> None:  # noqa: ARG001
    """What probe_add does."""
    address, count, value = struct.unpack("=QII", params)
    words = np.ctypeslib.as_array((ctypes.c_uint32 * count).from_address(address))
    words += np.uint32(value)


def spin_on_host(grid: Grid, block: Grid, params: bytes) -> None:
    """What probe_spin does."""


PROBES = {ADD: add_on_host, SPIN: spin_on_host}


def _cuda_python() -> Driver:
    from cutline.runtime.cuda.cuda_python import CudaPython

    return CudaPython(int(os.environ.get("CUTLINE_TEST_GPU", "0")))


def _pycuda() -> Driver:
    pytest.importorskip("pycuda", reason="PyCUDA is not installed")
    import pycuda.autoprimaryctx  # noqa: F401 - makes a context current

    from cutline.runtime.cuda.pycuda import PyCuda

    return PyCuda()


DRIVERS: dict[str, Callable[[], Any]] = {
    "fake": lambda: FakeDriver(kernels=PROBES),
    "cuda-python": _cuda_python,
    "pycuda": _pycuda,
}


@pytest.fixture(
    params=["fake", *(pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda-python", "pycuda"))],
)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Every driver in turn."""
    try:
        opened = DRIVERS[request.param]()
    except DeviceError as error:
        pytest.skip(str(error))
    with opened:
        yield opened
