"""The body of `cutline run`: options and site files in, running streams, a report out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import BadInputError, CutlineError, DeviceLostError, NoInputError, UsageError
from cutline.runtime.late_runner import LateRunner
from cutline.runtime.options import StreamOptions
from cutline.runtime.printable import printable
from cutline.runtime.runner import Runner, Running, RunReport, complete_options, run_together
from cutline.runtime.sessions import Engine, EngineOptions, devices, open_engine
from cutline.runtime.slots import Counts
from cutline.runtime.sources import is_live
from cutline.runtime.supervisor import Supervisor
from cutline.tools.document import write_document

__all__ = ["RunRequest", "read_site", "run_here", "run_streams"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the command line said. `stream` holds StreamOptions' fields but for the input."""

    input: str | None
    site: str | None
    model: str
    style: str | None
    stream: dict[str, Any]
    device: str
    precision: str
    optimise: str
    allow_unsigned: bool
    json: bool


def run_streams(request: RunRequest) -> int:
    """Run one stream, or all streams of a site file, until they end or a signal comes. Returns the exit code.

    What may use a GPU runs in a process of its own: after some errors a process can do nothing more on the device.

    Raises:
        CutlineError: when a stream cannot even start.
    """
    if not _may_use_gpu(request):
        return run_here(request)
    from cutline.tools.compute import start_compute

    console = Console(stderr=True, highlight=False)
    piped = any(options.output == "-" and options.stdout != "events" for options in _streams(request))
    once = "part of a video has gone to standard output" if piped else ""
    supervisor = Supervisor(lambda: start_compute(request), _printer(console, ""), once=once)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda caught, frame: supervisor.stop(caught))
    return supervisor.run()


def run_here(
    request: RunRequest,
    on_lost: Callable[[DeviceLostError], None] = lambda error: None,
    on_open: Callable[[], None] = lambda: None,
) -> int:
    """Run the streams in this process.

    Args:
        on_lost: see Runner.
        on_open: called when the networks are ready, before the first frame.
    Raises:
        CutlineError: when a stream cannot even start.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
    streams = _streams(request)
    if request.json and any(options.output == "-" for options in streams):
        raise UsageError("the output - and --json both want stdout", remedy="Leave one of them out.")
    console = Console(stderr=True, highlight=False)
    for options in streams:
        with _named(f"{options.shown_name}: " if request.site is not None else ""):
            complete_options(options)  # what is missing is said before a network is compiled
    with ExitStack() as stack:
        engine, styles = _engines(request, streams, stack)
        why = f" (auto: {engine.chosen})" if engine.chosen else ""
        console.print(f"cutline: {engine.name} on {engine.device}, {engine.precision}{why}", soft_wrap=True)
        runners: list[Running] = []
        for options in streams:
            label = f"{options.shown_name}: " if request.site is not None else ""
            waits = request.site is not None and is_live(options.input)  # nobody is there to start a site once more
            with _named(label):
                runner = (LateRunner if waits else Runner)(
                    engine,
                    options,
                    style=styles.get(options.style or ""),
                    on_notice=_printer(console, label),
                    on_lost=on_lost,
                )
            if isinstance(runner, Runner):
                stack.callback(runner.close)
            runners.append(runner)
        on_open()
        _stop_on_signals(runners)
        if isinstance(runners[0], Runner) and request.site is None:
            reports = [_run_with_progress(runners[0], console)]
            _complain(reports[0], console, "")
        else:
            reports = run_together(runners, lambda report: _complain(report, console, f"{report.name}: "))
    _show(reports, console, as_json=request.json)
    return next((report.exit_code for report in reports if report.exit_code), 0)


def read_site(path: Path) -> list[StreamOptions]:
    """Read a site file: one table per stream, its keys the options of `cutline run` with underscores or hyphens.

    Raises:
        NoInputError: there is no such file.
        BadInputError: it is not TOML, or has no table.
        UsageError: an option is unknown or out of range; the message names the stream.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError("site file does not exist", remedy="Check the path.", streams=str(path)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"site file cannot be read: {error}", remedy="Correct it.", streams=str(path)) from error
    if not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise BadInputError(
            "site file has no tables", remedy="Write one [table] per stream, with an input.", streams=str(path)
        )
    streams = [_options({"name": name, **table}, f"stream {name}: ") for name, table in tables.items()]
    outputs = [_place(s.output) for s in streams if "://" not in s.output]
    if len(set(outputs)) < len(outputs):
        raise UsageError(
            "two inputs with one output", remedy="Give each stream an output of its own.", streams=str(path)
        )
    if taken := {_place(s.input) for s in streams if s.input != "-"}.intersection(outputs):
        raise UsageError(
            "an output is another stream's input", remedy="Name another file.", streams=str(path), output=taken.pop()
        )
    return streams


def _place(name: str) -> str:
    """One name for a file, however it is spelt."""
    return name if name == "-" else str(Path(name).resolve())


