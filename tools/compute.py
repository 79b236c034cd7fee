"""The process that uses the GPU: `cutline run` starts it, and starts another where the device was lost.

    python -m cutline.tools.compute FD PULSE [--debug]

FD is a pipe: the request comes through it as one line of JSON; its other end is open while the parent lives. PULSE is
another, into which the watchdog writes a byte with every look. This module is imported in an instant, so that Ctrl-C
during the rest of the imports is one line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from cutline.runtime.cuda.watchdog import Watchdog
from cutline.runtime.errors import DeviceLostError
from cutline.runtime.supervisor import OPENING, RESTART, WORKING, Child
from cutline.tools.entry import INTERRUPTED

if TYPE_CHECKING:
    from cutline.tools.cli_run import RunRequest

__all__ = ["end_lost", "main", "start_compute"]

FINISH_S: Final = 30.0  # for outputs, when the parent is gone; they take a fraction of a second
OPENED: Final = threading.Event()  # this process has its engines


def start_compute(request: RunRequest) -> Child:
    """Start a child that runs the request's streams."""
    import msgspec

    near, far = os.pipe()
    pulse, beats = os.pipe()
    debug = ["--debug"] if "--debug" in sys.argv else []
    command = [sys.executable, "-m", "cutline.tools.compute", str(near), str(beats), *debug]
    try:
        # a session of its own: the terminal's Ctrl-C comes to us, and once through us to the child
        child = subprocess.Popen(command, pass_fds=(near, beats), start_new_session=True)
    except BaseException:
        os.close(far)
        os.close(pulse)
        raise
    finally:
        os.close(near)
        os.close(beats)
    os.write(far, json.dumps(msgspec.to_builtins(request)).encode() + b"\n")  # msgspec's wants names in UTF-8
    return Child(child, pulse, far)


def main() -> NoReturn:
    """Run the streams; end with RESTART where the device was lost, or does not answer."""
    fd, pulse = int(sys.argv[1]), int(sys.argv[2])
    try:
        from cutline.tools.cli import guarded

        Watchdog(end_lost, on_look=lambda: _beat(pulse))
        request = _read(fd)
    except KeyboardInterrupt:
        print("cutline: interrupted", file=sys.stderr)
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    threading.Thread(target=_watch, args=(fd,), name="parent", daemon=True).start()
    code = guarded(lambda: _run(request), debug="--debug" in sys.argv)
    with suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
    # at once: a GPU library that crashes while Python takes it down would look like a lost device
    os._exit(code)


def _run(request: RunRequest) -> int:
    from cutline.tools.cli_run import run_here

    try:
        return run_here(request, on_lost=end_lost, on_open=OPENED.set)
    except DeviceLostError as error:  # lost before the first frame
        end_lost(error)


def end_lost(error: DeviceLostError) -> NoReturn:
    """End this process at once: libraries that lost their device may hang, and part files are safe as they are."""
    print(f"cutline: {error}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(RESTART)


def _read(fd: int) -> RunRequest:
    import msgspec

    from cutline.tools.cli_run import RunRequest

    text = b""
    while not text.endswith(b"\n"):
        text += os.read(fd, 1 << 16)
    return msgspec.convert(json.loads(text), RunRequest)


def _beat(pulse: int) -> None:
    with suppress(OSError):  # the parent is gone: _watch sees to that
        os.write(pulse, WORKING if OPENED.is_set() else OPENING)


def _watch(fd: int) -> None:
    """End in order when the parent is gone, or else out of order: the pipe has no writer then."""
    while os.read(fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FINISH_S)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
