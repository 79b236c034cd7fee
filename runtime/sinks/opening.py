"""From what the user typed to a sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cutline.runtime.errors import UsageError
from cutline.runtime.sinks.base import Sink, SinkOptions, SinkTraits, StreamInfo
from cutline.runtime.sinks.null import NullSink
from cutline.runtime.sinks.pictures import NUMBERED, PngSink
from cutline.runtime.sinks.recipes import RECIPES, X264, Recipe, by_gpu
from cutline.runtime.sinks.stdout import StdoutSink
from cutline.runtime.sinks.video import VideoFileSink

__all__ = ["describe_sink", "open_sink", "refuse_input_as_output"]

KNOWN = "out.mp4, out.mkv, out.mov, out.webm, out-%05d.png, folder/, -, display://0, null://, events.jsonl"
H264 = [suffix for suffix, recipe in RECIPES.items() if recipe.codec == X264]
DEFAULTS = SinkOptions()


@dataclass(frozen=True, slots=True)
class _Choice:
    traits: SinkTraits
    open: Callable[[StreamInfo, SinkOptions], Sink]


def describe_sink(spec: str, options: SinkOptions = DEFAULTS) -> SinkTraits:
    """Say what an output needs, without touching the disk or the screen.

    Raises:
        UsageError: nobody knows this kind of output.
    """
    return _choose(spec, options).traits


def open_sink(spec: str, info: StreamInfo, options: SinkOptions = DEFAULTS) -> Sink:
    """Open an output.

    Raises:
        UsageError: nobody knows this kind of output, or it is the input.
        OutputError: it cannot be created.
        DeviceError: a screen is asked for, and there is none.
    """
    choice = _choose(spec, options)
    if info.source_uri is not None:
        refuse_input_as_output(spec, info.source_uri)
    return choice.open(info, options)


def refuse_input_as_output(spec: str, input_uri: str) -> None:
    """Refuse to write over the very file that is read.

    Raises:
        UsageError: both name one file.
    """
    if spec == "-" or "://" in spec or not (Path(spec).exists() and Path(input_uri).exists()):
        return
    if Path(spec).samefile(input_uri):
        raise UsageError("the output is the input", remedy="Name another file.", path=spec)


def _choose(spec: str, options: SinkOptions) -> _Choice:
    choice = _known(spec, options)
    h264 = choice.traits.kind == "video" and Path(spec).suffix.lower() in H264
    if options.encoder != DEFAULTS.encoder and not h264:
        raise UsageError(
            "the GPU encodes H.264 only",
            remedy="Write an .mp4 or .mkv, or leave --encoder out.",
            output=spec,
            encoder=options.encoder,
        )
    return choice


def _known(spec: str, options: SinkOptions) -> _Choice:
    if spec == "-":
        return _stdout(options)
    if spec == "null://":
        return _Choice(_traits("null"), lambda _info, _options: NullSink())
    if spec.startswith("display://"):
        return _display(spec)
    path, alpha = Path(spec), options.transparent
    suffix = path.suffix.lower()
    if spec.endswith("/") or (spec and path.is_dir()):
        return _Choice(_traits("pictures", alpha=alpha), _png(path / "%05d.png"))
    if "://" not in spec and suffix in RECIPES:
        return _video(path, RECIPES[suffix], options)
    if "://" not in spec and suffix == ".png":
        return _Choice(_traits("pictures", alpha=alpha), _png(path))
    if "://" not in spec and suffix == ".jsonl":
        return _events(path)
    raise UsageError("unknown kind of output", remedy=f"Choose one of: {KNOWN}.", output=spec)


def _video(path: Path, recipe: Recipe, options: SinkOptions) -> _Choice:
    recipe = recipe if options.encoder == DEFAULTS.encoder else by_gpu(recipe)
    alpha = options.transparent and recipe.transparent is not None
    return _Choice(_traits("video", alpha=alpha), lambda info, options: VideoFileSink(path, info, options, recipe))


def _stdout(options: SinkOptions) -> _Choice:
    if options.stdout == "events":
        return _events(None)
    return _Choice(_traits("stdout"), lambda info, options: StdoutSink(info, options))


def _display(spec: str) -> _Choice:
    if spec != "display://0":
        raise UsageError("there is one display", remedy="Write display://0.", output=spec)

    def open_display(info: StreamInfo, _options: SinkOptions) -> Sink:
        from cutline.runtime.sinks.display import DisplaySink  # OpenCV is loaded for those who need it

        return DisplaySink(info)

    return _Choice(_traits("display", live=True), open_display)


def _events(path: Path | None) -> _Choice:
    def open_events(info: StreamInfo, options: SinkOptions) -> Sink:
        from cutline.runtime.sinks.events import EventSink  # OpenCV is loaded for those who need it

        return EventSink(path, info, options)

    traits = SinkTraits(kind="events", wants_alpha=True, carries_alpha=False, live=False)
    return _Choice(traits, open_events)


def _png(pattern: Path) -> Callable[[StreamInfo, SinkOptions], Sink]:
    if len(NUMBERED.findall(pattern.name)) != 1 or pattern.name.count("%") != 1:
        raise UsageError(
            "a picture per frame needs a number in its name",
            remedy="Write it like out-%05d.png, or name a folder.",
            output=str(pattern),
        )
    return lambda info, options: PngSink(pattern, info, options)


def _traits(kind: str, *, alpha: bool = False, live: bool = False) -> SinkTraits:
    return SinkTraits(kind=kind, wants_alpha=alpha, carries_alpha=alpha, live=live)
