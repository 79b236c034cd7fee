"""The `cutline` command: parses words, calls one function per verb, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Final, NoReturn

import typer

from cutline.runtime.cuda.watchdog import Watchdog
from cutline.runtime.errors import CutlineError, UsageError
from cutline.runtime.printable import printable
from cutline.tools import cli_bench
from cutline.tools.cli_toolchain import register
from cutline.tools.document import arrived
from cutline.tools.entry import INTERRUPTED

__all__ = ["app", "end_hung", "guarded", "main"]

USAGE: Final = 64
BUG: Final = 70

# what typer raises for words that it cannot parse; older releases take the class from click, newer ones carry their own
WrongWords: Final[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="cutline",
    help="Cuts products out of live video and composes them onto something better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


@app.command(
    epilog="Examples:  cutline run in.mp4 out.mp4   |   cutline run /dev/video0 display://0 --background studio.jpg"
)
def run(
    input: Annotated[  # noqa: A002 - the user's word
        str | None,
        typer.Argument(help="File, folder, glob, -, /dev/video0, rtsp://..., synthetic://kiosk?seed=1"),
    ] = None,
    output: Annotated[
        str,
        typer.Argument(help="out.mp4, .mov, .webm, out-%05d.png, folder/, -, display://0, null://, events.jsonl"),
    ] = "null://",
    streams: Annotated[
        str | None, typer.Option(help="Run every stream of this TOML file.", metavar="SITE.toml")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a shipped bundle, or a .cutline file.")] = "",
    background: Annotated[
        str, typer.Option(help="#rrggbb, image, video, blur:RADIUS, transparent, original.", metavar="SPEC")
    ] = "",
    plate: Annotated[str | None, typer.Option(help="Picture of the empty scene (fixed cameras).")] = None,
    learn_plate: Annotated[float | None, typer.Option(help="Learn that picture from so many seconds.")] = None,
    style: Annotated[str | None, typer.Option(help="Name or file of a style bundle.")] = None,
    style_on: Annotated[str, typer.Option(help="product, background or all.")] = "all",
    style_strength: Annotated[float, typer.Option(help="0 (untouched) to 1.")] = 1.0,
    framing: Annotated[str, typer.Option(help="fit or fill: how the picture meets the network's shape.")] = "fit",
    crop: Annotated[str | None, typer.Option(help="Look for products only here, in pixels.", metavar="X,Y,W,H")] = None,
    refine: Annotated[bool, typer.Option(help="Follow the frame's own edges.")] = True,
    decontaminate: Annotated[bool, typer.Option(help="Take the old background out of soft edges.")] = True,
    smooth: Annotated[bool, typer.Option(help="Steady the matte over time.")] = True,
    policy: Annotated[str, typer.Option(help="auto, block (files wait) or latest (keep the newest frame).")] = "auto",
    pace: Annotated[float | None, typer.Option(help="Hand a file out at this many frames a second.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start the file again when it ends.")] = False,
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames.")] = None,
    audio: Annotated[bool, typer.Option(help="Copy the input's sound.")] = True,
    stdout: Annotated[str, typer.Option(help="What the output - carries: y4m, raw or events.")] = "y4m",
    decoder: Annotated[str, typer.Option(help="cpu, or nvdec: the NVIDIA GPU of --device.")] = "cpu",
    encoder: Annotated[str, typer.Option(help="Of H.264: x264, or nvenc[:N] on an NVIDIA GPU.")] = "x264",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    optimise: Annotated[str, typer.Option(help="auto, latency or throughput.")] = "auto",
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Open bundles that nobody signed.")] = False,
    json: Json = False,
) -> None:
    """Cut products out of a video and compose them onto a background."""
    from cutline.tools.cli_run import RunRequest, run_streams

    given = {
        "output": output, "background": background, "plate": plate, "learn_plate": learn_plate, "framing": framing,
        "crop": _numbers(crop), "refine": refine, "decontaminate": decontaminate, "smooth": smooth, "policy": policy,
        "pace": pace, "loop": loop, "frames": frames, "audio": audio, "style_on": style_on,
        "style_strength": style_strength, "stdout": stdout, "decoder": decoder,
        "encoder": encoder,
    }  # fmt: skip
    request = RunRequest(
        input=input, site=streams, model=model, style=style, stream=given, device=device, precision=precision,
        optimise=optimise, allow_unsigned=allow_unsigned, json=json,
    )  # fmt: skip
    raise typer.Exit(run_streams(request))


@app.command(epilog="Examples:  cutline inspect cutout   |   cutline inspect model.cutline --json")
def inspect(
    bundle: Annotated[str, typer.Argument(help="Name of a shipped bundle, or a .cutline file.")],
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Open a bundle that nobody signed.")] = False,
    json: Json = False,
) -> None:
    """Show what is inside a bundle."""
    from cutline.tools.cli_bundle import inspect_bundle

    inspect_bundle(bundle, allow_unsigned=allow_unsigned, as_json=json)


@app.command(epilog="Examples:  cutline verify cutout   |   cutline verify model.cutline --json")
def verify(
    bundle: Annotated[str, typer.Argument(help="Name of a shipped bundle, or a .cutline file.")],
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Open a bundle that nobody signed.")] = False,
    json: Json = False,
) -> None:
    """Check a bundle's signature and digests, and run its networks on this machine."""
    from cutline.tools.cli_bundle import verify_bundle

    verify_bundle(bundle, allow_unsigned=allow_unsigned, as_json=json)


@app.command(epilog="Examples:  cutline doctor   |   cutline doctor --json")
def doctor(json: Json = False) -> None:
    """Say what this machine can run, what is missing, and the command that fixes it."""
    from cutline.tools.doctor import examine

    raise typer.Exit(examine(as_json=json))


cli_bench.register(app)
register(app)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise UsageError("crop is not a rectangle", remedy="Give four whole numbers: --crop X,Y,W,H.", given=text)
    return numbers


def main() -> NoReturn:
    """Run the command and end the process with its exit code. `--debug` anywhere shows tracebacks."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(words) < len(sys.argv) - 1
    Watchdog(end_hung)
    sys.exit(guarded(lambda: app(words, standalone_mode=False), debug=debug))


def end_hung(error: CutlineError) -> NoReturn:
    """End a process whose threads wait for a GPU that does not answer: no other way leads out of the driver."""
    print(f"cutline: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def guarded(body: Callable[[], Any], *, debug: bool) -> int:
    """Run a command's body; whatever goes wrong becomes one line and an exit code."""
    try:
        result: Any = body()
        arrived()
    except CutlineError as error:
        return _complain(str(error), error.exit_code, debug)
    except WrongWords as error:
        said = error.format_message() or "no verb is given"
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            said = "no verb is given"
        return _complain(f"{said.rstrip('.')}. See `cutline --help`.", USAGE, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED, debug)
    except Exception as error:  # the last resort: a bug of ours is said in one line too
        return _complain(f"bug in Cutline: {error!r}. Run again with --debug and report the output.", BUG, debug)
    return result if isinstance(result, int) else 0


def _complain(text: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(printable(f"cutline: {text}"), file=sys.stderr)
    return code
