"""Carries every frame of a stream from its pipeline to its sink, and says what came of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, final

import msgspec

from cutline.runtime.background import check_background, is_own
from cutline.runtime.errors import CutlineError, DeviceLostError, NoInputError, OutputError, UsageError
from cutline.runtime.memory import PeakMemory
from cutline.runtime.options import StreamOptions
from cutline.runtime.pipeline import Pipeline
from cutline.runtime.sessions import Engine
from cutline.runtime.sinks import SinkOptions, StreamInfo, describe_sink, open_sink
from cutline.runtime.sinks.base import ENCODER
from cutline.runtime.sinks.lent import why_not_lent
from cutline.runtime.slots import Counts
from cutline.runtime.sources import Opener
from cutline.runtime.sources.trouble import check_input

__all__ = ["RunReport", "Runner", "Running", "complete_options", "run_together"]

THROUGH_HOST: Final = "frames go to the GPU's encoder through the host"
NOTICES: Final = 500  # that a report keeps: a camera may come and go for months


class RunReport(msgspec.Struct, kw_only=True):
    """What one stream did. Durations in milliseconds, memory in MiB."""

    name: str
    input: str
    output: dict[str, Any]
    width: int
    height: int
    frames_in: int
    frames_out: int
    dropped: int
    in_flight: int  # 0: what a failure left is dropped, so that frames_in == frames_out + dropped
    seconds: float  # from the first frame's arrival to the last frame's delivery
    fps: float
    waited_s: float  # until the source was there; 0 where it was there at once
    latency_ms: dict[str, float]  # frame available to composite done
    stages_ms: dict[str, dict[str, float]]
    device: str
    precision: str
    model: str
    memory_mib: dict[str, float]  # peak resident: this process; its largest decoder
    notices: list[str]  # the last of them
    error: str | None = None
    exit_code: int = 0


def complete_options(options: StreamOptions) -> StreamOptions:
    """Fill in the background that suits the output, and refuse what the output cannot hold.

    Raises:
        UsageError: the output or background is of no known kind, or the output cannot hold transparency.
        NoInputError: input, background or plate is missing.
        OutputError: the folder of a video is missing.
    """
    check_background(options.background)
    if options.plate is not None and not Path(options.plate).exists():
        raise NoInputError("no such picture", remedy="Check the name.", plate=options.plate)
    check_input(options.input)
    traits = describe_sink(options.output, SinkOptions(stdout=options.stdout, encoder=options.encoder))
    if traits.kind == "video" and not Path(options.output).parent.is_dir():
        raise OutputError("the output's folder is not there", remedy="Make it first.", path=options.output)
    background = options.background or ("transparent" if traits.carries_alpha else "#ffffff")
    if background == "transparent" and not (traits.carries_alpha or traits.wants_alpha or options.output == "null://"):
        raise UsageError(
            "this output cannot hold transparency",
            remedy="Write a .mov, .webm or PNG files, or choose another --background.",
            output=options.output,
        )
    if options.style and options.style_on == "background" and not is_own(background):
        raise UsageError(
            "only the frame's own background can be styled",
            remedy="Use --background blur:RADIUS or original, or style the product.",
            background=background,
        )
    return msgspec.structs.replace(options, background=background)


@final
class Runner:
    """Owns the pipeline and the sink of one stream; borrows the engines."""

    def __init__(
        self,
        engine: Engine,
        options: StreamOptions,
        *,
        style: Engine | None = None,
        opener: Opener | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
        on_lost: Callable[[DeviceLostError], None] = lambda error: None,
    ) -> None:
        """Open the stream and its output.

        Args:
            opener: see Pipeline.
            on_lost: called at once when the device is lost, before anything is put in order: it may end the process.
        """
        self.notices: deque[str] = deque(maxlen=NOTICES)
        self.failure: CutlineError | None = None  # what ended the run before its end
        self._on_notice = on_notice
        self._engine, self._encoder = engine, options.encoder
        self._on_lost = on_lost
        self._opener = opener or Opener()
        self._stopped = False
        self._memory = PeakMemory()
        options = complete_options(options)
        if options.style and options.style_on == "all" and not is_own(options.background):
            self._notice(f"the style is on the product alone: {options.background} is shown as it is")
        transparent = options.background == "transparent"
        storing = SinkOptions(transparent=transparent, stdout=options.stdout, encoder=options.encoder)
        alpha = transparent or describe_sink(options.output, storing).wants_alpha
        lends = self._lends()
        with ExitStack() as undo:
            self.pipeline = Pipeline(
                engine,
                options,
                style=style,
                alpha=alpha,
                on_gpu=lends,
                opener=self._opener,
                on_notice=self._notice,
            )
            undo.callback(self.pipeline.close)
            if lends and self.pipeline.gpu is None:
                frame = self.pipeline.format
                self._notice(f"{THROUGH_HOST}: the size {frame.width}x{frame.height} is odd")
            self._sink = open_sink(options.output, self._stream_info(options), storing)
            undo.callback(self._sink.close, complete=False)
            self._undo = undo.pop_all()
        self.options = options

    def run(self, on_frame: Callable[[Counts], None] = lambda counts: None) -> RunReport:
        """Carry frames until the input ends or stop() is called. Called once.

        A failure of the input or the output is in the report, next to what was done until then: a file whose second
        half is damaged still gives its first half.
        """
        first = last = time.monotonic()
        complete = False
        try:
            for frame in self.pipeline:
                first = first if last > first else time.monotonic()
                self._sink.write(frame)
                last = time.monotonic()
                on_frame(self.pipeline.counts())
                self._memory.frame()
                if self._sink.ended:
                    self.stop()
            complete = not self._stopped
        except CutlineError as error:
            self._fail(error)
        self._memory.look()
        try:
            self._sink.close(complete=complete)
        except CutlineError as error:
            self._fail(error)
        told = self._sink.report().get("notices")
        for notice in told if isinstance(told, list) else ():
            self._notice(str(notice))
        self.close()
        return self._report(self.pipeline.counts(), last - first, self.failure)

    def stop(self) -> None:
        """Take no more frames; those in flight are delivered and the output is finished. Safe in a signal handler."""
        self._stopped = True
        self.pipeline.stop()

    def close(self) -> None:
        """Free everything. Works twice."""
        self._undo.close()

    def _lends(self) -> bool:
        """Whether composites are to be encoded on the GPU on which they are made, from where they lie."""
        named, here = ENCODER.fullmatch(self._encoder), self._engine.gpu
        if self._encoder == "x264" or named is None or here is None:
            return False
        elsewhere = int(named[1] or here) != here
        why = f"it is not that of cuda:{here}, where they are made" if elsewhere else why_not_lent()
        if why:
            self._notice(f"{THROUGH_HOST}: {why}")
        return not why

    def _fail(self, error: CutlineError) -> None:
        if isinstance(error, DeviceLostError):
            self._on_lost(error)
        self.failure = self.failure or error

    def _notice(self, text: str) -> None:
        self.notices.append(text)
        self._on_notice(text)

    def _stream_info(self, options: StreamOptions) -> StreamInfo:
        info = self.pipeline.info
        return StreamInfo(
            format=info.format,
            frame_rate=info.frame_rate,
            time_base=info.time_base,
            source_uri=options.input if options.audio and info.audio and not info.live else None,
            name=options.shown_name,
            live=info.live,
            frames=info.frames,
            limit=options.frames,
            gpu=self.pipeline.gpu,
        )

    def _report(self, counts: Counts, seconds: float, failure: CutlineError | None) -> RunReport:
        pipeline = self.pipeline
        stages = pipeline.telemetry.summary_ms()
        return RunReport(
            name=self.options.shown_name,
            input=pipeline.info.name,
            output=self._sink.report(),
            width=pipeline.format.width,
            height=pipeline.format.height,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            dropped=counts.dropped,
            in_flight=counts.in_flight,
            seconds=round(seconds, 3),
            fps=round(max(0, counts.frames_out - 1) / seconds, 2) if seconds > 0 else 0.0,
            waited_s=round(self._opener.waited_s, 1),
            latency_ms=stages.pop("latency"),
            stages_ms=stages,
            device=self._engine.device,
            precision=self._engine.precision,
            model=self._engine.name,
            memory_mib=self._memory.summary_mib(),
            notices=[*self.notices],
            error=str(failure) if failure else None,
            exit_code=failure.exit_code if failure else 0,
        )


class Running(Protocol):
    """A stream that is to run beside others: a Runner, or a LateRunner."""

    options: StreamOptions

    def run(self) -> RunReport:
        """Carry frames until the input ends or stop() is called. Called once."""

    def stop(self) -> None:
        """Take no more frames. Safe in a signal handler."""


def run_together(
    runners: Sequence[Running], on_end: Callable[[RunReport], None] = lambda report: None
) -> list[RunReport]:
    """Run several streams at once, each in a thread of its own, until all have ended.

    A stream that fails leaves the others alone; a bug of ours ends them all, in order, and is raised.

    Args:
        on_end: called with each report as soon as its stream has ended, from that stream's thread.
    """
    reports: list[RunReport] = []
    bugs: list[BaseException] = []

    def body(runner: Running) -> None:
        try:
            report = runner.run()
            reports.append(report)
            on_end(report)
        except BaseException as error:  # handed to the caller below: a thread's exception reaches nobody
            bugs.append(error)
            for other in runners:
                other.stop()

    threads = [threading.Thread(target=body, args=(runner,), name=f"run {runner.options.name}") for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if bugs:
        raise bugs[0]
    order = [runner.options.shown_name for runner in runners]
    return sorted(reports, key=lambda report: order.index(report.name))
