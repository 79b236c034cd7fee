"""A site runs with the cameras that are there, and with the others once they come."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest

from ..runtime.sources.feeds import Feed  # noqa: TID252 - the tests' folders are no installed package


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of MPEG-TS."""
    path = tmp_path_factory.mktemp("clips") / "in.ts"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 5 * number, np.uint8), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Start `cutline run --streams`, and end what is left of it."""
    begun: list[subprocess.Popen[str]] = []

    def run(site: Path) -> subprocess.Popen[str]:
        words = ["run", "--streams", str(site), "--json"]
        command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", *words]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


Start = Callable[[Path], subprocess.Popen[str]]


def await_line(stream: IO[str] | None, words: str) -> str:
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"it ended and never said {words!r}")


def await_lines_in(path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and len(path.read_text().splitlines()) >= count):
        assert time.monotonic() < deadline, f"{path.name} holds too little"
        time.sleep(0.05)


def reports(process: subprocess.Popen[str]) -> dict[str, dict[str, object]]:
    process.send_signal(signal.SIGTERM)
    document, _ = process.communicate(timeout=60)
    return {stream["name"]: stream for stream in json.loads(document)["streams"]}


def write_site(folder: Path, **inputs: str) -> Path:
    tables = (f'[{name}]\ninput = "{uri}"\noutput = "{folder}/{name}.jsonl"\n' for name, uri in inputs.items())
    (folder / "site.toml").write_text("".join(tables))
    return folder / "site.toml"


def test_a_camera_that_is_missing_at_the_start_joins_the_others_when_it_comes(
    clip: Path, tmp_path: Path, free_port: int, start: Start
) -> None:
    with Feed(clip) as there:
        process = start(write_site(tmp_path, late=f"tcp://127.0.0.1:{free_port}", there=there.uri))
        assert "late: " in await_line(process.stderr, "it is tried again until it is there")
        await_lines_in(tmp_path / "there.jsonl", 5)  # the other one runs meanwhile
        with Feed(clip, port=free_port):
            assert "late: " in await_line(process.stderr, "there after")
            await_lines_in(tmp_path / "late.jsonl", 5)
            told = reports(process)
    assert process.returncode == 0
    assert isinstance(told["late"]["waited_s"], float)
    assert told["late"]["waited_s"] > 0
    assert told["there"]["waited_s"] == 0
    for report in told.values():
        assert report["frames_out"] >= 5  # type: ignore[operator]
        assert report["error"] is None


def test_a_camera_that_never_comes_is_in_the_report_and_the_exit_code(
    clip: Path, tmp_path: Path, free_port: int, start: Start
) -> None:
    with Feed(clip) as there:
        process = start(write_site(tmp_path, there=there.uri, never=f"tcp://127.0.0.1:{free_port}"))
        await_line(process.stderr, "it is tried again until it is there")
        await_lines_in(tmp_path / "there.jsonl", 5)
        told = reports(process)
    assert process.returncode == 66
    assert "cannot be reached" in str(told["never"]["error"])
    assert (told["never"]["frames_in"], told["never"]["exit_code"]) == (0, 66)
    assert told["there"]["error"] is None
    assert not (tmp_path / "never.jsonl").exists()


@pytest.mark.parametrize(
    ("mistake", "code"), [('background = "gone.jpg"', 66), ('background = "sky"', 64), ('plate = "gone.png"', 66)]
)
def test_a_mistake_in_the_table_of_a_missing_camera_is_told_before_anything_starts(
    tmp_path: Path, free_port: int, start: Start, mistake: str, code: int
) -> None:
    site = write_site(tmp_path, late=f"tcp://127.0.0.1:{free_port}")
    site.write_text(site.read_text() + mistake + "\n")
    process = start(site)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "late: " in said
    assert "tried again" not in said


def test_a_file_that_is_missing_ends_the_site_at_once(tmp_path: Path, free_port: int, start: Start) -> None:
    process = start(write_site(tmp_path, late=f"tcp://127.0.0.1:{free_port}", gone=f"{tmp_path}/gone.mp4"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 66
    assert "gone: no such input" in said


def test_a_missing_camera_without_a_plate_in_a_site_that_needs_one_is_told_before_anything_starts(
    clip: Path, tmp_path: Path, free_port: int, start: Start
) -> None:
    site = write_site(tmp_path, late=f"tcp://127.0.0.1:{free_port}", there=str(clip))
    site.write_text(site.read_text() + f'plate = "{clip}"\n')
    process = start(site)
    deadline = threading.Timer(40, process.terminate)  # it used to run on
    deadline.start()
    _, said = process.communicate(timeout=60)
    deadline.cancel()
    assert process.returncode == 64
    assert "late: this network needs a clean plate" in said
    assert "tried again" not in said
    assert list(tmp_path.glob("*.jsonl")) == []
