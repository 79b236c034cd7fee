"""Streams under load: pipelines that run for a turn, rest, and run again, so that scenarios can take turns."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, final

from numpy.typing import NDArray

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.runner import complete_options
from cutline.runtime.sessions import Engine
from cutline.runtime.sinks import Sink, SinkOptions, StreamInfo, describe_sink, open_sink

__all__ = ["Load", "Turn"]

LOOK_S: Final = 0.01
QUIET_LOOKS: Final = 2  # one after the other: the decoder's process may work a little longer
REST_S: Final = 10.0  # whatever happens
LATE_S: Final = 1.0  # behind the end of a paced turn: what has not come by then never came


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn gave, its settling left out. Times in ns; rows are FrameStamps' fields (runtime/telemetry.py).

    The frames are those that came out meanwhile; of a paced stream, those that were due meanwhile, also when they came
    out later: what is late at the end counts like anything else.
    """

    began: int  # monotonic
    ended: int
    frames: tuple[NDArray[Any], ...]  # of each stream, in the order in which they came out
    settled: int  # frames that were left out
    process_core: int  # of this process: all its threads


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where everything stood at one moment."""

    at: int
    count: int  # frames that came out
    process_core: int


@dataclass(frozen=True, slots=True)
class _Marks:
    """One stream's turn."""

    entered: int  # frames that had come out before it
    begin: _Mark
    end: _Mark


@final
class Load:
    """Owns the pipelines and sinks of some streams until close(); borrows the engine.

    Between two turns every stream rests: it holds one frame, its queues fill up, and then nothing moves; until then it
    still works, see `rest`. A stream that is paced cannot rest, so it has one turn.
    """

    def __init__(self, engine: Engine, streams: Sequence[StreamOptions], *, closed_loop: int | None = None) -> None:
        """Open everything.

        Raises:
            CutlineError: what pipelines and sinks raise.
        """
        self._stopped = threading.Event()
        self._closed_loop = closed_loop is not None
        self._pipelines: list[Pipeline] = []
        self._sinks: list[Sink] = []
        with ExitStack() as undo:
            for options in (complete_options(s) for s in streams):
                transparent = options.background == "transparent"
                storing = SinkOptions(transparent=transparent)
                alpha = transparent or describe_sink(options.output, storing).wants_alpha
                pipeline = Pipeline(engine, options, alpha=alpha, closed_loop=closed_loop)
                undo.callback(pipeline.close)
                self._pipelines.append(pipeline)
                sink = open_sink(options.output, _stream_info(pipeline), storing)
                undo.callback(sink.close, complete=True)
                self._sinks.append(sink)
            self._undo = undo.pop_all()
        self._iterators = [iter(pipeline) for pipeline in self._pipelines]
        self._newest = [0] * len(self._pipelines)  # when the newest frame of each stream was available, ns

    def turn(self, seconds: float, settle_s: float, frames: int | None = None) -> Turn:
        """Run all streams, first for settle_s uncounted, then for `seconds`, or until each gave so many frames.

        Frames that lay in queues while the load rested are not counted either.

        Raises:
            CutlineError: a stream failed.
        """
        if len(self._pipelines) == 1:
            return self._merge([self._run(0, seconds, settle_s, frames)])
        marks: list[_Marks | None] = [None] * len(self._pipelines)
        failures: list[BaseException] = []

        def body(number: int) -> None:
            try:
                marks[number] = self._run(number, seconds, settle_s, frames)
            except BaseException as error:  # handed to the caller below
                failures.append(error)
                self.stop()

        threads = [threading.Thread(target=body, args=(n,), name=f"bench {n}") for n in range(len(marks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return self._merge([mark for mark in marks if mark is not None])

    def rest(self) -> None:
        """Wait until the queues are full and nothing works any more: what comes next has the machine to itself."""
        until, quiet = time.monotonic() + REST_S, 0
        while quiet < QUIET_LOOKS and time.monotonic() < until and not self._stopped.is_set():
            time.sleep(LOOK_S)
            quiet = quiet + 1 if all(pipeline.is_resting() for pipeline in self._pipelines) else 0

    def stop(self) -> None:
        """End the turn soon, for good. Safe in a signal handler."""
        self._stopped.set()
        for pipeline in self._pipelines:
            pipeline.stop()

    def close(self) -> None:
        """End all streams. Works twice."""
        self._stopped.set()
        self._iterators = []
        self._undo.close()

    def _run(self, number: int, seconds: float, settle_s: float, frames: int | None) -> _Marks:
        """Carry one stream's frames; the marks at both ends of what counts."""
        pipeline = self._pipelines[number]
        entered, resumed = pipeline.telemetry.count, time.monotonic_ns()
        settled = time.monotonic() + settle_s
        while self._carry(number):
            rested = not self._closed_loop and self._newest[number] < resumed
            if time.monotonic() >= settled and not rested:
                break
        begin = self._mark(pipeline)
        enough = math.inf if frames is None else begin.count + frames
        until = time.monotonic() + seconds
        while time.monotonic() < until and pipeline.telemetry.count < enough and self._carry(number):
            pass
        end = self._mark(pipeline)
        if pipeline.options.pace is not None:
            end = replace(end, at=self._await_late(number, end.at))
        return _Marks(entered, begin, end)

    def _carry(self, number: int) -> bool:
        """Take one frame to its sink; False when there are no more, or none are wanted."""
        if self._stopped.is_set() or (frame := next(self._iterators[number], None)) is None:
            return False
        self._sinks[number].write(frame)
        self._newest[number] = frame.time.available_ns
        return True

    def _await_late(self, number: int, end_ns: int) -> int:
        """Carry on until a frame comes that was due after `end_ns`, for LATE_S at most.

        Returns:
            Until when the frames are known: `end_ns`, or sooner when the load is stopped.
        """
        until = time.monotonic() + LATE_S
        while self._newest[number] < end_ns and time.monotonic() < until:
            if not self._carry(number):
                return self._newest[number]
        return end_ns

    def _mark(self, pipeline: Pipeline) -> _Mark:
        """Called in the thread that takes the stream's frames."""
        return _Mark(
            time.monotonic_ns(),
            pipeline.telemetry.count,
            time.process_time_ns(),
        )

    def _merge(self, marks: list[_Marks]) -> Turn:
        began, ended = max(m.begin.at for m in marks), min(m.end.at for m in marks)
        return Turn(
            began=began,
            ended=ended,
            frames=tuple(_rows(p, m, began, ended) for p, m in zip(self._pipelines, marks, strict=True)),
            settled=sum(m.begin.count - m.entered for m in marks),
            process_core=max(m.end.process_core for m in marks) - min(m.begin.process_core for m in marks),
        )


def _rows(pipeline: Pipeline, marks: _Marks, began: int, ended: int) -> NDArray[Any]:
    if pipeline.options.pace is None:
        return pipeline.telemetry.frames(since=marks.begin.count)[: marks.end.count - marks.begin.count]
    rows = pipeline.telemetry.frames(since=marks.entered)
    return rows[(rows["available"] >= began) & (rows["available"] < ended)]


def _stream_info(pipeline: Pipeline) -> StreamInfo:
    info = pipeline.info
    return StreamInfo(
        format=info.format,
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        source_uri=None,
        name=pipeline.options.shown_name,
        live=info.live,
        frames=info.frames,
    )
