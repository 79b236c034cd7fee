"""What `cutline train` does, as a function. Importing this file does not import PyTorch."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cutline.runtime.errors import DeviceError, UsageError
from cutline.tools.results import write_whole
from cutline.tools.train.folder import CHECKPOINT, settled

if TYPE_CHECKING:
    from rich.console import Console

    from cutline.tools.train.checkpoint import Checkpoint
    from cutline.tools.train.data import FeedOptions
    from cutline.tools.train.loop import LoopOptions, Trainer
    from cutline.tools.train.networks import CutNet

__all__ = ["TrainOptions", "TrainReport", "choose_device", "train"]

_FINE_TUNING_RATE = 3e-4
_SCRATCH_RATE = 6e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and where the results go."""

    network: str | None = None  # cutout or cutout-plate; None: what it starts from, or cutout
    output: Path = Path("cutline-train")
    start: str | None = None  # our network by name, a bundle, or an ONNX that this command exported
    products: Path | None = None  # packshots on white, mixed with generated goods
    scenes: Path | None = None  # photographs to put goods into
    teacher: Path | None = None  # an ONNX matting network to learn from
    prune: float = 0.0  # share of the channels to remove before training
    steps: int = 20_000
    batch: int = 16  # at half the size; less at full size
    rate: float | None = None  # highest learning rate; by default 6e-3 from scratch, 3e-4 otherwise
    seed: int = 0
    width: int = 512  # of the network's input, pixels
    height: int = 288
    makers: int = 1  # processes that make pictures
    pool: int = 1024  # pictures kept ready, 1 MB each
    device: str = "auto"  # cpu, cuda, or auto
    measured: int = 48  # held-out shots that the card's figures are taken on

    def __post_init__(self) -> None:
        if self.width % 32 or self.height % 32 or min(self.width, self.height) < 32:
            raise UsageError(
                "network sides must be multiples of 32", remedy="Use 512x288.", width=self.width, height=self.height
            )
        if self.rate is not None and not 0 < self.rate < 1:
            raise UsageError("the learning rate must lie between 0 and 1", remedy="Use 3e-4.", rate=self.rate)
        if self.batch < 2 or self.makers < 1 or self.pool < 8:
            raise UsageError(
                "batch, makers or pool is too small",
                remedy="Use a batch of 2, one maker and a pool of 8 at least.",
                batch=self.batch,
                makers=self.makers,
                pool=self.pool,
            )


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What training left behind."""

    onnx: Path
    contract: Path
    card: Path
    curves: Path
    steps: int
    loss: float  # mean of the last hundred steps
    weights: int
    gflop: float  # operations for one picture, two per multiply-add


def train(options: TrainOptions, console: Console) -> TrainReport:
    """Train a network, or go on where the last run into the same folder stopped; then export and measure it.

    Raises:
        DeviceError: PyTorch is missing, or the device that was asked for is.
        UsageError: options that do not fit each other, or not the run that the folder holds.
        NoInputError, BadInputError: a folder, teacher or start that is missing or of no use; a loss that is no number.
        ContractError: a teacher or a start with other inputs or outputs.
        OutputError, StorageError: results cannot be written.
    """
    if importlib.util.find_spec("torch") is None:
        raise DeviceError("PyTorch is missing", remedy="Run `pip install cutline[train]`.")
    with settled(options.output, _decided(options)):
        return _train(options, console)


def _train(options: TrainOptions, console: Console) -> TrainReport:
    from cutline.tools.train.checkpoint import load_checkpoint
    from cutline.tools.train.curves import draw_curve
    from cutline.tools.train.data import Feed
    from cutline.tools.train.loop import Trainer
    from cutline.tools.train.meter import Meter
    from cutline.tools.train.teacher import OnnxTeacher

    saved, resume = options.output / CHECKPOINT, None
    if saved.exists():
        resume = load_checkpoint(saved)
        console.print(f"going on after step {resume.step}")
    network = _network(options, resume)
    trainer = Trainer(network, _loop(options, network), resume=resume)
    teacher = OnnxTeacher(options.teacher, plate=network.shape.plate) if options.teacher else None
    curves = options.output / "curves.png"

    def draw() -> None:
        draw_curve(tuple(trainer.losses), curves)

    if trainer.step < options.steps:
        feed = Feed(_feed(options, network, trainer.step))
        with closing(feed), Meter(console, trainer.step, options.steps) as meter:
            trainer.run(feed, saved, teacher=teacher, progress=meter.update, saved=draw)
    draw()
    return _finish(options, trainer, curves, console)


def _decided(options: TrainOptions) -> dict[str, object]:
    """What a run that goes on must have in common with the one that began."""
    return {
        "network": options.network,
        "start": options.start,
        "prune": options.prune,
        "seed": options.seed,
        "steps": options.steps,
        "batch": options.batch,
        "size": [options.width, options.height],
    }


def _loop(options: TrainOptions, network: CutNet) -> LoopOptions:
    from cutline.tools.train.loop import LoopOptions, standard_stages

    return LoopOptions(
        steps=options.steps,
        seed=options.seed,
        rate=options.rate or (_SCRATCH_RATE if network.norm else _FINE_TUNING_RATE),
        stages=standard_stages(options.width, options.height, options.batch),
        device=choose_device(options.device),
    )


def _feed(options: TrainOptions, network: CutNet, done: int) -> FeedOptions:
    from cutline.tools.train.data import FeedOptions

    return FeedOptions(
        products=options.products,
        scenes=options.scenes,
        decoys=network.shape.plate,
        width=options.width,
        height=options.height,
        seed=options.seed,
        capacity=options.pool,
        first=max(1, options.pool // 5),
        makers=options.makers,
        done=done,
        batch=options.batch,
    )


def _network(options: TrainOptions, resume: Checkpoint | None) -> CutNet:
    """The network to train: as it was saved, read back from an export, pruned, or fresh."""
    import torch

    from cutline.tools.train.networks import CutNet, preset, with_plate
    from cutline.tools.train.prune import prune
    from cutline.tools.train.start import load_start, make_network

    if resume is not None:
        return CutNet(resume.shape, norm=resume.norm)
    torch.manual_seed(options.seed)
    if options.start is None:
        if options.prune:
            raise UsageError("only a trained network can be pruned", remedy="Add --from cutout.", prune=options.prune)
        return make_network(options.network or "cutout")
    network = load_start(options.start)
    if options.network is not None and preset(options.network).plate != network.shape.plate:
        if network.shape.plate:
            raise UsageError(
                "the start needs a plate, and the network is to do without",
                remedy="Start from cutout, or from scratch.",
                start=options.start,
            )
        network = with_plate(network)
    return prune(network, options.prune) if options.prune else network


def choose_device(name: str) -> str:
    """Return "cpu" or "cuda".

    Raises:
        UsageError: no such device.
        DeviceError: cuda is asked for, and there is none.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError("no such device", remedy="Use auto, cpu or cuda.", device=name)
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise DeviceError("PyTorch finds no CUDA device", remedy="Check the driver, or use cpu.")
    return "cuda" if found and name != "cpu" else "cpu"


