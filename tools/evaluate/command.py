"""What `cutline eval` does, as a function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
from rich.console import Console
from rich.table import Table

from cutline.runtime.errors import OutputError
from cutline.tools.evaluate.cases import CaseOptions, held_out_cases
from cutline.tools.evaluate.evaluation import Evaluation, evaluate
from cutline.tools.evaluate.matter import open_matter
from cutline.tools.evaluate.sheet import WorstSheet
from cutline.tools.results import write_whole

__all__ = ["EvalOptions", "evaluate_model", "figures_table"]

_COLUMNS = ("shots", "iou", "f1", "mad", "band_mad", "inside_mad", "mse", "sad", "grad", "conn", "psnr", "ssim")
_TITLES = ("shots", "IoU", "F1", "MAD", "band MAD", "inside MAD", "MSE", "SAD", "Grad", "Conn", "PSNR", "SSIM")


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
    found = evaluate(matter, held_out_cases(cases), seen=sheet.add)
    console.print(figures_table(found))
    if options.output is not None:
        _write(options.output, found, sheet)
    return found


def figures_table(found: Evaluation) -> Table:
    """One line for everything, one for each category; empty where a figure makes no sense."""
    flicker = f"flicker {found.flicker:.2f}, {found.raw_flicker:.2f} unfiltered"
    table = Table(title=f"{found.model}: {found.shots} held-out shots, {flicker}")
    table.add_column("goods")
    for title in _TITLES:
        table.add_column(title, justify="right")
    for name, figures in {"all": {**found.overall, "shots": found.shots}, **found.categories}.items():
        cells = [_cell(figures.get(column)) for column in _COLUMNS]
        table.add_row(name, *cells)
    return table


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.4f}" if value < 1 else f"{value:.2f}"


def _write(folder: Path, found: Evaluation, sheet: WorstSheet) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be made: {error.strerror}", remedy="Name another.", folder=str(folder)
        ) from error
    picture = cv2.imencode(".png", sheet.picture()[..., ::-1])[1].tobytes()
    text = msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1)
    for name, data in ((f"{found.model}.json", text), (f"{found.model}-worst.png", picture)):
        write_whole(folder / name, data)
