"""The source process as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import Final, final

from cutline.runtime.errors import BadInputError, CutlineError, InternalError
from cutline.runtime.sources.address import Redactor
from cutline.runtime.sources.messages import Channel, Close, FromChild, ToChild, parent_end
from cutline.runtime.sources.trouble import LogTail

__all__ = ["Child"]

# The current folder may be a stranger's: nothing is imported from it.
START: Final = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; from cutline.runtime.sources.worker import main; main()"
)
FAREWELL_S: Final = 0.5  # for a source to let go of its camera or session, before it is killed


@final
class Child:
    """Owns one source process and the three descriptors that tie it to us, until close()."""

    def __init__(self, redactor: Redactor, *, pass_stdin: bool) -> None:
        self._redactor = redactor
        with ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            lifeline_read, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            log_read, log_write = os.pipe()
            self._log = LogTail(log_read)
            undo.callback(self._log.close)
            with theirs, ExitStack() as handed_over:
                handed_over.callback(os.close, lifeline_read)
                handed_over.callback(os.close, log_write)
                os.set_blocking(log_write, False)  # a log that nobody reads must not stop a decoder
                inherited = (theirs.fileno(), lifeline_read, log_read)
                self._process = subprocess.Popen(
                    [sys.executable, "-c", START, *map(str, inherited)],
                    stdin=None if pass_stdin else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log_write,
                    pass_fds=inherited,
                    start_new_session=True,  # no Ctrl-C and no hang-up from the terminal
                )
            self.channel: Channel[ToChild, FromChild] = parent_end(ours)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def facts(self) -> dict[str, object]:
        """What an error about this process should tell: the input, and the last thing that FFmpeg said."""
        log = self._redactor.clean(self._log.last)
        return {"input": self._redactor.name, **({"log": log} if log else {})}

    def obituary(self) -> CutlineError:
        """Say how the process ended; called once its end of the channel is closed."""
        try:
            code = self._process.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        facts = self.facts()
        if code == -signal.SIGPROF:
            return BadInputError("one frame takes too long to decode", remedy="Convert the input first.", **facts)
        if code < 0:
            facts["signal"] = signal.Signals(-code).name
            return BadInputError("the decoder crashed on this input", remedy="Convert the input first.", **facts)
        return InternalError("the source process ended", remedy="Report this with the input.", code=code, **facts)

    def close(self, *, kill: bool = False) -> None:
        """End the process, at once or after it let go of its camera or session; later calls do nothing."""
        if self._lifeline < 0:
            return
        if not kill and self.channel.send(Close()):
            try:
                self._process.wait(FAREWELL_S)
            except subprocess.TimeoutExpired:
                kill = True
        os.close(self._lifeline)
        self._lifeline = -1
        self._process.kill()
        self._process.wait()
        self.channel.close()
        self._log.close()
