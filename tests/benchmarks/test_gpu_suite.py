"""The driver's conformance suite as one of the device checks, and the device checks where there is no device."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cutline.benchmarks.gpu import correct, record
from cutline.runtime.sessions.devices import driver_is_there


@pytest.mark.parametrize(
    ("last", "verdict"), [("19 passed, 38 deselected", "passed"), ("18 passed, 1 skipped", "failed"), ("", "failed")]
)
def test_a_suite_has_passed_when_every_test_did(last: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, f"...\n{last} in 3.00s\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    assert correct.check_conformance(0).verdict == verdict


def test_a_suite_that_fails_names_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "..F\nFAILED test_conformance.py::test_fill - AssertionError\n1 failed, 2 passed in 3.00s\n"
    ran: list[Any] = []

    def run(command: list[str], **more: Any) -> Any:
        ran.append(more["env"])
        return subprocess.CompletedProcess(command, 1, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    check = correct.check_conformance(3)
    assert ran[0]["CUTLINE_TEST_GPU"] == "3"
    assert ran[0]["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"
    assert check.verdict == "failed"
    assert check.figures == {"failed": 1, "passed": 2}
    assert check.notes == (
        "FAILED test_conformance.py::test_fill - AssertionError",
        "1 failed, 2 passed in 3.00s",
    )


WITHOUT_A_GPU = (
    "there is no NVIDIA driver (libcuda.so.1). Install it, or use --device cpu."
    if importlib.util.find_spec("cuda")
    else "cuda-bindings is not installed. Install it with `pip install 'cutline[cuda]'`."
)


@pytest.mark.skipif(driver_is_there(), reason="there may be a GPU")
def test_a_suite_that_skips_has_not_passed_and_says_why() -> None:
    check = correct.check_conformance(0)
    assert check.verdict == "failed"
    assert set(check.figures) <= {"skipped", "deselected"}
    assert check.figures["skipped"] > 10  # type: ignore[operator]
    assert WITHOUT_A_GPU in check.notes[0]


def test_the_suite_is_found_through_a_link() -> None:
    place = Path(__file__).parents[2] / "tools/typing/cutline/benchmarks/gpu/correct.py"
    spec = importlib.util.spec_from_file_location("linked", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.SUITE.is_file()


def test_without_pytest_there_is_no_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(record.NotRun, match="pytest"):
        correct.check_conformance(0)


@pytest.mark.skipif(driver_is_there(), reason="there may be a GPU")
def test_a_machine_without_a_gpu_is_told_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, cwd=Path(__file__).parents[2],
        check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"benchmarks.gpu: {WITHOUT_A_GPU}"]
