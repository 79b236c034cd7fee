"""Measures a network that `cutline train` made, and writes its model card beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cutline.runtime.errors import BadInputError
from cutline.tools.evaluate.command import EvalOptions, evaluate_model
from cutline.tools.results import write_whole
from cutline.tools.scenes.packshots import load_packshots, load_photographs
from cutline.tools.scenes.seeds import Split
from cutline.tools.train.card import CardFacts, model_card

__all__ = ["Record", "write_card"]

_PURPOSE = {
    False: "Cuts products, and the hands that hold them, out of a single picture.",
    True: "Cuts products, and the hands that hold them, out of the view of a fixed camera, given a picture of the "
    "empty scene.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How a network came about."""

    onnx: Path
    plate: bool
    width: int  # of the network's input, pixels
    height: int
    weights: int
    gflop: float
    start: str | None
    products: Path | None
    scenes: Path | None
    teacher: Path | None
    prune: float
    steps: int
    batch: int
    rate: float
    seed: int
    loss: float


def write_card(record: Record, shots: int, console: Console) -> Path:
    """Measure on held-out shots, print the figures, and write NAME.md, NAME.json and NAME-worst.png; return the card.

    A folder of the user's of which nothing is held out is left out of the measurement, and the card says so.

    Raises:
        OutputError, StorageError: the results cannot be written.
    """
    kept = _keeps(record.products, load_packshots), _keeps(record.scenes, load_photographs)
    products, scenes = (
        folder if has else None for folder, has in zip((record.products, record.scenes), kept, strict=True)
    )
    asked = EvalOptions(
        model=str(record.onnx), output=record.onnx.parent, shots=shots, products=products, scenes=scenes
    )
    found = evaluate_model(asked, console)
    folders = "".join(f" {word} FOLDER" for word, has in zip(("--products", "--scenes"), kept, strict=True) if has)
    facts = CardFacts(
        name=record.onnx.stem,
        purpose=_PURPOSE[record.plate],
        weights=record.weights,
        gflop=record.gflop,
        width=record.width,
        height=record.height,
        data=_data(record),
        training=_training(record),
        measured_on=f"{shots} held-out shots at {record.width}x{record.height}, seed {asked.seed} (`cutline eval "
        f"{record.onnx.name}{folders} --shots {shots}`): other goods, textures, places and seeds than in training.",
        limits=(
            f"Nobody has judged this network by eye yet: see `{record.onnx.stem}-worst.png`, the worst of these shots.",
            "Generated shots stand for real ones: try it on footage of the place where it will run.",
        ),
        licence="Apache-2.0 for what this program brings; the pictures it was trained on have licences of their own",
        floors=(),
    )
    card = record.onnx.with_suffix(".md")
    write_whole(card, model_card(facts, found).encode())
    return card


def _data(record: Record) -> list[str]:
    said = ["Composites made by this program, training split: free stills, and staged scenes."]
    for folder, what, load in (
        (record.products, "packshots", load_packshots),
        (record.scenes, "photographs as places", load_photographs),
    ):
        if folder is not None:
            rest = "one in five is held out" if _keeps(folder, load) else "too few to hold any out"
            said.append(f"In part of the stills {what} from `{folder.name}`; {rest}.")
    begun = f"It starts from `{record.start}`." if record.start else (
        "The encoder starts from the weights of EfficientNet-Lite0 that Google trained on ImageNet (Apache-2.0)."
    )  # fmt: skip
    return [*said, begun]


def _training(record: Record) -> list[str]:
    said = [
        f"{record.steps} steps of up to {record.batch} pictures, learning rate {record.rate:g} at most, seed "
        f"{record.seed}; loss {record.loss:.4f} at the end. The weights are the exponential moving average."
    ]
    if record.prune:
        said.append(f"{record.prune:.0%} of the channels were removed before.")
    if record.teacher is not None:
        said.append(f"Half of the target is the matte of `{record.teacher.name}`.")
    return said


def _keeps(folder: Path | None, load: Callable[[Path, Split], object]) -> bool:
    """Whether the folder holds pictures that training did not see."""
    if folder is None:
        return False
    try:
        load(folder, "test")
    except BadInputError:
        return False
    return True
