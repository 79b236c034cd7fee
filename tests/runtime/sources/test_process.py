"""The source process: light, alone, dead with its parent, and limited in what it may take."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cutline.runtime.errors import BadInputError, UsageError
from cutline.runtime.sources import Filled, Source, SourceOptions

from .conftest import Clips, drain, open_pool, recycle
from .test_live import children, descriptors

PARENT = """
import sys, time
from cutline.runtime.slots import SlotPool
from cutline.runtime.sources import Source, SourceOptions
source = Source(sys.argv[1], SourceOptions(loop=True))
pool = SlotPool(format=source.info.format, depth=2, arrays={}, alpha=False)
source.start(pool)
source.offer(pool.slots[0])
source.take(30)
print(source._child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def gone_in_time(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_parent_takes_its_source_along_even_a_stopped_one(clips: Clips, stopped: bool) -> None:
    path = str(clips.make("plain.mp4"))
    with subprocess.Popen([sys.executable, "-c", PARENT, path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert gone_in_time(pid)


def test_modules_in_the_current_folder_are_a_strangers_and_not_run(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips.make("plain.mp4")
    for name in ("av", "numpy", "cutline"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    source = Source(str(path.resolve()))
    try:
        assert source.info.format.width > 0
    finally:
        source.close()


def test_ctrl_c_is_for_the_parent_to_decide(clips: Clips) -> None:
    source = Source(str(clips.make("plain.mp4")))
    pool = open_pool(source)
    (child,) = children()
    os.kill(child, signal.SIGINT)
    for number in range(12):
        event = source.take(30)
        assert isinstance(event, Filled)
        assert event.index == number
        recycle(source, pool, event)
    source.close()
    pool.close()


def test_the_thread_that_opened_a_source_may_end_before_it(clips: Clips) -> None:
    import threading

    opened: list[Source] = []
    thread = threading.Thread(target=lambda: opened.append(Source(str(clips.make("plain.mp4")))))
    thread.start()
    thread.join()
    pool = open_pool(opened[0])
    assert isinstance(opened[0].take(30), Filled)
    opened[0].close()
    pool.close()


def test_nothing_is_left_after_use_nor_after_a_failure(clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("words " * 1000)
    drain(clips.make("plain.mp4"), keep=False)
    before, children_before = descriptors(), children()
    for _ in range(2):
        drain(clips.make("plain.mp4"), keep=False)
        with pytest.raises(BadInputError):
            Source(str(tmp_path / "words.mp4"))
    assert children() == children_before
    assert descriptors() == before


def test_the_source_process_imports_nothing_heavy() -> None:
    code = "import sys, cutline.runtime.sources.worker\nprint(' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert not loaded & {"cv2", "openvino", "cryptography", "rich", "typer", "torch", "onnx", "onnxruntime"}
    assert "cutline.runtime.pipeline" not in ran.stdout
    assert "importlib.metadata" not in ran.stdout


def test_standard_input_is_read_to_its_end(clips: Clips) -> None:
    code = (
        "import sys\n"
        "from cutline.runtime.slots import SlotPool, SlotState\n"
        "from cutline.runtime.sources import End, Filled, Source\n"
        "source = Source('-')\n"
        "pool = SlotPool(format=source.info.format, depth=2, arrays={}, alpha=False)\n"
        "source.start(pool)\n"
        "[source.offer(slot) for slot in pool.slots]\n"
        "lumas = []\n"
        "while not isinstance(event := source.take(30), End):\n"
        "    slot = pool.slots[event.slot_index]\n"
        "    lumas.append(int(slot.source.y[0, 0]))\n"
        "    [pool.move(slot, s) for s in (SlotState.READY, SlotState.RUNNING, SlotState.DONE, SlotState.FREE)]\n"
        "    source.offer(slot)\n"
        "print(source.info.name, source.info.live, lumas, event.error)\n"
    )
    data = clips.make("plain.mkv").read_bytes()
    ran = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=120, check=False)
    lumas = [16 + 4 * n for n in range(12)]
    assert ran.stdout.decode().strip() == f"standard input False {lumas} None", ran.stderr.decode()


def test_empty_standard_input_is_bad_input() -> None:
    code = (
        "from cutline.runtime.sources import Source\n"
        "try: Source('-')\n"
        "except Exception as e: print(type(e).__name__, e)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, timeout=120, check=False)
    assert ran.stdout.startswith(b"BadInputError"), ran
    assert ran.stdout.count(b"\n") == 1


def test_a_terminal_is_no_video() -> None:
    code = (
        "from cutline.runtime.sources import Source\ntry: Source('-')\nexcept Exception as e: print(e.exit_code, e)\n"
    )
    leader, terminal = pty.openpty()
    ran = subprocess.run([sys.executable, "-c", code], stdin=terminal, capture_output=True, timeout=120, check=False)
    os.close(leader)
    os.close(terminal)
    assert ran.stdout.startswith(b"64 "), ran


PACKAGE = """
from fractions import Fraction
import numpy as np

class Frames:
    width, height, frame_rate, frames, live = 32, 24, Fraction(10), 4, False

    def __init__(self, uri):
        self.bad = uri.endswith("bad")

    def __iter__(self):
        for number in range(4):
            if self.bad and number == 2:
                yield np.zeros((1, 1, 3), np.uint8)
            if self.bad and number == 3:
                raise ZeroDivisionError("oops")
            yield np.full((24, 32, 3), 60 * number, np.uint8)

def broken(uri):
    raise ValueError("cannot")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings the scheme blink://."""
    (tmp_path / "blinker.py").write_text(PACKAGE)
    info = tmp_path / "blinker-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blinker\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cutline.sources]\nblink = blinker:Frames\ntrouble = blinker:broken\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.usefixtures("package")
def test_another_package_can_bring_a_scheme() -> None:
    source, taken = drain("blink://any?speed=1")
    info = source.info
    assert (info.width, info.height, info.frame_rate, info.frames, info.live) == (32, 24, 10, 4, False)
    assert info.decoder == "blink"
    lumas = [round(16 + 219 * 60 * n / 255) for n in range(4)]
    assert np.abs(np.array(taken.lumas) - lumas).max() <= 1
    assert [filled.time.seconds for filled in taken.filled] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.usefixtures("package")
def test_frames_unlike_the_announced_ones_end_the_stream() -> None:
    _, taken = drain("blink://bad")
    assert taken.end is not None
    assert isinstance(taken.end.error, BadInputError)
    assert taken.end.frames == 2


@pytest.mark.usefixtures("package")
def test_a_scheme_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(Exception, match="cannot") as caught:
        Source("trouble://x")
    assert "\n" not in str(caught.value)


def test_a_scheme_of_nobody_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        Source("blinkers://x")


def test_a_frame_that_takes_too_much_time_ends_the_process(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the kernel's: a process that burns its time is gone, whatever it is doing."""
    hook = clips.folder / "burn"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('sources.worker' in a for a in sys.orig_argv):\n"
        "    import signal\n"
        "    arm = signal.setitimer\n"
        "    signal.setitimer = lambda which, seconds: arm(which, seconds / 10)\n"
        "    def burn(*a):\n"
        "        while True: pass\n"
        "    import cutline.runtime.sources.convert as c\n"
        "    c.Converter.push = burn\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hook))
    with pytest.raises(BadInputError, match="too long"):
        Source(str(clips.make("plain.mp4")), SourceOptions(open_timeout_s=50))
    assert children() == set()