def _finish(options: TrainOptions, trainer: Trainer, curves: Path, console: Console) -> TrainReport:
    """Write NAME.onnx and NAME.contract.json, checked against PyTorch; measure the network and write its card."""
    from cutline.runtime.contract import contract_to_json
    from cutline.tools.train.export import check_parity, contract_of, network_to_onnx
    from cutline.tools.train.networks import multiply_adds
    from cutline.tools.train.record import Record, write_card

    final = trainer.checkpoint()
    network, recent = final.averaged(), final.losses[-100:]
    model = network_to_onnx(network, width=options.width, height=options.height)
    check_parity(model, network)
    name = "cutout-plate" if network.shape.plate else "cutout"
    onnx, contract = (options.output / f"{name}{suffix}" for suffix in (".onnx", ".contract.json"))
    write_whole(onnx, model.SerializeToString())
    described = contract_of(network.shape, width=options.width, height=options.height)
    write_whole(contract, contract_to_json(described))
    record = Record(
        onnx=onnx,
        plate=network.shape.plate,
        width=options.width,
        height=options.height,
        weights=sum(p.numel() for p in network.parameters()),
        gflop=2e-9 * multiply_adds(network, options.width, options.height),
        start=Path(options.start).name if options.start else None,
        products=options.products,
        scenes=options.scenes,
        teacher=options.teacher,
        prune=options.prune,
        steps=final.step,
        batch=options.batch,
        rate=trainer.options.rate,
        seed=options.seed,
        loss=sum(recent) / max(1, len(recent)),
    )
    return TrainReport(
        onnx=onnx,
        contract=contract,
        card=write_card(record, options.measured, console),
        curves=curves,
        steps=record.steps,
        loss=record.loss,
        weights=record.weights,
        gflop=record.gflop,
    )
