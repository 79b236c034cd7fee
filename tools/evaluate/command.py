"""What `cutline eval` does, as a function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cutline.runtime.errors import OutputError
from cutline.tools.evaluate.cases import Case, CaseOptions, held_out_cases, held_out_clips
from cutline.tools.evaluate.evaluation import Evaluation, FrameFigures, evaluate
from cutline.tools.evaluate.matter import open_matter
from cutline.tools.evaluate.sheet import WorstSheet
from cutline.tools.results import write_whole

__all__ = ["EvalOptions", "evaluate_model", "figures_tables"]

_EVERY = 50  # shots between two lines where there is no terminal
_BY_GOODS = {
    "shots": "shots",
    "iou": "IoU",
    "f1": "F1",
    "mad": "MAD",
    "band_mad": "band MAD",
    "inside_mad": "inside MAD",
}
_OF_ALL = {"mse": "MSE", "sad": "SAD", "grad": "Grad", "conn": "Conn", "psnr": "PSNR dB", "ssim": "SSIM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """What to measure, on what, and where the results go."""

    model: str  # a shipped bundle's name, a .cutline file, or an .onnx file with its contract beside it
    output: Path | None = None  # folder for NAME.json and NAME-worst.png
    shots: int = 300
    seed: int = 900_000
    products: Path | None = None
    scenes: Path | None = None


def evaluate_model(options: EvalOptions, console: Console) -> Evaluation:
    """Measure a network on held-out shots at its own size, print the table, and write JSON and the worst 24.

    Raises:
        NoInputError: the model or a folder is missing.
        BadInputError, ContractError, TrustError: the model cannot be used.
        OutputError, StorageError: the results cannot be written.
    """
    matter = open_matter(options.model)
    frame = matter.contract.frame
    cases = CaseOptions(
        shots=options.shots,
        seed=options.seed,
        width=frame.width,
        height=frame.height,
        products=options.products,
        scenes=options.scenes,
        decoys=matter.contract.plate is not None,
    )
    sheet = WorstSheet()
    with _Progress(console, options.shots) as progress:

        def seen(case: Case, alpha: NDArray[np.float32], figures: FrameFigures) -> None:
            sheet.add(case, alpha, figures)
            progress.step()

        found = evaluate(matter, held_out_cases(cases), held_out_clips(cases), seen=seen)
    console.print(*figures_tables(found), sep="\n")
    if options.output is not None:
        for path in _write(options.output, found, sheet):
            console.print(f"written: {path}", soft_wrap=True)
    return found


def figures_tables(found: Evaluation) -> tuple[Table, Table]:
    """What is measured of each kind of goods too, and what of everything alone; 80 columns wide at most."""
    by_goods = Table(title=f"{found.model}: {found.shots} held-out shots")
    by_goods.add_column("goods")
    for title in _BY_GOODS.values():
        by_goods.add_column(title, justify="right")
    for name, figures in {"all": {**found.overall, "shots": found.shots}, **found.categories}.items():
        by_goods.add_row(name, *(_cell(figures.get(column), column) for column in _BY_GOODS))
    of_all = Table()
    for title in (*_OF_ALL.values(), "flicker", "dtSSD"):
        of_all.add_column(title, justify="right")
    over_time = ((found.flicker, found.raw_flicker), (found.dtssd, found.raw_dtssd))
    pairs = ("" if a is None or b is None else f"{a:.2f} ({b:.2f})" for a, b in over_time)
    of_all.add_row(*(_cell(found.overall.get(column), column) for column in _OF_ALL), *pairs)
    of_all.caption = "SAD, Grad and Conn in thousands; flicker and dtSSD x 100, in brackets without the temporal filter"
    return by_goods, of_all


def _cell(value: float | None, name: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if name == "shots" else f"{value:.4f}" if value <= 1 else f"{value:.2f}"


@final
class _Progress:
    """Owns a progress bar while it is entered; without a terminal, prints a line now and then."""

    def __init__(self, console: Console, shots: int) -> None:
        self._console, self._shots, self._done = console, shots, 0
        self._bar = Progress(
            *(TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn()),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=shots)

    def step(self) -> None:
        self._done += 1
        self._bar.advance(self._task)
        if not self._console.is_terminal and self._done % _EVERY == 0:
            self._console.print(f"{self._done} of {self._shots} shots")

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _write(folder: Path, found: Evaluation, sheet: WorstSheet) -> list[Path]:
    """Write the JSON and the sheet; return their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be made: {error.strerror}", remedy="Name another.", folder=str(folder)
        ) from error
    picture = cv2.imencode(".png", sheet.picture()[..., ::-1])[1].tobytes()
    text = msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1)
    written = {folder / f"{found.model}.json": text, folder / f"{found.model}-worst.png": picture}
    for path, data in written.items():
        write_whole(path, data)
    return list(written)
