"""What `cutline train style` does, as a function. Importing this file does not import PyTorch."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from cutline.runtime.errors import BadInputError, DeviceError, NoInputError, UsageError
from cutline.tools.results import write_whole
from cutline.tools.train.folder import CHECKPOINT, settled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from cutline.tools.train.style_canvas import Still
    from cutline.tools.train.style_features import Features
    from cutline.tools.train.style_loop import StyleLoopOptions
    from cutline.tools.train.style_network import StyleNet
    from cutline.tools.train.style_report import StyleFigures

__all__ = ["StyleTrainOptions", "StyleTrainReport", "train_style"]

_RATE = 4e-3
_SMALLEST = 64  # pixels, of a style image
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CROP = (96, 64)  # pixels, learned on at a time
_STILLS = ("screen", "grain", "strokes", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What lies still, and the weights of the loss (see StyleWeights)."""

    still: Still = "grain"
    style: float = 10.0
    content: float = 0.7
    colour: float = 0.1
    variation: float = 0.05
    calm: float = 6.0


_MADE_HERE = {
    "ink": _Recipe(still="none", style=14.0, content=0.6, colour=0.0, calm=25.0),
    "poster": _Recipe(still="screen", colour=0.3),
    "oil": _Recipe(still="strokes", style=80.0, content=0.12, colour=0.05, variation=0.0, calm=1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleTrainOptions:
    """Which style to learn, from what, and where the results go."""

    image: Path | None = None  # the style image; without one, `name` is ink, poster or oil, which are drawn here
    name: str = "style"  # of the bundle
    output: Path = Path("cutline-style")
    scenes: Path | None = None  # photographs to learn on, beside generated scenes
    vgg: Path | None = None  # weights of VGG-19: .npz or PyTorch, torchvision's names
    start: str | None = None  # a style to start from: a shipped name, a bundle or an ONNX that this command exported
    steps: int = 2000
    batch: int = 8
    rate: float | None = None  # highest learning rate; by default 4e-3
    seed: int = 0
    frames: int = 400  # kept in memory to learn on
    width: int = 512  # of the network's input, pixels
    height: int = 288
    still: Still | None = None  # what the network may see lie still: screen, grain, strokes or none; by default grain
    style_weight: float | None = None  # by default 10
    content_weight: float | None = None  # by default 0.7
    colour_weight: float | None = None  # how much of the picture's own colour stays; by default 0.1
    device: str = "auto"  # cpu, cuda, or auto

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "this cannot name a bundle", remedy="Use lower-case letters, digits, - and _.", name=self.name
            )
        if self.image is None and self.name not in _MADE_HERE:
            raise UsageError(
                "no style image is given", remedy=f"Add --image FILE, or use a name of {', '.join(_MADE_HERE)}."
            )
        if self.width % 64 or self.height % 32 or min(self.width, self.height) < 128:
            raise UsageError(
                "width must be a multiple of 64 and height of 32, 128 at least",
                remedy="Use 512x288.",
                width=self.width,
                height=self.height,
            )
        recipe = self.recipe
        if recipe.still not in _STILLS:
            raise UsageError(
                "nothing of that kind lies still", remedy=f"Use one of {', '.join(_STILLS)}.", still=recipe.still
            )
        if self.rate is not None and not 0 < self.rate < 1:
            raise UsageError("the learning rate must lie between 0 and 1", remedy="Use 4e-3.", rate=self.rate)
        if self.frames < 8 or min(recipe.style, recipe.content, recipe.colour) < 0:
            raise UsageError(
                "frames or a weight is out of range", remedy="Use 8 frames at least, and weights of 0 or more."
            )

    @property
    def recipe(self) -> _Recipe:
        """What was asked for, and where nothing was, what is usual for the style."""
        usual = _MADE_HERE.get(self.name, _Recipe()) if self.image is None else _Recipe()
        asked = {
            "still": self.still,
            "style": self.style_weight,
            "content": self.content_weight,
            "colour": self.colour_weight,
        }
        return replace(usual, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class StyleTrainReport:
    """What training left behind."""

    bundle: Path
    onnx: Path
    card: Path
    curves: Path
    steps: int
    loss: float  # mean of the last hundred steps
    weights: int
    gflop: float  # operations for one picture, two per multiply-add
    figures: StyleFigures


def train_style(options: StyleTrainOptions, console: Console) -> StyleTrainReport:
    """Learn a style, or go on where the last run into the same folder stopped; then export, measure and pack it.

    Raises:
        DeviceError: PyTorch is missing, or the device that was asked for is.
        UsageError: options that do not fit each other, or not the run that the folder holds.
        NoInputError, BadInputError: an image, a folder, weights or a start that is missing or of no use; a loss that
            is no number.
        ContractError: the start is another kind of network.
        OutputError, StorageError: results cannot be written.
    """
    if importlib.util.find_spec("torch") is None:
        raise DeviceError("PyTorch is missing", remedy="Run `pip install cutline[train]`.")
    from cutline.tools.scenes.packshots import load_photographs

    style = _style_image(options)
    if options.scenes is not None:
        load_photographs(options.scenes, "test")  # what it is measured on at the end must not be missed there
    loop = _loop_options(options)
    features = _features(options, style, loop.device)
    network = _network(options)
    decided = {k: v for k, v in asdict(options).items() if k not in ("output", "device", "rate")}
    with settled(options.output, decided):
        return _learn(options, loop, network, features, style, console)


def _learn(
    options: StyleTrainOptions,
    loop: StyleLoopOptions,
    network: StyleNet,
    features: Features,
    style: NDArray[np.uint8],
    console: Console,
) -> StyleTrainReport:
    from cutline.tools.train.curves import draw_curve
    from cutline.tools.train.meter import Meter
    from cutline.tools.train.style_frames import StyleFrames
    from cutline.tools.train.style_loop import StyleTrainer
    from cutline.tools.train.style_report import as_tensor

    console.print(f"making {options.frames} pictures to learn on")
    frames = StyleFrames(
        width=options.width,
        height=options.height,
        crop=_CROP,
        count=options.frames,
        scenes=options.scenes,
        seed=options.seed,
    )
    trainer = StyleTrainer(network, features, as_tensor(style), loop)
    saved = options.output / CHECKPOINT
    if saved.exists():
        trainer.resume(saved)
        console.print(f"going on after step {trainer.step}")
    with Meter(console, trainer.step, options.steps) as meter:
        trainer.run(frames, saved, meter.update)
    curves = options.output / "curves.png"
    draw_curve(tuple(trainer.losses), curves)
    console.print("measuring on held-out pictures")
    return _finish(options, trainer.average.cpu().eval(), style, trainer.losses, curves)


def _style_image(options: StyleTrainOptions) -> NDArray[np.uint8]:
    """Read or draw the style image: uint8[H, W, 3]."""
    from cutline.tools.scenes.packshots import read_picture
    from cutline.tools.train.style_images import draw_style

    if options.image is None:
        return draw_style(options.name)
    if not options.image.is_file():
        raise NoInputError("there is no such style image", remedy="Check the path.", path=str(options.image))
    picture = read_picture(options.image)
    if min(picture.shape[:2]) < _SMALLEST:
        raise BadInputError(
            "the style image is too small to learn from",
            remedy=f"Use one of {_SMALLEST} pixels a side at least; 640 are enough.",
            path=str(options.image),
            size=f"{picture.shape[1]}x{picture.shape[0]}",
        )
    return picture


def _features(options: StyleTrainOptions, style: NDArray[np.uint8], device: str) -> Features:
    from cutline.tools.train.style_features import RandomBank, load_vgg
    from cutline.tools.train.style_report import as_tensor

    features = load_vgg(options.vgg) if options.vgg else RandomBank(as_tensor(style))
    return features.to(device)


def _loop_options(options: StyleTrainOptions) -> StyleLoopOptions:
    from cutline.tools.train.command import choose_device
    from cutline.tools.train.style_loop import StyleLoopOptions
    from cutline.tools.train.style_losses import StyleWeights

    recipe = options.recipe
    return StyleLoopOptions(
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        rate=options.rate or _RATE,
        weights=StyleWeights(
            style=recipe.style,
            content=recipe.content,
            colour=recipe.colour,
            variation=recipe.variation,
            calm=recipe.calm,
        ),
        still=recipe.still,
        device=choose_device(options.device),
    )


def _network(options: StyleTrainOptions) -> StyleNet:
    import torch

    from cutline.tools.train.start import load_style_start
    from cutline.tools.train.style_network import StyleNet, StyleShape

    torch.manual_seed(options.seed)
    return load_style_start(options.start) if options.start else StyleNet(StyleShape())


def _finish(
    options: StyleTrainOptions, network: StyleNet, style: NDArray[np.uint8], losses: list[float], curves: Path
) -> StyleTrainReport:
    """Export, measure, write the card and the bundle."""
    from cutline.tools.train.style_bundle import StyleFacts, pack_style, style_card
    from cutline.tools.train.style_network import check_style_parity, style_contract, style_macs, style_to_onnx
    from cutline.tools.train.style_report import StyleReportOptions, measure_style

    model = style_to_onnx(network, width=options.width, height=options.height)
    check_style_parity(model, network)
    contract, data = style_contract(options.width, options.height), model.SerializeToString()
    figures = measure_style(data, contract, style, StyleReportOptions(scenes=options.scenes))
    facts = StyleFacts(
        name=options.name,
        image=options.image.name if options.image else None,
        weights=sum(p.numel() for p in network.parameters()),
        gflop=2e-9 * style_macs(network, options.width, options.height),
        width=options.width,
        height=options.height,
        features=options.vgg.name if options.vgg else None,
        steps=len(losses),
        seed=options.seed,
        photographs=options.scenes is not None,
        start=Path(options.start).name if options.start else None,
    )
    card, onnx, bundle = (options.output / f"{options.name}{end}" for end in (".md", ".onnx", ".cutline"))
    text = style_card(facts, figures)
    write_whole(onnx, data)
    write_whole(card, text.encode())
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    pack_style(bundle, facts, figures, data, style, text, created=created)
    recent = losses[-100:]
    return StyleTrainReport(
        bundle=bundle,
        onnx=onnx,
        card=card,
        curves=curves,
        steps=len(losses),
        loss=sum(recent) / max(1, len(recent)),
        weights=facts.weights,
        gflop=facts.gflop,
        figures=figures,
    )
