"""`cutline run` where it takes a GPU for possible: the parent supervises, the child does the work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutline.runtime.sessions import devices
from cutline.tools import cli_run
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
