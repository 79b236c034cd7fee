"""The device checks: on the fake driver with emulated kernels, where they must pass, and must fail when harmed."""

from __future__ import annotations

import ctypes
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cutline.benchmarks.gpu import __main__ as program
from cutline.benchmarks.gpu import bandwidth, correct, record, soak, speed, steps, timing
from cutline.benchmarks.gpu.bed import Bed, Frames, SpinNetwork
from cutline.benchmarks.probe import SPIN
from cutline.engine.tensorrt_builder import Plan
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.cuda.driver import Grid
from cutline.runtime.cuda.fake import FakeDriver, HostKernel
from cutline.runtime.errors import BadInputError, DeviceError
from cutline.runtime.frame import FrameFormat

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
    for module in (bandwidth, soak, speed):
        monkeypatch.setattr(module, "SIZES", {"1080p": small})
    for module, name, value in (
        (bandwidth, "LARGE_BYTES", 1 << 16),
        (bandwidth, "ROUND_BYTES", 1 << 16),
        (timing, "WARM_S", 0.0),
        (timing, "MOST_TURNS", 2),
        (speed, "CAMERAS", 2),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(steps, "multiprocessors", lambda ordinal: 2)
    monkeypatch.setattr("cutline.benchmarks.gpu.bed.DEPTH", 4)
    monkeypatch.setattr(correct, "GRAPHED", small)
    monkeypatch.setattr(correct, "SHAPES", ((97, 55, 32, 18),))
    monkeypatch.setattr(correct, "check_conformance", lambda ordinal: record.Check(name="suite", verdict="passed"))
    monkeypatch.setattr(steps.video, "check_video", lambda ordinal: record.Check(name="video", verdict="measured"))
    monkeypatch.setattr(steps.files, "check_files", lambda encoder: record.Check(name=encoder, verdict="measured"))
    whole = steps.runs.check_runs
    monkeypatch.setattr(steps.runs, "check_runs", lambda bed: whole(bed, form=small, frames=4))
    monkeypatch.setattr(steps, "kernels_for", lambda device, bundle: b"cubin")
    monkeypatch.setattr(steps, "MODULES", dict.fromkeys(steps.KINDS, "no_such_tensorrt"))


@pytest.fixture
def small_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle that is measured has a network of a few pixels."""

    class Small:
        manifest = SimpleNamespace(contract=CONTRACT, name="small", version=1)

        def read(self, name: str) -> bytes:
            return name.encode()

        def __enter__(self) -> Small:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(program, "open_bundle", lambda name: Small())


@pytest.fixture
def bed(kernels: dict[str, HostKernel]) -> Iterator[Bed]:
    driver = FakeDriver(kernels=dict(kernels))
    made = Bed(driver, b"cubin", CONTRACT)
    made.take(SpinNetwork(driver, CONTRACT, cost_ms=1.0, multiprocessors=2), "stand-in")
    yield made
    made.close()


Given = Callable[[], FakeDriver]


def all_of(open_driver: Given, folder: Path, *, soak_s: float = 0.0) -> record.Record:
    return program.run(
        open_driver, folder / "gpu.json", folder / "gpu.html", soak_s=soak_s, seconds=0.1, tell=lambda text: None
    )


def idle() -> FakeDriver:
    """A device whose kernels do nothing: fast, and wrong."""
    return FakeDriver()


def by_name(made: record.Record) -> dict[str, record.Check]:
    return {check.name: check for check in made.checks}


def stored(path: Path) -> record.Record:
    return msgspec.json.decode(path.read_bytes(), type=record.Record)


@pytest.mark.usefixtures("small_bundle")
def test_every_check_runs_and_nothing_is_wrong_with_the_emulated_kernels(
    kernels: dict[str, HostKernel], tmp_path: Path
) -> None:
    made = all_of(lambda: FakeDriver(kernels=dict(kernels)), tmp_path, soak_s=0.2)
    found = by_name(made)
    assert {name: c.notes for name, c in found.items() if c.verdict == "failed"} == {}
    assert {name for name, c in found.items() if c.verdict == "not run"} == {
        f"{kind}: {part}" for kind in ("tensorrt", "tensorrt-rtx") for part in ("engine", "network")
    }
    assert found["kernels against float64 twins"].verdict == "passed"
    assert found["graphs against plain launches"].verdict == "passed"
    assert found["closing"].verdict == "passed"
    assert found["one stream flat out at 1080p"].figures["fps"] > 0  # type: ignore[operator]
    assert found["nvenc:0"].verdict == "measured"
    assert found["cutline run, file to file"].figures["cpu, x264: lowest PSNR dB"] == "inf"
    assert len(found) == 22
    assert made.complete
    assert stored(tmp_path / "gpu.json") == made
    assert "DID NOT END" not in (tmp_path / "gpu.html").read_text()


def test_a_kernel_that_is_wrong_is_found_by_its_twin(bed: Bed, kernels: dict[str, HostKernel]) -> None:
    def late(grid: Grid, block: Grid, params: bytes) -> None:
        """Leaves the last row of blocks out, as a wrong grid would."""
        kernels["cutline_pre"]((grid[0], max(1, grid[1] - 1), grid[2]), block, params)

    driver: Any = bed.driver
    driver._kernels["cutline_pre"] = late
    check = correct.check_twins(bed)
    assert check.verdict == "failed"
    assert "allowed is" in check.notes[0]


@pytest.mark.usefixtures("small_bundle")
def test_a_stand_in_is_told_in_the_first_line(tmp_path: Path) -> None:
    made = all_of(idle, tmp_path)
    measured = by_name(made)["stand-in network"].figures["ms"]
    assert made.network == f"stand-in of {measured:.3g} ms"
    assert made.lead == (
        f"NO NETWORK RAN: a {made.network}, as measured, took its place: "
        "no_such_tensorrt is not installed; no_such_tensorrt is not installed."
    )


@pytest.mark.usefixtures("small_bundle")
def test_engines_that_take_too_long_give_way_to_the_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[object] = []

    def endless(*given: object) -> Any:
        began.append(given)
        threading.Event().wait(60)

    handler = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(steps, "PLANS_S", 0.05)
    monkeypatch.setattr(steps, "MODULES", {"tensorrt": "json", "tensorrt-rtx": "json"})
    monkeypatch.setattr(steps, "build_plan", endless)
    made = all_of(idle, tmp_path)
    found = by_name(made)
    assert found["tensorrt: engine"].verdict == found["tensorrt-rtx: engine"].verdict == "not run"
    assert "json built no engine within the 0.05 s" in made.lead
    assert len(began) == 1  # the time is for both
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.usefixtures("small_bundle")
def test_an_engine_of_another_gpu_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = dataclasses.replace(FakeDriver().device, ordinal=1)
    built: list[Any] = []
    plan = Plan(data=b"plan", device="sm89", facts={"library": "json 1", "level": None})
    monkeypatch.setattr(steps, "MODULES", dict.fromkeys(steps.KINDS, "json"))
    monkeypatch.setattr(steps, "build_plan", lambda model, target, *rest: built.append(target.kind) or plan)
    made = all_of(lambda: FakeDriver(device=device), tmp_path)
    assert "CUDA_VISIBLE_DEVICES" in by_name(made)["tensorrt: engine"].notes[0]
    assert built == ["tensorrt-rtx"]


def crashed(*_: Any) -> Any:
    raise BadInputError("the child crashed", remedy="Look at the model.")


def mistaken(*_: Any) -> Any:
    raise TypeError("incompatible function arguments")


@pytest.mark.usefixtures("small_bundle")
@pytest.mark.parametrize(
    ("place", "fault", "check", "words"),
    [
        ("build_plan", crashed, "tensorrt: engine", "the child crashed"),
        ("load_library", crashed, "tensorrt: network", "the child crashed"),
        ("load_library", mistaken, "tensorrt: network", "incompatible function arguments"),
    ],
)
def test_the_stand_in_takes_over_whatever_becomes_of_tensorrt(
    place: str, fault: Any, check: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(data=b"plan", device="sm89", facts={"library": "json 1", "level": None})
    monkeypatch.setattr(steps, "MODULES", {"tensorrt": "json", "tensorrt-rtx": "no_such"})
    monkeypatch.setattr(steps, "build_plan", lambda *given: plan)
    monkeypatch.setattr(steps, place, fault)
    made = all_of(idle, tmp_path)
    found = by_name(made)
    assert found[check].verdict == "failed"
    assert words in found[check].notes[0]
    assert words in made.lead
    assert made.network.startswith("stand-in of ")
    assert "fps" in found["one stream flat out at 1080p"].figures


@pytest.mark.usefixtures("small_bundle")
def test_no_context_is_open_while_other_processes_use_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FakeDriver] = []
    closed: list[FakeDriver] = []
    seen: list[int] = []

    def open_driver() -> FakeDriver:
        opened.append(FakeDriver())
        return opened[-1]

    def look(*_: Any) -> Any:
        seen.append(len(opened) - len(closed))
        raise record.NotRun("looked")

    monkeypatch.setattr(FakeDriver, "close", lambda self: self in closed or closed.append(self))
    monkeypatch.setattr(steps, "MODULES", dict.fromkeys(steps.KINDS, "json"))
    monkeypatch.setattr(correct, "check_conformance", look)
    monkeypatch.setattr(steps, "build_plan", look)
    all_of(open_driver, tmp_path)
    assert seen == [0, 0, 0]
    assert len(opened) == len(closed) == 2


@pytest.mark.usefixtures("small_bundle")
def test_after_a_lost_device_the_rest_is_not_run(tmp_path: Path) -> None:
    drivers = iter([FakeDriver(), FakeDriver(faults={("work", 40): "CUDA_ERROR_ILLEGAL_ADDRESS"})])
    made = all_of(lambda: next(drivers), tmp_path)
    verdicts = [check.verdict for check in made.checks]
    names = [check.name for check in made.checks]
    lost = next(i for i, check in enumerate(made.checks) if any("ILLEGAL_ADDRESS" in note for note in check.notes))
    assert verdicts[lost] == "failed"
    assert names[lost] == "kernels against float64 twins"
    assert set(verdicts[lost + 1 : -1]) == {"not run"}
    assert all("the device was lost (kernels against" in check.notes[0] for check in made.checks[lost + 1 : -1])
    assert (names[-1], verdicts[-1]) == ("closing", "passed")
    assert made.complete


@pytest.mark.usefixtures("small_bundle")
def test_an_error_in_closing_is_noted_and_loses_nothing(tmp_path: Path) -> None:
    drivers = iter([FakeDriver(), FakeDriver()])
    harmed: list[FakeDriver] = []

    def open_driver() -> FakeDriver:
        harmed.append(next(drivers))
        return harmed[-1]

    close = FakeDriver.close

    def refuse(driver: FakeDriver) -> None:
        close(driver)
        if driver is harmed[-1] and len(harmed) == 2:
            raise DeviceError("CUDA_ERROR_NOT_PERMITTED while closing the device", remedy="Report this.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeDriver, "close", refuse)
        made = all_of(open_driver, tmp_path)
    assert made.checks[-1].name == "closing"
    assert made.checks[-1].verdict == "failed"
    assert "NOT_PERMITTED" in made.checks[-1].notes[0]
    assert stored(tmp_path / "gpu.json") == made
    assert "fps" in by_name(made)["one stream flat out at 1080p"].figures


@pytest.mark.usefixtures("small_bundle")
def test_an_interrupt_leaves_what_was_found_and_lets_go_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    drivers: list[FakeDriver] = []

    def open_driver() -> FakeDriver:
        drivers.append(FakeDriver())
        return drivers[-1]

    monkeypatch.setattr(speed, "check_streams", interrupted)
    with pytest.raises(KeyboardInterrupt):
        all_of(open_driver, tmp_path)
    left = stored(tmp_path / "gpu.json")
    found = by_name(left)
    assert not left.complete
    assert "copy bandwidth" in found
    assert found["one stream flat out at 1080p"].notes == ("the run ended before it",)
    assert found["closing"].verdict == "passed"
    assert "THE RUN DID NOT END" in (tmp_path / "gpu.html").read_text()
    assert not drivers[-1].live


def test_an_interrupt_before_anything_was_found_leaves_the_earlier_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    (tmp_path / "gpu.json").write_text("yesterday's")
    monkeypatch.setattr(correct, "check_conformance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        all_of(idle, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["gpu.json"]
    assert (tmp_path / "gpu.json").read_text() == "yesterday's"


@pytest.mark.usefixtures("small_bundle")
def test_without_a_device_that_opens_the_rest_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise DeviceError("no compiler", remedy="Install one.")

    monkeypatch.setattr(steps, "kernels_for", refuse)
    found = by_name(all_of(idle, tmp_path))
    assert found["suite"].verdict == "passed"
    assert found["device opened"].verdict == "failed"
    assert found["soak"].notes == ("the device could not be opened",)


def test_cameras_that_fail_to_start_leave_nothing_on_the_device(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    driver: Any = bed.driver
    before, made = driver.live, []

    def second_fails(*given: Any, **more: Any) -> Frames:
        if made:
            raise DeviceError("out of memory", remedy="Lower it.")
        made.append(Frames(*given, **more))
        return made[0]

    monkeypatch.setattr(speed, "Frames", second_fails)
    with pytest.raises(DeviceError):
        speed.check_cameras(bed, 0.1)
    assert driver.live == before


def test_an_error_of_one_camera_is_the_check_s(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_paced", mistaken)
    with pytest.raises(TypeError, match="incompatible"):
        speed.check_cameras(bed, 0.1)


def test_graphs_that_could_not_be_captured_were_not_compared(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    driver: Any = bed.driver

    def refuse(_: Any) -> Any:
        raise DeviceError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", remedy="Report this.")

    monkeypatch.setattr(driver, "begin_capture", refuse)
    check = correct.check_graphs(bed)
    assert check.verdict == "not run"
    assert "CAPTURE_UNSUPPORTED" in check.notes[0]


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("place", ["missing/report", "."])
def test_a_report_that_cannot_be_created_is_told_before_any_work(
    option: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cutline.runtime.cuda.cuda_python.CudaPython", lambda ordinal: pytest.fail("it began"))
    assert program.main([option, place]) == 73
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["--soak -1", "--soak nan", "--seconds 0", "--seconds inf", "--device x", "--so me"])
def test_what_makes_no_sense_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words.split()) == 64
    assert len(capsys.readouterr().err.splitlines()) == 1
