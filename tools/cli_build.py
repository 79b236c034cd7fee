"""The body of `cutline build`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from cutline.engine.build import BuildOptions, build
from cutline.engine.explain import explain
from cutline.engine.progress import Progress
from cutline.engine.targets import parse_precision, parse_targets
from cutline.engine.tensorrt_builder import PlanOptions
from cutline.runtime.bundle import open_bundle, resolve, shipped_names
from cutline.runtime.errors import UsageError
from cutline.runtime.manifest import Manifest
from cutline.tools.document import write_document

__all__ = ["BuildRequest", "parse_shapes", "run_build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The words of the command line. `explain` names a layer; with it and a bundle alone, nothing is built."""

    source: str
    output: str | None = None
    target: str = "openvino"
    precision: str = "auto"
    calib: list[str] = field(default_factory=list)
    table: str | None = None
    budget: float = 0.005
    shape: list[str] = field(default_factory=list)
    contract: str | None = None
    name: str | None = None
    version: int | None = None
    licence: str | None = None
    card: str | None = None
    level: int | None = None
    workspace: int | None = None
    explain: str | None = None
    json: bool = False


def run_build(request: BuildRequest) -> None:
    """Build a bundle, or explain a layer of one; findings and progress go to stderr, the result to stdout.

    Raises:
        CutlineError: see `engine.build.build`.
    """
    console = Console(stderr=True, highlight=False)
    if request.output is None:
        if request.explain is None or not request.source.endswith(".cutline"):
            raise UsageError("there is no output", remedy="Name the bundle to write with -o NAME.cutline.")
        _explain(request.source, request.explain, as_json=request.json)
        return
    options = _options(request, Path(request.output))
    with _shown(console) as progress:
        manifest = build(options, progress)
    if request.explain is not None:
        _explain(request.output, request.explain, as_json=request.json)
    elif request.json:
        _print_json({"path": request.output, "manifest": manifest})
    else:
        _summarise(manifest, request.output)


def _source(text: str) -> Path:
    """A file, or a shipped bundle by its name, as with the other verbs."""
    return resolve(text) if text in shipped_names() and not Path(text).exists() else Path(text)


def _options(request: BuildRequest, output: Path) -> BuildOptions:
    if request.level is not None and not 0 <= request.level <= 5:
        raise UsageError("there is no such optimisation level", remedy="Use 0 to 5.", level=request.level)
    if request.workspace is not None and request.workspace < 1:
        raise UsageError("the workspace limit must be positive", remedy="Give MiB.", workspace=request.workspace)
    return BuildOptions(
        source=_source(request.source),
        output=output,
        targets=parse_targets(request.target),
        precision=parse_precision(request.precision),
        calib=tuple(request.calib),
        table=Path(request.table) if request.table else None,
        budget=request.budget,
        shapes=parse_shapes(request.shape),
        hints=Path(request.contract) if request.contract else None,
        name=request.name,
        version=request.version,
        licence=request.licence,
        card=Path(request.card) if request.card else None,
        plan=PlanOptions(level=request.level, workspace_mib=request.workspace),
    )


def parse_shapes(words: list[str]) -> dict[str, tuple[int, ...]]:
    """Read `NAME=1x3x288x512`, as often as given.

    Raises:
        UsageError: a word is not of that form.
    """
    shapes = {}
    for word in words:
        name, _, text = word.rpartition("=")
        if not name or not re.fullmatch(r"\d{1,6}(x\d{1,6})*", text):
            raise UsageError("a shape cannot be read", remedy="Write --shape NAME=1x3x288x512.", shape=word)
        shapes[name] = tuple(int(part) for part in text.split("x"))
    return shapes


def _explain(bundle: str, layer: str, *, as_json: bool) -> None:
    with open_bundle(bundle) as opened:
        lines = explain(opened, layer)
    if as_json:
        _print_json({"layer": layer, "reasons": lines})
    else:
        print("\n".join(lines))


def _summarise(manifest: Manifest, output: str) -> None:
    targets = ", ".join(f"{t.kind}{':' + t.device if t.device else ''} {t.precision}" for t in manifest.targets)
    print(f"{output}: {manifest.name} version {manifest.version}; {targets}")


def _print_json(document: object) -> None:
    write_document(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


class _Lines:
    """Off a terminal: findings, and each stage once when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(f"cutline: {line}", soft_wrap=True, markup=False)

    def step(self, stage: str, fraction: float | None) -> None:
        if fraction == 1.0:
            self.say(f"{stage}: done")


class _Bar(_Lines):
    """On a terminal: findings above one bar with the time left."""

    def __init__(self, console: Console, bars: Bars) -> None:
        super().__init__(console)
        self._bars, self._stage = bars, ""
        self._task: TaskID | None = None

    def step(self, stage: str, fraction: float | None) -> None:
        if stage != self._stage:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._stage, self._task = stage, self._bars.add_task(stage, total=None)
        if self._task is not None:
            self._bars.update(self._task, total=None if fraction is None else 1.0, completed=fraction or 0.0)


@contextmanager
def _shown(console: Console) -> Iterator[Progress]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        yield _Bar(console, bars)
