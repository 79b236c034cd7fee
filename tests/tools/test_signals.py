from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_clip: Callable[..., Path]) -> Path:
    path = tmp_path_factory.mktemp("clips") / "in.mp4"
    return write_clip(path, (np.full((180, 320, 3), index * 5, np.uint8) for index in range(50)))


def start(clip: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start an endless run and wait until it has written something."""
    words = ["run", str(clip), str(output), "--loop", *more]
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    part = output.with_name(f"{output.stem}.part{output.suffix}")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 4000):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.05)
    return process


def frames_of(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_run_in_order(clip: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = start(clip, tmp_path / "out.mp4", "--json")
    process.send_signal(number)
    report, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints.decode()
    frames_out = int(report.split(b'"frames_out": ')[1].split(b",")[0])
    assert frames_of(tmp_path / "out.mp4") == frames_out > 0
    assert b'"in_flight": 0' in report


def test_a_killed_run_leaves_a_file_that_plays_and_no_process(clip: Path, tmp_path: Path) -> None:
    process = start(clip, tmp_path / "out.mp4", "--pace", "25")
    time.sleep(2.5)
    children = children_of(process.pid)
    process.kill()
    process.communicate(timeout=60)
    assert frames_of(tmp_path / "out.part.mp4") > 0
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "the decoder outlived its parent"
        time.sleep(0.05)
    assert children


def test_a_killed_decoder_of_a_file_ends_the_run_with_its_frames_kept(clip: Path, tmp_path: Path) -> None:
    process = start(clip, tmp_path / "out.mp4")
    (decoder,) = children_of(process.pid)
    os.kill(decoder, signal.SIGKILL)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode not in (0, 70), complaints.decode()
    assert b"Traceback" not in complaints
    assert frames_of(tmp_path / "out.mp4") > 0


def test_a_signal_while_streams_are_opened_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    os.mkfifo(tmp_path / "late.mp4")  # opening it waits until somebody writes into it
    site.write_text(
        f'[good]\ninput = "{clip}"\noutput = "{tmp_path}/good.mp4"\n[late]\ninput = "{tmp_path}/late.mp4"\n'
    )
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", "run", "--streams", str(site)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "good.part.mp4").exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "the first stream was not opened"
        time.sleep(0.05)
    time.sleep(0.5)
    process.terminate()  # what is being opened is not waited for
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, complaints.decode()
    assert b"Traceback" not in complaints
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.mp4", "site.toml"]


def test_a_stream_that_fails_among_others_is_told_at_once(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    site = tmp_path / "site.toml"
    site.write_text(
        f'[good]\ninput = "{clip}"\nloop = true\n[bad]\ninput = "{clip}"\noutput = "{tmp_path}/full.jsonl"\n'
    )
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", "run", "--streams", str(site)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    watchdog = threading.Timer(110, process.kill)
    watchdog.start()
    lines = iter(process.stderr.readline, b"")
    told = next((line for line in lines if b"writing the output failed" in line), b"")
    watchdog.cancel()
    assert told.startswith(b"cutline: bad: ")
    assert process.poll() is None  # the other goes on
    process.terminate()
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 74
    assert b"writing the output failed" not in complaints  # it is said once


def test_an_interrupt_while_the_command_line_is_imported_is_one_line_too() -> None:
    program = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cutline.tools.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from cutline.tools.entry import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "cutline: interrupted\n")
