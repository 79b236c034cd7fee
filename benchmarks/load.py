"""Streams under load: pipelines that run for a turn, rest, and run again, so that scenarios can take turns."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, final

from numpy.typing import NDArray

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.frame import FrameFormat
from cutline.runtime.runner import complete_options
from cutline.runtime.sessions import Engine
from cutline.runtime.sinks import Sink, SinkOptions, StreamInfo, describe_sink, open_sink

__all__ = ["Load", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn gave, its settling left out. Times in ns; rows are FrameStamps' fields (runtime/telemetry.py)."""

    began: int  # monotonic
    ended: int
    frames: tuple[NDArray[Any], ...]  # of each stream, in the order in which they came out
    settled: int  # frames that were left out
    dropped: int  # while it was measured
    process_core: int  # of this process: all its threads


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where everything stood at one moment."""

    at: int
    count: int  # frames that came out
    dropped: int
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

    Between two turns every stream rests: it holds one frame, its queues fill up, and then nothing moves. A stream that
    is paced cannot rest, so it has one turn.
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

    @property
    def format(self) -> FrameFormat:
        """Of the first stream's frames."""
        return self._pipelines[0].format

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
        frames_of, sink, pipeline = self._iterators[number], self._sinks[number], self._pipelines[number]
        before, resumed = pipeline.telemetry.count, time.monotonic_ns()
        settled = time.monotonic() + settle_s
        while not self._stopped.is_set() and (frame := next(frames_of, None)) is not None:
            sink.write(frame)
            rested = not self._closed_loop and frame.time.available_ns < resumed
            if time.monotonic() >= settled and not rested:
                break
        mark = self._mark(pipeline)
        enough = math.inf if frames is None else mark.count + frames
        until = time.monotonic() + seconds
        while not self._stopped.is_set() and time.monotonic() < until and pipeline.telemetry.count < enough:
            if (frame := next(frames_of, None)) is None:
                break
            sink.write(frame)
        return _Marks(before, mark, self._mark(pipeline))

    def _mark(self, pipeline: Pipeline) -> _Mark:
        """Called in the thread that takes the stream's frames."""
        return _Mark(
            time.monotonic_ns(),
            pipeline.telemetry.count,
            pipeline.counts().dropped,
            time.process_time_ns(),
        )

    def _merge(self, marks: list[_Marks]) -> Turn:
        begins, ends = [m.begin for m in marks], [m.end for m in marks]
        rows = []
        for pipeline, begin, end in zip(self._pipelines, begins, ends, strict=True):
            found = pipeline.telemetry.frames(since=begin.count)
            rows.append(found[: end.count - begin.count])
        return Turn(
            began=max(b.at for b in begins),
            ended=min(e.at for e in ends),
            frames=tuple(rows),
            settled=sum(m.begin.count - m.entered for m in marks),
            dropped=sum(e.dropped - b.dropped for b, e in zip(begins, ends, strict=True)),
            process_core=max(e.process_core for e in ends) - min(b.process_core for b in begins),
        )


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
