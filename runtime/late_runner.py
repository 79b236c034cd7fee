"""A live stream of a site whose camera need not be there when the site starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import final

from cutline.runtime.errors import CutlineError, DeviceLostError
from cutline.runtime.options import StreamOptions
from cutline.runtime.plate import check_plate
from cutline.runtime.runner import NOTICES, Runner, RunReport, complete_options
from cutline.runtime.sessions import Engine
from cutline.runtime.slots import Counts
from cutline.runtime.sources import Opener
from cutline.runtime.sources.address import Redactor

__all__ = ["LateRunner"]


@final
class LateRunner:
    """Owns the Runner of one stream, once its source is there; tries until then. Borrows the engines.

    Opens in the thread that calls run(), so that no camera waits for another.

    Raises:
        CutlineError: as complete_options and check_plate; whatever else is wrong is in the report.
    """

    def __init__(
        self,
        engine: Engine,
        options: StreamOptions,
        *,
        style: Engine | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
        on_lost: Callable[[DeviceLostError], None] = lambda error: None,
    ) -> None:
        self.options = complete_options(options)
        check_plate(self.options, engine)
        self._engine, self._style, self._on_notice, self._on_lost = engine, style, on_notice, on_lost
        self._opener = Opener(patient=True)
        self._notices: deque[str] = deque(maxlen=NOTICES)
        self._runner: Runner | None = None

    def run(self, on_frame: Callable[[Counts], None] = lambda counts: None) -> RunReport:
        """Wait for the source, then carry frames; see Runner.run."""
        try:
            runner = self._runner = Runner(
                self._engine, self.options, style=self._style, opener=self._opener, on_notice=self._notice,
                on_lost=self._on_lost,
            )  # fmt: skip
        except CutlineError as error:
            if isinstance(error, DeviceLostError):
                self._on_lost(error)
            return self._never_ran(error)
        if self._opener.stopped:
            runner.stop()
        with closing(runner):
            return runner.run(on_frame)

    def stop(self) -> None:
        """Wait no more, or end the stream in order. Safe in a signal handler."""
        self._opener.stop()
        if self._runner is not None:
            self._runner.stop()

    def _notice(self, text: str) -> None:
        self._notices.append(text)
        self._on_notice(text)

    def _never_ran(self, error: CutlineError) -> RunReport:
        engine = self._engine
        return RunReport(
            name=self.options.shown_name, input=Redactor(self.options.input).name, output={}, width=0, height=0,
            frames_in=0, frames_out=0, dropped=0, in_flight=0, seconds=0.0, fps=0.0,
            waited_s=round(self._opener.waited_s, 1), latency_ms={}, stages_ms={}, device=engine.device,
            precision=engine.precision, model=engine.name, memory_mib={}, notices=[*self._notices], error=str(error),
            exit_code=error.exit_code,
        )  # fmt: skip
