"""What the kernels' tests share: every instruction set that this processor has, and `pictures` beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutline.runtime.kernels import _kernels

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `pictures`

from emulated import Emulator, compile_emulator


@pytest.fixture(params=_kernels.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Plans made in the test run on this instruction set."""
    before = _kernels.isa()
    _kernels.set_isa(request.param)
    yield request.param
    _kernels.set_isa(before)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    """The CUDA kernels on the host."""
    return Emulator(compile_emulator(tmp_path_factory.mktemp("emulator")))
