from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cutline.runtime.errors import DeviceError
from cutline.runtime.supervisor import LIMIT, OPENING, RESTART, WORKING, Child, Supervisor
from cutline.tools.cli_run import RunRequest


class Children:
    """Starts children that each do the next thing of a list."""

    def __init__(self, *programs: str) -> None:
        self.programs = list(programs)
        self.started = 0

    def __call__(self) -> Child:
        program = self.programs[min(self.started, len(self.programs) - 1)]
        self.started += 1
        pulse, beats = os.pipe()
        process = subprocess.Popen([sys.executable, "-S", "-c", program, str(beats)], pass_fds=(beats,))
        os.close(beats)
        return Child(process, pulse, os.open(os.devnull, os.O_WRONLY))


LOST = f"import os; os._exit({RESTART})"
KILLED = "import os; os.kill(os.getpid(), 9)"


def supervised(children: Children, **more: object) -> tuple[Supervisor, list[str]]:
    told: list[str] = []
    return Supervisor(children, told.append, pause_s=0.0, **more), told  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [0, 69, 70])
def test_an_end_in_order_is_the_end(code: int) -> None:
    children = Children(f"raise SystemExit({code})")
    supervisor, told = supervised(children)
    assert supervisor.run() == code
    assert (children.started, told) == (1, [])


def test_a_lost_device_and_a_killed_process_are_started_again() -> None:
    children = Children(LOST, KILLED, "pass")
    supervisor, told = supervised(children)
    assert supervisor.run() == 0
    assert children.started == 3
    assert told == [
        f"the device was lost: starting again (1 of {LIMIT} times in a minute)",
        f"the process that uses the device was ended by SIGKILL: starting again (2 of {LIMIT} times in a minute)",
    ]


BEATS_THEN = "import os, sys, time\nos.write(int(sys.argv[1]), b'.')\n"


def test_a_child_that_falls_silent_is_killed_and_another_one_started() -> None:
    """It was stopped, say, or a library hangs with the interpreter's lock: nothing in it can tell."""
    children = Children(f"{BEATS_THEN}import signal; os.kill(os.getpid(), signal.SIGSTOP)", "pass")
    supervisor, told = supervised(children, silent_s={WORKING: 0.2})
    assert supervisor.run() == 0
    said = "the process that uses the device said nothing for 0.2 s"
    assert told == [f"{said}: starting again (1 of {LIMIT} times in a minute)"]


def test_a_child_that_has_not_begun_to_beat_may_take_its_time_and_one_that_beats_is_left_alone() -> None:
    beats = "".join("time.sleep(0.02); os.write(int(sys.argv[1]), b'.')\n" for _ in range(30))
    supervisor, told = supervised(Children(f"import os, sys, time\ntime.sleep(0.4)\n{beats}"), silent_s={WORKING: 0.3})
    assert supervisor.run() == 0
    assert told == []


def test_a_child_that_still_opens_its_engines_may_be_silent_for_longer() -> None:
    """A library of gigabytes comes from a slow card, and the interpreter waits for it."""
    silent = f"import os, sys, time\nos.write(int(sys.argv[1]), {OPENING!r})\ntime.sleep(%s)"
    supervisor, told = supervised(Children(silent % 0.3, "1"), silent_s={OPENING: 60.0, WORKING: 0.1})
    assert supervisor.run() == 0
    assert told == []
    supervisor, told = supervised(Children(silent % 60, "1"), silent_s={OPENING: 0.1, WORKING: 60.0})
    assert supervisor.run() == 0
    assert "said nothing for 0.1 s" in told[0]