def _streams(request: RunRequest) -> list[StreamOptions]:
    if request.site is not None:
        if request.input is not None:
            raise UsageError("an input and a site file are given", remedy="Give INPUT or --streams, not both.")
        usual = msgspec.to_builtins(StreamOptions(input="-"))
        if void := [f"--{name.replace('_', '-')}" for name, value in request.stream.items() if value != usual[name]]:
            raise UsageError(
                f"with a site file {', '.join(sorted(void))} would change nothing",
                remedy="Write it into the tables of the streams.",
            )
        tables = read_site(Path(request.site))
        return [msgspec.structs.replace(stream, style=stream.style or request.style) for stream in tables]
    if request.input is None:
        raise UsageError("no input is given", remedy="Give INPUT, or --streams SITE.toml.")
    return [_options({"input": request.input, "style": request.style, **request.stream}, "")]


def _options(fields: dict[str, Any], where: str) -> StreamOptions:
    named = {key.replace("-", "_"): value for key, value in fields.items()}
    try:
        return msgspec.convert(named, StreamOptions)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}{error}", remedy="See `cutline run --help`.") from error


def _may_use_gpu(request: RunRequest) -> bool:
    """Whether the network, a decoder or an encoder may come to run on a GPU."""
    demand = devices.parse_device(request.device)
    if not devices.driver_is_there():
        return False
    streams = _streams(request)
    if demand.kind == "cuda" or any((s.decoder, s.encoder) != ("cpu", "x264") for s in streams):
        return True
    if demand.kind == "cpu":
        return False
    with open_bundle(_model(request, streams), allow_unsigned=request.allow_unsigned) as bundle:
        return devices.why_not_gpu(bundle, EngineOptions()) is None


def _model(request: RunRequest, streams: list[StreamOptions]) -> str:
    with_plate = any(s.plate is not None or s.learn_plate is not None for s in streams)
    return request.model or ("cutout-plate" if with_plate else "cutout")


def _engines(request: RunRequest, streams: list[StreamOptions], stack: ExitStack) -> tuple[Engine, dict[str, Engine]]:
    """Open and compile the network, and the style networks that are asked for; they live until the stack unwinds."""
    file = any(Path(s.input).is_file() and s.pace is None for s in streams)
    optimise = (
        request.optimise if request.optimise != "auto" else ("throughput" if file or len(streams) > 1 else "latency")
    )
    try:
        options = msgspec.convert(
            {"device": request.device, "precision": request.precision, "optimise": optimise}, EngineOptions
        )
    except msgspec.ValidationError as error:
        raise UsageError(str(error), remedy="See `cutline run --help`.") from error

    def opened(name: str, task: str) -> Engine:
        with open_bundle(name, allow_unsigned=request.allow_unsigned) as bundle:
            if bundle.manifest.contract.task != task:
                raise UsageError(
                    f"--{'style' if task == 'style' else 'model'} wants a {task} network, and this is none",
                    remedy="`cutline inspect` says what a bundle is for.",
                    bundle=name,
                )
            engine = open_engine(bundle, options)
        stack.callback(engine.close)
        return engine

    matte = opened(_model(request, streams), "matte")
    return matte, {name: opened(name, "style") for name in dict.fromkeys(s.style for s in streams) if name}


def _complain(report: RunReport, console: Console, label: str) -> None:
    if report.error:
        _printer(console, label)(report.error)


def _printer(console: Console, label: str) -> Callable[[str], None]:
    return lambda text: console.print(printable(f"cutline: {label}{text}"), soft_wrap=True, markup=False)


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Let an error say which of several streams it is about."""
    try:
        yield
    except CutlineError as error:
        if label:
            raise type(error)(f"{label}{error.what}", remedy=error.remedy, **error.facts) from error
        raise


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signal module's signature
    """While streams are opened nothing is to be finished: undo what was made. A second one ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _stop_on_signals(runners: Sequence[Running]) -> None:
    """The first SIGINT or SIGTERM ends the streams in order; a second one ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        signal.signal(number, signal.SIG_DFL)
        for runner in runners:
            runner.stop()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)


def _run_with_progress(runner: Runner, console: Console) -> RunReport:
    if not console.is_terminal:
        return runner.run()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(runner.options.shown_name, total=runner.options.frames or runner.pipeline.info.frames)

        def on_frame(counts: Counts) -> None:
            progress.update(task, completed=counts.frames_out)

        return runner.run(on_frame)


def _printable(value: Any) -> Any:
    """The same document, its texts fit for JSON, which is UTF-8; paths need not be."""
    if isinstance(value, dict):
        return {name: _printable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_printable(part) for part in value]
    return printable(value) if isinstance(value, str) else value


def _show(reports: list[RunReport], console: Console, *, as_json: bool) -> None:
    if as_json:
        document = msgspec.json.encode({"streams": _printable(msgspec.to_builtins(reports))})
        write_document(msgspec.json.format(document, indent=2).decode())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("stream", "in", "out", "dropped", "fps", "p50 ms", "p90 ms", "p99 ms", "MiB"):
        table.add_column(column, justify="left" if column == "stream" else "right")
    for r in reports:
        latency = [f"{r.latency_ms[name]:.1f}" if r.latency_ms else "-" for name in ("p50", "p90", "p99")]
        counts = (str(r.frames_in), str(r.frames_out), str(r.dropped))
        table.add_row(r.name, *counts, f"{r.fps:.1f}", *latency, f"{r.memory_mib.get('process', 0):.0f}")
    console.print(table)
