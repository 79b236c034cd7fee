"""`cutline run` where it takes a GPU for possible: the parent supervises, the child does the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from cutline.runtime.errors import DeviceError
from cutline.runtime.sessions import devices
from cutline.runtime.supervisor import OPENING, RESTART, WORKING, Child
from cutline.tools import cli_run, compute
from cutline.tools.cli_run import RunRequest

# a parent that believes in a GPU; its child finds none and takes the CPU
PARENT = """
import sys
from cutline.runtime.sessions import devices
devices.driver_is_there = lambda: True
devices.why_not_gpu = lambda bundle, options: None
from cutline.tools.cli import main
main()
"""


def request(device: str, **stream: object) -> RunRequest:
    return RunRequest(
        input="synthetic://kiosk?seed=1&size=320x180", site=None, model="", style=None, stream=stream, device=device,
        precision="auto", optimise="auto", allow_unsigned=False, json=False,
    )  # fmt: skip


@pytest.mark.skipif(devices.driver_is_there(), reason="the child would find the driver")
def test_the_childs_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_is_there", lambda: True)
    assert cli_run.run_streams(request("cuda", frames=2)) == 69


def test_without_a_driver_or_without_an_engine_nothing_is_supervised(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[RunRequest] = []
    monkeypatch.setattr(cli_run, "run_here", lambda given: started.append(given) or 0)
    monkeypatch.setattr(devices, "driver_is_there", lambda: False)
    assert cli_run.run_streams(request("cuda")) == 0
    monkeypatch.setattr(devices, "driver_is_there", lambda: True)
    assert cli_run.run_streams(request("auto")) == 0
    assert cli_run.run_streams(request("cpu")) == 0
    assert len(started) == 3
    monkeypatch.setattr(compute, "start_compute", lambda given: pytest.fail("supervised"))
    with pytest.raises(pytest.fail.Exception, match="supervised"):  # the processor's network, and the GPU's encoder
        cli_run.run_streams(request("cpu", output="a.mp4", encoder="nvenc"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_to_the_parent_ends_the_child_in_order(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "out.jsonl"
    words = ["run", "synthetic://kiosk?seed=1&size=320x180", str(output), "--loop", "--pace", "30", "--device", "auto"]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *words], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.part*")):
        assert time.monotonic() < deadline, "nothing was written"
        assert parent.poll() is None
        time.sleep(0.05)
    time.sleep(1)  # frames flow
    parent.send_signal(number)
    _, told = parent.communicate(timeout=60)
    assert parent.returncode == 0, told.decode()
    assert output.exists()


@pytest.mark.parametrize(
    ("output", "kind", "again"),
    [("-", "y4m", False), ("-", "raw", False), ("-", "events", True), ("null://", "y4m", True)],
)
def test_a_video_that_goes_to_standard_output_is_not_begun_anew(
    monkeypatch: pytest.MonkeyPatch, output: str, kind: str, again: bool
) -> None:
    """Whoever reads it has half a picture, and would take a second header for the rest of it."""
    monkeypatch.setattr(devices, "driver_is_there", lambda: True)
    started: list[RunRequest] = []

    def start(given: RunRequest) -> Child:
        started.append(given)
        code = RESTART if len(started) == 1 else 0
        pulse, beats = os.pipe()
        process = subprocess.Popen([sys.executable, "-S", "-c", f"import os; os._exit({code})"])
        os.close(beats)
        return Child(process, pulse, os.open(os.devnull, os.O_WRONLY))

    monkeypatch.setattr(compute, "start_compute", start)
    asked = request("cuda", output=output, stdout=kind)
    if again:
        assert cli_run.run_streams(asked) == 0
    else:
        with pytest.raises(DeviceError, match="the device was lost, and part of a video has gone to standard output"):
            cli_run.run_streams(asked)
    assert len(started) == 1 + again


@pytest.mark.skipif(devices.driver_is_there(), reason="the child would take the GPU")
def test_the_child_says_whether_it_loads_or_works() -> None:
    """It may be silent for longer while it loads."""
    child = compute.start_compute(request("auto", loop=True, pace=30.0))
    beats = b""
    while WORKING not in beats:
        beats += os.read(child.pulse, 1) or pytest.fail("it ended")
    os.close(child.lifeline)
    assert child.process.wait(60) == 0
    os.close(child.pulse)
    assert set(beats) <= {*OPENING, *WORKING}


def test_ctrl_c_while_the_child_imports_is_one_line() -> None:
    """The terminal's signal goes through the parent to a child that has no handler yet."""
    program = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'cutline.runtime.pipeline': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['compute', '0', '1']\n"
        "from cutline.tools.compute import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"cutline: interrupted\n")


def test_a_child_that_cannot_end_in_order_ends_all_the_same_when_its_parent_is_gone() -> None:
    """It hangs in a library: the camera and the GPU are not its own for ever."""
    program = (
        "import signal, sys, time\n"
        "from cutline.tools import compute\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "compute.FINISH_S, compute._run = 0.1, lambda request: time.sleep(100)\n"
        "sys.argv = ['compute', '0', '1']\n"
        "compute.main()\n"
    )
    asked = msgspec.json.encode(request("cuda")) + b"\n"  # and then the end of the pipe
    done = subprocess.run([sys.executable, "-c", program], input=asked, capture_output=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGTERM
