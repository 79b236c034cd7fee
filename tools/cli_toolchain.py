"""The verbs of the toolchain: build, train and eval. Their libraries are imported when the verb is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from cutline.runtime.errors import DeviceError
from cutline.tools.document import write_document

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


def build(
    source: Annotated[
        str, typer.Argument(metavar="MODEL.onnx|BUNDLE", help="Trained network, or a bundle to rebuild.")
    ],
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Bundle to write.", metavar="OUT.cutline")
    ] = None,
    target: Annotated[
        str, typer.Option(help="openvino, tensorrt, tensorrt-rtx:sm86,sm89, cuda:sm87; several with commas.")
    ] = "openvino",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
    calib: Annotated[
        list[str] | None, typer.Option(help="Footage to calibrate on: folder, clip, camera. May repeat.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Calibration table of an earlier build.")] = None,
    budget: Annotated[float, typer.Option(help="Largest mean error of the matte against FP32.", metavar="MAD")] = 0.005,
    shape: Annotated[list[str] | None, typer.Option(help="Freeze an input: NAME=1x3x288x512. May repeat.")] = None,
    contract: Annotated[str | None, typer.Option(help="model.toml that states what cannot be detected.")] = None,
    name: Annotated[str | None, typer.Option(help="Name inside the bundle.")] = None,
    version: Annotated[int | None, typer.Option(help="Version inside the bundle; grows with every release.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the network.")] = None,
    card: Annotated[str | None, typer.Option(help="Model card (Markdown) to pack.")] = None,
    level: Annotated[int | None, typer.Option(help="TensorRT optimisation level, 0 to 5.")] = None,
    workspace: Annotated[int | None, typer.Option(help="TensorRT workspace limit in MiB.")] = None,
    explain: Annotated[str | None, typer.Option(help="Say why this layer has its precision.", metavar="LAYER")] = None,
    json: Json = False,
) -> None:
    """Turn a trained ONNX network into calibrated, proven engines in one signed bundle."""
    with _toolchain("build"):
        from cutline.tools.cli_build import BuildRequest, run_build
    request = BuildRequest(
        source=source, output=output, target=target, precision=precision, calib=calib or [], table=table,
        budget=budget, shape=shape or [], contract=contract, name=name, version=version, licence=licence, card=card,
        level=level, workspace=workspace, explain=explain, json=json,
    )  # fmt: skip
    run_build(request)


def train(
    context: typer.Context,
    network: Annotated[
        str | None, typer.Option(help="cutout, or cutout-plate for fixed cameras; by default what it starts from.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints and results.")] = Path(
        "cutline-train"
    ),
    start: Annotated[
        str | None, typer.Option("--from", help="Start from a shipped network, a bundle or an ONNX.")
    ] = None,
    products: Annotated[Path | None, typer.Option(help="Folder of packshots on white.")] = None,
    scenes: Annotated[Path | None, typer.Option(help="Folder of photographs to put goods into.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="ONNX matting network to learn from.")] = None,
    prune: Annotated[float, typer.Option(help="Share of the channels to remove first, 0 to 0.9.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Length of the training.")] = 20_000,
    batch: Annotated[int, typer.Option(help="Pictures a step, at half the size.")] = 16,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate; by default 6e-3 from scratch, 3e-4 otherwise.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same first losses.")] = 0,
    makers: Annotated[int, typer.Option(help="Processes that make pictures.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    json: Json = False,
) -> None:
    """Train a cut-out network, on generated goods or on your own packshots; resumes where it was stopped."""
    if context.invoked_subcommand is not None:
        return
    from cutline.tools.train.command import TrainOptions
    from cutline.tools.train.command import train as run

    options = TrainOptions(
        network=network, output=output, start=start, products=products, scenes=scenes, teacher=teacher, prune=prune,
        steps=steps, batch=batch, rate=rate, seed=seed, makers=makers, device=device,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    report = run(options, console)
    if json:
        _print_json(report)
    else:
        console.print(f"{report.onnx}: {report.weights:,} weights, {report.gflop:.2f} GFLOP, loss {report.loss:.4f}")


def train_style(
    image: Annotated[
        Path | None, typer.Option(help="Picture whose look is learnt; none: --name ink, poster or oil.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "style",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints and results.")] = Path(
        "cutline-style"
    ),
    scenes: Annotated[Path | None, typer.Option(help="Folder of photographs to learn on.")] = None,
    vgg: Annotated[Path | None, typer.Option(help="VGG-19 weights, .npz or PyTorch; else filters made here.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Start from a shipped style, a bundle or an ONNX.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Length of the training.")] = 2000,
    rate: Annotated[float | None, typer.Option(help="Highest learning rate; by default 4e-3.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same first losses.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    json: Json = False,
) -> None:
    """Learn the look of a picture, for `cutline run --style`."""
    from cutline.tools.train.style import StyleTrainOptions
    from cutline.tools.train.style import train_style as run

    options = StyleTrainOptions(
        image=image, name=name, output=output, scenes=scenes, vgg=vgg, start=start, steps=steps, rate=rate, seed=seed,
        device=device,
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    report = run(options, console)
    if json:
        _print_json(report)
    else:
        figures = report.figures
        console.print(f"{report.bundle}: {report.weights:,} weights, {report.gflop:.2f} GFLOP, loss {report.loss:.4f}")
        console.print(
            f"content: SSIM {figures.content_ssim:.3f} to the input; style: Gram distance {figures.style_after:.3f}, "
            f"{figures.style_before:.3f} before; flicker: {figures.flicker:.2f} of the input's own"
        )


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Name of a shipped bundle, a .cutline file, or an ONNX with its contract.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the JSON and the worst frames.")
    ] = None,
    shots: Annotated[int, typer.Option(help="How many held-out pictures.")] = 300,
    products: Annotated[Path | None, typer.Option(help="Folder of packshots on white.")] = None,
    scenes: Annotated[Path | None, typer.Option(help="Folder of photographs.")] = None,
    json: Json = False,
) -> None:
    """Measure a network on goods and scenes that it has never seen."""
    with _toolchain("build"):
        from cutline.tools.evaluate.command import EvalOptions, evaluate_model
    console = Console(stderr=json, highlight=False)
    found = evaluate_model(
        EvalOptions(model=model, output=output, shots=shots, products=products, scenes=scenes), console
    )
    if json:
        _print_json(found)


def register(app: typer.Typer) -> None:
    """Add the toolchain's verbs to the command."""
    app.command(
        epilog="Examples:  cutline build model.onnx -o model.cutline --calib footage/   |   "
        "cutline build model.cutline -o orin.cutline --target tensorrt"
    )(build)
    app.command(
        "eval",
        epilog="Examples:  cutline eval cutout   |   cutline eval cutout --products goods/ --scenes shop/ -o out/",
    )(evaluate)
    training = typer.Typer(no_args_is_help=False)
    training.callback(
        invoke_without_command=True,
        epilog="Examples:  cutline train --from cutout --products goods/   |   cutline train --network cutout-plate",
    )(train)
    training.command(
        "style",
        epilog="Examples:  cutline train style --image leaf.jpg --name leaf   |   cutline train style --name ink",
    )(train_style)
    app.add_typer(training, name="train")


@contextmanager
def _toolchain(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise DeviceError(f"{error.name} is not installed", remedy=f"Run `pip install 'cutline[{extra}]'`.") from error


def _print_json(document: Any) -> None:
    data = msgspec.json.encode(document, enc_hook=str)
    write_document(msgspec.json.format(data, indent=2).decode())