def test_a_process_that_cannot_be_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel waits for the device itself then; whoever manages the service has to act."""
    children = Children(f"{BEATS_THEN}time.sleep(60)")
    supervisor, _ = supervised(children, silent_s={WORKING: 0.05}, ending_s=0.05)
    kill, begun = subprocess.Popen.kill, list[subprocess.Popen[bytes]]()
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: begun.append(process))
    with pytest.raises(DeviceError, match="hangs and cannot be ended") as caught:
        supervisor.run()
    assert caught.value.exit_code == 69
    kill(begun[0])
    begun[0].wait()


def test_restarts_leave_nothing_open() -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    supervisor, _ = supervised(Children(LOST, LOST, "pass"))
    assert supervisor.run() == 0
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_what_cannot_be_begun_anew_is_not() -> None:
    children = Children(LOST)
    supervisor, told = supervised(children, once="half a video has gone to standard output")
    with pytest.raises(DeviceError, match="the device was lost, and half a video has gone to standard output"):
        supervisor.run()
    assert (children.started, told) == (1, [])


def test_after_five_restarts_within_a_minute_it_gives_up() -> None:
    children = Children(LOST)
    supervisor, _ = supervised(children)
    with pytest.raises(DeviceError, match="6th time within a minute") as caught:
        supervisor.run()
    assert children.started == LIMIT + 1
    assert caught.value.exit_code == 69


def test_restarts_of_more_than_a_minute_ago_do_not_count() -> None:
    children = Children(*[LOST] * 12, "pass")
    now = [0.0]

    def clock() -> float:
        now[0] += 13  # seconds between two restarts: never more than five within a minute
        return now[0]

    supervisor, _ = supervised(children, clock=clock)
    assert supervisor.run() == 0
    assert children.started == 13


@pytest.mark.parametrize(("end", "code"), [(0, 0), (RESTART, DeviceError.exit_code)], ids=["in order", "lost"])
def test_stop_starts_no_other_child_and_tells_what_became_of_this_one(tmp_path: Path, end: int, code: int) -> None:
    """Where the device is lost meanwhile, what was to be finished is not."""
    ready = tmp_path / "ready"
    children = Children(
        "import os, signal, time, pathlib\n"
        f"signal.signal(signal.SIGTERM, lambda *_: os._exit({end}))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    supervisor, told = supervised(children)

    def stop() -> None:
        while not ready.exists():
            time.sleep(0.01)
        supervisor.stop(signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert supervisor.run() == code
    assert (children.started, told) == (1, [])


@pytest.mark.parametrize(("program", "code"), [(LOST, DeviceError.exit_code), (KILLED, 128 + signal.SIGKILL)])
def test_a_stop_between_two_children_does_not_hide_how_the_first_one_ended(program: str, code: int) -> None:
    children = Children(program)
    supervisor = Supervisor(children, lambda text: supervisor.stop(), pause_s=60.0)
    assert supervisor.run() == code
    assert children.started == 1


IS_LOST = "    def wait(*given): raise cuda_error('CUDA_ERROR_LAUNCH_FAILED', 'broken', 'waiting for a frame')\n"
HANGS = (
    "    from cutline.runtime.cuda import watchdog\n"
    "    watchdog.Watchdog.__init__.__kwdefaults__['look_s'] = 0.02\n"
    "    def wait(*given):\n"
    "        import time\n"
    "        with watchdog.Call('waiting for a frame'): time.sleep(100)\n"
)


@pytest.mark.parametrize("fault", [IS_LOST, HANGS], ids=["lost", "hangs"])
def test_a_stream_whose_device_is_lost_comes_back_in_another_process(tmp_path: Path, fault: str) -> None:
    """The real child: its device is lost or gives no answer at the first start, and is well at the second."""
    from cutline.tools import compute

    marker, clip = tmp_path / "was-here", "synthetic://kiosk?seed=1&size=320x180"
    request = RunRequest(
        input=clip, site=None, model="", style=None, stream={"frames": 3, "output": f"{tmp_path}/out.jsonl"},
        device="cpu", precision="auto", optimise="auto", allow_unsigned=False, json=False,
    )  # fmt: skip
    # the child's first engine fails as a lost GPU does; everything else of it is what users run
    patch = (
        "import os, sys, pathlib\n"
        "from cutline.runtime.cuda.faults import cuda_error\n"
        "from cutline.runtime import cpu_path\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.touch()\n"
        f"{fault}"
        "    cpu_path.CpuPath.wait = wait\n"
        "from cutline.tools.compute import main\n"
        "main()\n"
    )
    real = subprocess.Popen

    def popen(command: list[str], **more: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", patch, *command[3:]]
        return real(words, stderr=subprocess.DEVNULL, **more)  # type: ignore[call-overload,no-any-return]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compute.subprocess, "Popen", popen)
        told: list[str] = []
        code = Supervisor(lambda: compute.start_compute(request), told.append, pause_s=0.0).run()
    assert code == 0
    assert told == [f"the device was lost: starting again (1 of {LIMIT} times in a minute)"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_a_library_that_crashes_while_the_process_ends_does_not_begin_the_work_anew(tmp_path: Path) -> None:
    """GPU libraries do, when Python takes them down in the wrong order; the work is done by then."""
    from cutline.tools import compute

    out = tmp_path / "out.jsonl"
    request = RunRequest(
        input="synthetic://kiosk?seed=1&size=320x180", site=None, model="", style=None,
        stream={"frames": 3, "output": str(out)}, device="cpu", precision="auto", optimise="auto",
        allow_unsigned=False, json=True,
    )  # fmt: skip
    crash = "import atexit, os\natexit.register(lambda: os.kill(os.getpid(), 11))\n"
    real, told = subprocess.Popen, list[str]()

    def popen(command: list[str], **more: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", f"{crash}from cutline.tools.compute import main\nmain()\n", *command[3:]]
        with (tmp_path / "report.json").open("wb") as report:
            return real(words, stdout=report, stderr=subprocess.DEVNULL, **more)  # type: ignore[call-overload,no-any-return]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compute.subprocess, "Popen", popen)
        code = Supervisor(lambda: compute.start_compute(request), told.append, pause_s=0.0).run()
    assert (code, told) == (0, [])
    assert len(out.read_text().splitlines()) == 3
    assert '"frames_out"' in (tmp_path / "report.json").read_text()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from cutline.tools import compute\n"
        "from cutline.tools.cli_run import RunRequest\n"
        "request = RunRequest(input='synthetic://kiosk?seed=1&size=320x180', site=None, model='', style=None,\n"
        f"    stream={{'output': {str(tmp_path / 'out.jsonl')!r}, 'pace': 30.0, 'loop': True}},\n"
        "    device='cpu', precision='auto', optimise='auto', allow_unsigned=False, json=False)\n"
        "print(compute.start_compute(request).process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.part*")):
        assert time.monotonic() < deadline, "the child wrote nothing"
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives on")
