from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cutline.benchmarks.peers.rival import Rival
from cutline.benchmarks.peers.worker import Job, process_tree
from cutline.runtime.errors import DeviceError

Write = Callable[..., Path]
JOB = Job(
    clip="clip.mp4", network="net.onnx", bundle="cutout", width=8, height=4, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0),
    background=(1, 2, 3), precision="bf16", variant="",
)  # fmt: skip
Start = Callable[..., Rival]


@pytest.fixture
def start(entry: Write) -> Iterator[Start]:
    started: list[Rival] = []

    def begin(more: str = "", patience_s: float = 30.0) -> Rival:
        started.append(Rival(Path(sys.executable), entry(more), JOB, patience_s=patience_s))
        return started[-1]

    yield begin
    for rival in started:
        rival.close()
        rival.close()  # works twice


def test_a_turn_counts_frames_over_its_seconds_alone(start: Start) -> None:
    rival = start()
    assert rival.versions == {"numpy": np.__version__}
    turn = rival.turn(0.2)
    assert turn.seconds >= 0.2
    assert 1 <= turn.frames <= turn.seconds / 0.002
    assert turn.peak_mib > 1
    assert turn.cpu_s >= 0 <= turn.others_s


def test_the_picture_is_that_of_the_frame_asked_for(start: Start) -> None:
    rival = start("\ndef picture(number):\n    import numpy as np\n    return np.full((2, 3, 3), number, np.uint8)\n")
    rival.turn(0.1)  # which took frames of its own
    found = rival.picture(5)
    assert found is not None
    assert found.shape == (2, 3, 3)
    assert np.all(found == 5)


def test_a_peer_without_a_picture_has_none(start: Start) -> None:
    assert start().picture(0) is None


def test_what_a_library_prints_does_not_come_between(start: Start) -> None:
    noisy = "import os\nprint('hello')\nos.system('echo from a child')\nos.write(1, b'{}')\n"
    assert start(noisy).turn(0.1).frames > 0


def test_the_job_arrives_whole(start: Start) -> None:
    check = "assert job.openvino_properties['INFERENCE_PRECISION_HINT'] == 'bf16'"
    assert start(f"\ndef composites(job):\n    {check}\n    while True: yield\n").turn(0.1).frames > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("import no_such_library\n", "no_such_library"),
        ("import sys, os\nprint('broken driver', file=sys.stderr, flush=True)\nos._exit(3)\n", "broken driver"),
    ],
)
def test_a_peer_that_does_not_start_says_why(start: Start, more: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        start(more)


def test_a_peer_that_fails_in_its_turn_says_why(start: Start) -> None:
    rival = start("\ndef composites(job):\n    yield\n    raise ValueError('no more frames')\n")
    with pytest.raises(DeviceError, match="ValueError: no more frames"):
        rival.turn(0.1)
    with pytest.raises(DeviceError, match="ended"):
        rival.turn(0.1)


def test_a_peer_that_hangs_is_given_up(start: Start) -> None:
    rival = start("\ndef composites(job):\n    yield time.sleep(600)\n", patience_s=20)
    rival._patience_s = 0.2
    with pytest.raises(DeviceError, match="does not answer"):
        rival.turn(0.1)


def test_a_tree_is_the_process_and_all_below_it(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}
    for pid, parent in parents.items():
        (tmp_path / str(pid)).mkdir()
        fields = ["S", str(parent), *["0"] * 9, str(pid * tick), str(tick)]
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) {' '.join(fields)} 0 0\n")
        (tmp_path / str(pid) / "status").write_text("Name: x\nVmHWM:\t2048 kB\n")
    (tmp_path / "30").mkdir()  # ended between being listed and being read
    (tmp_path / "stat").write_text(f"cpu {tick} 0 {tick} 500 7 0 0 {tick} 0 0\ncpu0 1 1 1 1\n")
    found = process_tree(10, tmp_path)
    assert found.cpu_s == 10 + 11 + 12 + 3
    assert found.peak_mib == 3 * 2
    assert found.machine_s == 3
