"""The device checks: on the fake driver with emulated kernels, where they must pass, and must fail when harmed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutline.benchmarks.gpu import __main__ as program
from cutline.benchmarks.gpu import correct, record, soak, speed
from cutline.benchmarks.gpu.bed import Bed, SpinNetwork
from cutline.benchmarks.machine import describe_machine
from cutline.benchmarks.probe import SPIN
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.cuda.driver import Grid
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import FakeDriver, HostKernel
from cutline.runtime.frame import FrameFormat
from cutline.runtime.sessions.devices import driver_is_there

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime" / "kernels"))

from emulated import Emulator, compile_emulator

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=32, height=18),
    outputs=(Output(tensor="alpha", meaning="alpha", width=32, height=18),),
)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostKernel]:
    emulator = Emulator(compile_emulator(tmp_path_factory.mktemp("emulator")))
    three = ctypes.c_uint * 3

    def kernel(name: str) -> HostKernel:
        def body(grid: Grid, block: Grid, params: bytes) -> None:
            size = ctypes.c_size_t(len(params))
            fault = emulator._library.launch(name.encode(), three(*grid), three(*block), params, size, 0)
            assert fault is None, fault.decode()

        return body

    return {**{name: kernel(name) for name in emulator.kernels}, SPIN: lambda *given: None}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small = FrameFormat(width=96, height=54)
    monkeypatch.setattr(speed, "SIZES", {"1080p": small})
    monkeypatch.setattr(soak, "SIZES", {"1080p": small})
    for name, value in {
        "COPY_BYTES": 1 << 16,
        "ROUND_BYTES": 1 << 16,
        "TURNS": 2,
        "MOST_TURNS": 4,
        "CAMERAS": 2,
    }.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr("cutline.benchmarks.gpu.bed.DEPTH", 4)
    monkeypatch.setattr(correct, "SHAPES", ((97, 55, 32, 18),))
    monkeypatch.setattr(correct, "check_conformance", lambda: record.Check(name="suite", verdict="not run"))


@pytest.fixture
def bed(kernels: dict[str, HostKernel]) -> Iterator[Bed]:
    driver = FakeDriver(kernels=dict(kernels))
    network = SpinNetwork(driver, CONTRACT, cost_ms=1.0)
    engine = CudaEngine(driver, network, b"cubin", CONTRACT, name="x", precision="fp32", library="stand-in")
    made = Bed(driver, engine, network, b"cubin")
    yield made
    made.close()
    engine.close()


def test_every_check_runs_and_nothing_is_wrong_with_the_emulated_kernels(bed: Bed) -> None:
    found = {check.name: check for check in program.checks(bed, 0.2, 0.1, lambda name: None)}
    assert len(found) == 10
    assert {name: c.notes for name, c in found.items() if c.verdict == "failed"} == {}
    assert found["kernels against float64 twins"].verdict == "passed"
    assert found["graphs against plain launches"].verdict == "passed"
    assert found["one stream flat out at 1080p"].figures["fps"] > 0  # type: ignore[operator]
    assert found["post at 1080p"].figures["share of copy"] > 0  # type: ignore[operator]


def test_a_kernel_that_is_wrong_is_found_by_its_twin(bed: Bed, kernels: dict[str, HostKernel]) -> None:
    def late(grid: Grid, block: Grid, params: bytes) -> None:
        """Leaves the last row of blocks out, as a wrong grid would."""
        kernels["cutline_pre"]((grid[0], max(1, grid[1] - 1), grid[2]), block, params)

    driver: Any = bed.driver
    driver._kernels["cutline_pre"] = late
    check = correct.check_twins(bed)
    assert check.verdict == "failed"
    assert "allowed is" in check.notes[0]


def test_a_stand_in_is_told_in_the_first_line(kernels: dict[str, HostKernel], monkeypatch: pytest.MonkeyPatch) -> None:
    from cutline.runtime.bundle import open_bundle

    monkeypatch.setattr(program, "MODULES", {"tensorrt": "no_such_tensorrt"})
    driver = FakeDriver(kernels=dict(kernels))
    with open_bundle("cutout") as bundle:
        network, name, lead = program.open_network(driver, bundle)
    assert name == "stand-in of 2 ms"
    assert lead.startswith(
        "NO NETWORK RAN: a stand-in of known cost (2 ms) took its place: no_such_tensorrt is not ins"
    )
    network.close()


def test_json_and_page_carry_every_check() -> None:
    checks = (
        record.Check(name="one <thing>", verdict="missed", goal="fast", figures={"ms": 1.5}, notes=("slow",)),
        record.Check(name="other", verdict="passed"),
    )
    made = record.Record(
        lead="NO NETWORK RAN.", created="2026-11-21T12:00:00Z", commit=None, device="cuda:0", driver={"CUDA": "13.0"},
        network="stand-in", machine=describe_machine([], None), clocks={}, seconds=3.0, checks=checks,
    )  # fmt: skip
    text, shown = record.encode(made).decode(), record.html(made)
    assert '"schema": "cutline.gpu/1"' in text
    assert text.index("NO NETWORK RAN") < text.index("one <thing>")
    assert "one &lt;thing&gt;" in shown
    assert shown.index("NO NETWORK RAN") < shown.index("<h1>")


@pytest.mark.skipif(driver_is_there(), reason="there may be a GPU")
def test_a_machine_without_a_gpu_is_told_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, cwd=Path(__file__).parents[2],
        check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "benchmarks.gpu: there is no NVIDIA driver (libcuda.so.1). Install it, or use --device cpu."
    ]
