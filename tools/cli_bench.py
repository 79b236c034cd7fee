"""The verb `cutline bench`: words in, a measurement or a comparison, tables and files out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cutline.runtime.errors import OutputError, StorageError, UsageError
from cutline.tools.document import write_document
from cutline.tools.entry import INTERRUPTED

if TYPE_CHECKING:
    from cutline.benchmarks.bench import Bench
    from cutline.benchmarks.options import BenchOptions
    from cutline.benchmarks.schema import Document

__all__ = ["register"]

FAILED: Final = 1  # a condition of --fail-if is met
WIDE: Final = 170  # columns, where nobody looks at a terminal


def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BUNDLE] | compare A.json B.json", help="A bundle, or two results to compare."),
    ] = None,
    input: Annotated[  # noqa: A002 - the user's word
        str, typer.Option(help="Clip, or a scene that is made into one.", metavar="CLIP|synthetic://")
    ] = "synthetic://",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8; several with commas.")] = "auto",
    streams: Annotated[str, typer.Option(help="Numbers of streams; the first is used throughout.")] = "1,2,4",
    batch: Annotated[int, typer.Option(help="Samples of a query in multi stream.")] = 8,
    size: Annotated[str, typer.Option(help="720p, 1080p, 4k, WxH; the first is used throughout.")] = "",
    pace: Annotated[float, typer.Option(help="Frames a second in the paced scenario.")] = 30.0,
    duration: Annotated[float, typer.Option(help="Seconds of measuring; the run takes up to twice that.")] = 20.0,
    output: Annotated[str, typer.Option(help="Where paced frames go: null://, display://0, .mp4.")] = "null://",
    html: Annotated[Path | None, typer.Option(help="Write a report.", metavar="REPORT.html")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a trace for Perfetto.", metavar="OUT.json")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help='Exit with 1 if so, like "p99>33ms". May repeat.', metavar="CONDITION")
    ] = None,
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Open a bundle that nobody signed.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
    ] = False,
) -> None:
    """Measure latency and throughput of this machine, or compare two measurements."""
    given = words or []
    if given[:1] == ["compare"]:
        if html or trace:
            raise UsageError("a comparison has no report", remedy="Leave --html and --trace out.")
        raise typer.Exit(_compare(given[1:], fail_if or [], as_json=json))
    if len(given) > 1:
        raise UsageError("more than one bundle is given", remedy="Measure one after the other.", given=" ".join(given))
    from cutline.benchmarks.options import BenchOptions

    options = BenchOptions(
        bundle=given[0] if given else "cutout", input=input, device=device, precisions=_names(precision, "precision"),
        streams=_numbers(streams), batch=batch, sizes=_sizes(size), pace=pace, duration=duration, output=output,
        allow_unsigned=allow_unsigned,
    )  # fmt: skip
    raise typer.Exit(_measure(options, html, trace, fail_if or [], as_json=json))


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(
        epilog="Examples:  cutline bench   |   cutline bench cutout --input clip.mp4 --json > a.json   |   "
        "cutline bench compare a.json b.json --fail-if 'ratio<0.95'"
    )(bench)


def _measure(
    options: BenchOptions, html: Path | None, trace: Path | None, conditions: Sequence[str], *, as_json: bool
) -> int:
    from cutline.benchmarks.guard import parse_conditions, violations
    from cutline.benchmarks.schema import encode
    from cutline.benchmarks.table import show

    guards = parse_conditions(conditions)
    console = Console(stderr=True, highlight=False)
    with ExitStack() as undo:
        report, events = (undo.enter_context(_Promise(path)) if path else None for path in (html, trace))
        document = _run(options, console)
        if as_json:
            write_document(encode(document).decode().rstrip("\n"))
        else:
            show(document, _printer())
        if report is not None:
            from cutline.benchmarks.report import report as as_html

            report.keep(as_html(document).encode())
        if events is not None:
            from cutline.benchmarks.perfetto import trace as as_trace

            events.keep(as_trace(document))
    if not document.complete:
        console.print("cutline: interrupted: this is what there is", soft_wrap=True)
        return INTERRUPTED
    return _judge(violations(document, guards), console)


def _run(options: BenchOptions, console: Console) -> Document:
    """Measure with a progress bar, or with one line a step where there is no terminal."""
    from cutline.benchmarks.bench import Bench

    words = sys.argv[sys.argv.index("bench") + 1 :] if "bench" in sys.argv else []
    if not console.is_terminal:
        work = Bench(options, lambda text, _share: console.print(f"cutline: {text}", soft_wrap=True), words)
        with _Signals(work):
            return work.run()
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening", total=1.0)
        work = Bench(options, lambda text, share: progress.update(task, description=text, completed=share), words)
        with _Signals(work):
            return work.run()


class _Signals:
    """The first SIGINT or SIGTERM ends the measuring in order, a second one ends the process."""

    def __init__(self, work: Bench) -> None:
        self._work = work
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        signal.signal(number, signal.SIG_DFL)
        if not self._work.measuring:
            raise KeyboardInterrupt  # there is nothing yet
        self._work.stopping.stop()


class _Promise:
    """Owns a part file beside a result's place from before the measuring, so that nobody measures in vain."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.stem}.part{path.suffix}")
        remedy = "Choose a folder that exists and that you may write to."
        if path.is_dir():
            raise OutputError("the report's place is a folder", remedy="Name a file.", path=str(path))
        try:
            self._file = self._part.open("wb")
        except OSError as error:
            raise OutputError(
                "cannot create the report", remedy=remedy, path=str(path), reason=error.strerror
            ) from error

    def __enter__(self) -> _Promise:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def keep(self, data: bytes) -> None:
        """Write, and take the place.

        Raises:
            StorageError: the disk is full.
        """
        try:
            self._file.write(data)
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise StorageError(
                "writing the report failed", remedy="Free some space.", path=str(self._path), reason=error.strerror
            ) from error


def _compare(files: Sequence[str], conditions: Sequence[str], *, as_json: bool) -> int:
    from cutline.benchmarks.compare import compare, parse_ratio, show_comparison, violations
    from cutline.benchmarks.schema import read

    if len(files) != 2:
        raise UsageError(
            "compare takes two results", remedy="Write: cutline bench compare a.json b.json", given=len(files)
        )
    guards = [parse_ratio(text) for text in conditions]
    first, second = (read(Path(file)) for file in files)
    found = compare(first, second, (Path(files[0]).name, Path(files[1]).name))
    if as_json:
        write_document(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        show_comparison(found, _printer())
    return _judge(violations(found, guards), Console(stderr=True, highlight=False))


def _judge(met: Sequence[str], console: Console) -> int:
    for line in met:
        console.print(f"cutline: failed: {line}", soft_wrap=True, markup=False)
    return FAILED if met else 0


def _printer() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def _names(text: str, option: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise UsageError(f"{option} is empty", remedy="See `cutline bench --help`.")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise UsageError("streams are no numbers", remedy="Write --streams 1,2,4.", streams=text) from None


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    if not text:
        return ()
    from cutline.benchmarks.clips import parse_size

    return tuple(dict.fromkeys(parse_size(word.strip()) for word in text.split(",")))
