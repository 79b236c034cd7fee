"""A GPU that does not answer: seen by counting looks, never by calling it, and ended with the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from test_path import CODES, opened

from cutline.runtime import supervisor
from cutline.runtime.cuda.watchdog import ANSWER, OPENING, Call, Watchdog
from cutline.runtime.errors import DeviceLostError
from cutline.runtime.supervisor import RESTART
from cutline.tools.cli_run import RunRequest

NEVER_S = 3600.0


@pytest.fixture
def told() -> list[DeviceLostError]:
    return []


@pytest.fixture
def dog(told: list[DeviceLostError]) -> Iterator[Watchdog]:
    """Looks when the test says so."""
    dog = Watchdog(told.append, look_s=NEVER_S)
    yield dog
    dog.close()
    dog.close()


def look(dog: Watchdog, times: int) -> None:
    for _ in range(times):
        dog.look()


def until(fact: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    pause = threading.Event()
    assert any(fact() or pause.wait(0.001) for _ in range(30_000))


@pytest.mark.parametrize(("opening", "limit"), [(False, ANSWER), (True, OPENING)])
def test_a_call_that_lasts_is_told_once_with_what_was_done(
    dog: Watchdog, told: list[DeviceLostError], opening: bool, limit: int
) -> None:
    with Call("launching cutline_pre", opening=opening):
        look(dog, limit)
        assert told == []
        look(dog, 3)
    (error,) = told
    assert "the GPU has not answered for" in str(error)
    assert "while launching cutline_pre" in str(error)
    assert "dmesg" in error.remedy
    assert error.exit_code == 69


def test_calls_that_return_are_never_told_however_many_there_are(dog: Watchdog, told: list[DeviceLostError]) -> None:
    for _ in range(3 * ANSWER):
        with Call("waiting for a frame"):
            dog.look()
    look(dog, 3 * ANSWER)
    assert told == []


def test_a_call_that_fails_lasts_no_longer(dog: Watchdog, told: list[DeviceLostError]) -> None:
    with pytest.raises(ValueError, match="no"), Call("making an event"):
        raise ValueError("no")
    look(dog, 3 * ANSWER)
    assert told == []


def test_a_closed_watchdog_looks_no_more(told: list[DeviceLostError]) -> None:
    dog = Watchdog(told.append, look_s=0.0001)
    with Call("waiting for a frame"):
        until(lambda: bool(told))
    dog.close()
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())


def test_an_event_that_never_comes_is_seen_while_other_threads_go_on(
    dog: Watchdog, told: list[DeviceLostError]
) -> None:
    """The finisher of a pipeline waits; nothing that it holds keeps the feeder from queueing."""
    with opened() as stream:
        stream.run(CODES[:5])
        stream.start(1)
        stream.hang()
        found: list[BaseException] = []

        def finish() -> None:
            try:
                stream.finish()
            except DeviceLostError as error:
                found.append(error)

        finisher = threading.Thread(target=finish)
        before = stream.driver.calls["synchronise"]
        finisher.start()
        try:
            until(lambda: stream.driver.calls["synchronise"] > before)
            stream.start(2)
            look(dog, ANSWER + 5)
            assert ["while waiting for a frame" in str(error) for error in told] == [True]
            assert finisher.is_alive()
        finally:
            stream.driver.lose("CUDA_ERROR_LAUNCH_FAILED")  # what a driver says where it finds out at last
            finisher.join()
        assert isinstance(found[0], DeviceLostError)


WAITING = """
import sys, time
from cutline.runtime.cuda import watchdog
from cutline.tools import {module}

watchdog.Watchdog.__init__.__kwdefaults__["look_s"] = 0.01
def wait(*given, **more):
    with watchdog.Call("waiting for a frame"):
        time.sleep(100)
{module}.{body} = wait
sys.argv = ["x", *{words}]
{module}.main()
"""


@pytest.mark.parametrize(
    ("module", "body", "words", "code"),
    [("cli", "app", ["bench"], 69), ("compute", "_run", ["0", "1"], RESTART)],
)
def test_every_process_of_ours_is_watched(module: str, body: str, words: list[str], code: int) -> None:
    program = WAITING.format(module=module, body=body, words=words)
    request = RunRequest(
        input="x", site=None, model="", style=None, stream={}, device="cuda", precision="auto", optimise="auto",
        allow_unsigned=False, json=False,
    )  # fmt: skip
    pipe = subprocess.PIPE
    done = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe)
    assert done.stdin is not None
    assert done.stdout is not None
    done.stdin.write(msgspec.json.encode(request) + b"\n")
    done.stdin.flush()  # and left open: its end would say that the parent is gone
    assert done.wait(60) == code
    assert done.stderr is not None
    assert done.stderr.read().startswith(b"cutline: the GPU has not answered")
    beats = done.stdout.read()
    assert set(beats) == (set(supervisor.OPENING) if module == "compute" else set())  # a sign of life with every look
    for end in (done.stdin, done.stdout, done.stderr):
        end.close()


COMPUTE = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from test_path import opened
from cutline.runtime.cuda.watchdog import Watchdog
from cutline.tools.compute import end_lost

Watchdog(end_lost, look_s=0.01)
with opened() as stream:
    stream.start(1)
    stream.hang()
    stream.finish()
"""


def test_a_compute_process_that_waits_for_ever_ends_as_one_that_lost_its_device() -> None:
    """So the supervisor starts another one: it counts these like any other lost device."""
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE, str(Path(__file__).parent)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == RESTART, done.stderr
    assert done.stderr.startswith("cutline: the GPU has not answered for 0.1 s while waiting for a frame. Look for")
    assert done.stderr.count("\n") == 1


def test_the_bindings_calls_are_noted_and_those_that_open_may_take_longer(
    monkeypatch: pytest.MonkeyPatch, dog: Watchdog, told: list[DeviceLostError]
) -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    from test_cuda_python import Recorder

    from cutline.runtime.cuda import cuda_python

    recorder = Recorder()
    monkeypatch.setattr(cuda_python, "_bindings", lambda: recorder)
    results = recorder.results
    slow = SimpleNamespace(name="cuDevicePrimaryCtxRetain", looks=OPENING)

    def answer(name: str) -> tuple[object, ...]:
        if name == slow.name:
            look(dog, slow.looks)
        return results(name)

    monkeypatch.setattr(recorder, "results", answer)
    driver = cuda_python.CudaPython(0)
    assert told == []
    slow.name, slow.looks = "cuEventSynchronize", ANSWER + 1
    driver.synchronise(driver.event())
    assert ["waiting for a frame" in str(error) for error in told] == [True]
    driver.close()
