"""One peer's process: started, spoken to line by line, ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.peers.worker import Job
from cutline.runtime.errors import DeviceError

__all__ = ["Rival", "Turn"]

WORKER: Final = Path(__file__).with_name("worker.py")
PATIENCE_S: Final = 180.0  # for anything but the turn's own seconds: loading, compiling, a picture
_REMEDY: Final = "Leave this peer out, or run its file alone to see why."


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn gave."""

    frames: int
    seconds: float
    cpu_s: float  # processor time of the peer and of all that it started
    others_s: float  # processor time of everybody else meanwhile
    peak_mib: float  # resident, of the peer and of all that it started

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    @property
    def core_ms(self) -> float:
        """Processor time per frame in milliseconds."""
        return 1000 * self.cpu_s / max(1, self.frames)

    @property
    def others(self) -> float:
        """Cores that other programs had meanwhile."""
        return self.others_s / self.seconds


@final
class Rival:
    """Owns the worker process of one peer until close(). It does nothing unless it is asked."""

    def __init__(self, interpreter: Path, entry: Path, job: Job, *, patience_s: float = PATIENCE_S) -> None:
        """Start it and load its libraries.

        Raises:
            DeviceError: it does not start; what it said is in the message.
        """
        self._patience_s = patience_s
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - lives as long as the process
        self._buffer = b""
        self._process = subprocess.Popen(
            [str(interpreter), str(WORKER), str(entry)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the coordinator, which ends its workers
        )
        try:
            self.versions: dict[str, str] = self._ask(asdict(job))["versions"]
        except BaseException:
            self.close()
            raise

    def turn(self, seconds: float) -> Turn:
        """Let it work for so many seconds.

        Raises:
            DeviceError: it failed, ended, or did not answer.
        """
        return Turn(**self._ask({"do": "turn", "seconds": seconds}, seconds))

    def picture(self, frame: int) -> NDArray[np.uint8] | None:
        """Its composite of one frame, uint8[H, W, 3] RGB; None when it makes none.

        Raises:
            DeviceError: it failed, ended, or did not answer.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.npy"
            if not self._ask({"do": "picture", "frame": frame, "path": str(path)})["written"]:
                return None
            return np.asarray(np.load(path, allow_pickle=False), np.uint8)

    def close(self) -> None:
        """End the process and what it started. Works twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()  # the end of its commands: it lets go of what it has
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def _ask(self, command: dict[str, Any], seconds: float = 0.0) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("it has ended") from None
        found = json.loads(self._line(time.monotonic() + seconds + self._patience_s))
        if "error" in found:
            raise DeviceError(str(found["error"]), remedy=_REMEDY)
        return found

    def _line(self, until: float) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise self._failure("it does not answer")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise self._failure("it has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _failure(self, what: str) -> DeviceError:
        self._log.seek(0)
        said = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()
        facts = {"said": said[-1]} if said else {}
        return DeviceError(what, remedy=_REMEDY, **facts)
