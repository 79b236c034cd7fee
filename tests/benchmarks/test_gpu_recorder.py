"""What the device checks found is on the disk after each of them, whatever becomes of the next one."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from cutline.benchmarks.clocks import ClockWatch
from cutline.benchmarks.gpu import record
from cutline.benchmarks.gpu.recorder import Recorder
from cutline.benchmarks.machine import describe_machine
from cutline.benchmarks.nvml import MEMORY_CLOCK, SM_CLOCK
from cutline.runtime.errors import DeviceError, DeviceLostError, StorageError


def stored(path: Path) -> record.Record:
    return msgspec.json.decode(path.read_bytes(), type=record.Record)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def recorder(tmp_path: Path, told: list[str]) -> Recorder:
    blank = record.Record(
        lead="LEAD", created="", commit=None, device="", driver={}, network="",
        machine=describe_machine([], None),
    )  # fmt: skip
    return Recorder(blank, tmp_path / "gpu.json", tmp_path / "gpu.html", told.append)


@pytest.mark.parametrize(
    "error",
    [
        subprocess.TimeoutExpired(["pytest"], 120), ZeroDivisionError("division by zero"), IndexError("no looks"),
        DeviceError("refused", remedy="Wait."), AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_an_error_ends_its_own_check_and_is_told_with_type_and_place(recorder: Recorder, error: Exception) -> None:
    def fails() -> record.Check:
        raise error

    recorder.run({"bad": fails, "good": lambda: record.Check(name="good", verdict="passed")})
    bad, good = recorder.record.checks
    assert bad.verdict == "failed"
    assert re.search(rf"^{type(error).__name__} \(.*recorder.py:\d+ > test_gpu_recorder.py:\d+\): ", bad.notes[0])
    assert good.verdict == "passed"


def test_clocks_of_every_check_are_numbers_from_while_it_ran(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {SM_CLOCK: iter((1980, 1755)), MEMORY_CLOCK: iter((3201, 3201))}
    watched = threading.Semaphore(0)
    look = ClockWatch.look

    def looked(watch: ClockWatch) -> None:
        look(watch)
        watched.release()

    def busy() -> record.Check:
        assert watched.acquire(timeout=60)
        assert watched.acquire(timeout=60)
        return record.Check(name="busy", verdict="passed")

    monkeypatch.setattr(ClockWatch, "look", looked)
    monkeypatch.setattr("cutline.benchmarks.clocks.PERIOD_S", 0.01)
    recorder._gpu = SimpleNamespace(  # type: ignore[assignment]
        name="A GPU", clock_mhz=lambda kind: next(clocks[kind], None), throttle_reason=lambda: "power cap",
        other_processes=lambda: 1,
    )  # fmt: skip
    recorder.run({"busy": busy})
    (check,) = stored(tmp_path / "gpu.json").checks
    assert check.clocks.pop("throttled") == "A GPU: throttled (power cap)"
    assert {name: value for name, value in check.clocks.items() if "processor" not in name} == {
        "A GPU SM MHz, lowest": 1755, "A GPU SM MHz, highest": 1980,
        "A GPU memory MHz, lowest": 3201, "A GPU memory MHz, highest": 3201,
    }  # fmt: skip
    assert "1980" in (tmp_path / "gpu.html").read_text()


def test_the_first_cause_is_told_first(recorder: Recorder) -> None:
    def fails() -> record.Check:
        try:
            raise ValueError("first")
        finally:
            raise KeyError("second")

    recorder.run({"bad": fails})
    assert [note.partition(" ")[0] for note in recorder.record.checks[0].notes] == ["ValueError", "KeyError"]


def test_after_every_check_both_files_hold_what_was_found(recorder: Recorder, tmp_path: Path) -> None:
    def second() -> record.Check:
        seen = stored(tmp_path / "gpu.json")
        assert [c.verdict for c in seen.checks] == ["passed", "not run", "not run"]
        assert not seen.complete
        assert "THE RUN DID NOT END" in (tmp_path / "gpu.html").read_text()
        return record.Check(name="second", verdict="passed")

    def passes() -> record.Check:
        return record.Check(name="first", verdict="passed")

    recorder.run({"first": passes, "second": second, "third": passes})
    assert [c.verdict for c in recorder.record.checks] == ["passed"] * 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gpu.html", "gpu.json"]


def test_a_lost_device_is_the_reason_for_the_rest(recorder: Recorder) -> None:
    def loses() -> record.Check:
        try:
            raise DeviceLostError("CUDA_ERROR_LAUNCH_FAILED", remedy="Report this.")
        finally:
            raise ValueError("on the way out")

    recorder.run({"bad": loses, "next": lambda: pytest.fail("it ran")})
    bad, rest = recorder.record.checks
    assert (bad.verdict, rest.verdict) == ("failed", "not run")
    assert rest.notes[0].startswith("the device was lost (bad): CUDA_ERROR_LAUNCH_FAILED")


def test_a_report_that_cannot_be_written_for_a_while_ends_nothing(
    recorder: Recorder, tmp_path: Path, told: list[str]
) -> None:
    blocked = tmp_path / ".gpu.json.part"
    blocked.mkdir()
    recorder.run({"one": lambda: record.Check(name="one", verdict="passed")})
    assert any("gpu.json" in text for text in told)
    with pytest.raises(StorageError):
        recorder.save()
    blocked.rmdir()
    recorder.save()
    assert stored(tmp_path / "gpu.json").checks[0].verdict == "passed"


def test_json_and_page_carry_every_check() -> None:
    checks = (
        record.Check(name="one <thing>", verdict="missed", goal="fast", figures={"ms": 1.5}, notes=("slow",)),
        record.Check(name="other", verdict="passed"),
    )
    made = record.Record(
        lead="NO NETWORK RAN.", created="2026-11-21T12:00:00Z", commit=None, device="cuda:0", driver={"CUDA": "13.0"},
        network="stand-in", machine=describe_machine([], None), seconds=3.0, checks=checks,
    )  # fmt: skip
    text, shown = record.encode(made).decode(), record.html(made).decode()
    assert '"schema": "cutline.gpu/1"' in text
    assert text.index("NO NETWORK RAN") < text.index("one <thing>")
    assert "one &lt;thing&gt;" in shown
    assert shown.index("NO NETWORK RAN") < shown.index("<h1>")
