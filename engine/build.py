"""The whole of `cutline build`: from a model or a bundle to a proven, signed bundle, or to one error and no change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cutline.engine import keys
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate, make_candidate
from cutline.engine.choose import Choice, Chooser, GateError
from cutline.engine.contents import Contents, pack_contents
from cutline.engine.cpu import cpu_precisions
from cutline.engine.cubins import build_cubins, demand_compilers
from cutline.engine.evidence import Evidence, HeldOut
from cutline.engine.footage import Footage, gather
from cutline.engine.progress import Progress, Silent
from cutline.engine.proof import Gate
from cutline.engine.quantised import Int8, fit_int8
from cutline.engine.report import worst_picture
from cutline.engine.subject import Subject, load_subject, plain_name
from cutline.engine.targets import BuildTarget, Ground, Precision, Wanted
from cutline.engine.tensorrt_builder import Plan, PlanOptions, build_plan, demand_library
from cutline.runtime.errors import DeviceError, NoInputError, OutputError, UsageError
from cutline.runtime.manifest import Line, Manifest, Name, Version

__all__ = ["BuildOptions", "build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """All that `cutline build` may be told.

    source: an .onnx file, or a .cutline bundle to rebuild from
    calib: clips, folders or cameras of the site; none for a rebuild, whose bundle carries what is needed
    table: a calibration table (JSON) to use instead of collecting ranges
    budget: largest mean absolute difference of the mattes from the original's, opacity in 0..1
    shapes: fixed shapes by input name
    hints: a model.toml; None looks beside the model
    name, version, licence: of the bundle; None takes the output's stem, 1, what model.toml states
    created: UTC time for the manifest; None is now, or $SOURCE_DATE_EPOCH
    """

    source: Path
    output: Path
    targets: tuple[BuildTarget, ...]
    precision: Wanted = "auto"
    calib: tuple[str, ...] = ()
    table: Path | None = None
    budget: float = 0.005
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    hints: Path | None = None
    name: str | None = None
    version: int | None = None
    licence: str | None = None
    card: Path | None = None
    plan: PlanOptions = field(default_factory=PlanOptions)
    created: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise UsageError("the budget must lie between 0 and 1", remedy="Use 0.005 or so.", budget=self.budget)
        if not self.targets:
            raise UsageError("there is nothing to build for", remedy="Name a --target.")
        stated = {"name": self.name, "version": self.version, "licence": self.licence}
        try:
            msgspec.convert(stated, _Stated)
        except msgspec.ValidationError as error:
            remedy = "Names are lower case letters, digits, - and _, versions 1 or more, licences one line."
            raise UsageError(f"a bundle cannot be labelled so: {error}", remedy=remedy) from error


class _Stated(msgspec.Struct):
    name: Name | None
    version: Version | None
    licence: Line | None


def build(options: BuildOptions, progress: Progress | None = None) -> Manifest:
    """Build a bundle. What was at the output before stays there unless everything succeeds.

    Raises:
        UsageError: the demands contradict each other.
        NoInputError, BadInputError, ContractError: the model, the bundle or the footage cannot be used.
        GateError: a demanded precision is too inaccurate; the worst frame lies beside the output.
        DeviceError: a library that a target needs is missing, or failed.
        OutputError, StorageError: the bundle cannot be written.
    """
    progress = progress or Silent()
    engines = tuple(target for target in options.targets if target.kind != "cuda")
    devices = _check_demands(options, engines)
    created, key = options.created or _now(), _key()
    cache = Cache()
    subject = load_subject(options.source, shapes=options.shapes, hints=options.hints, cache=cache, progress=progress)
    origins = demand_compilers(_cuda_devices(options, devices), subject.cubins)
    footage = gather(subject, options.calib, options.table, cache, progress)
    evidence = Evidence(subject.model, subject.contract, footage.held_out, Gate.of(options.budget), cache)
    made = _Maker(subject, footage, evidence, cache, progress)
    try:
        chooser = Chooser(
            made, evidence, native=cpu_precisions(), calibrated=footage.table is not None, progress=progress
        )
        choice = chooser.choose(engines, options.precision)
    except GateError as error:
        raise _with_picture(error, subject, footage.held_out, evidence, options.output) from error
    plans = _build_plans(options, choice, devices, cache, progress)
    cubins = build_cubins(origins, cache, progress)
    for note in choice.notes:
        progress.say(note)
    contents = Contents(
        subject=subject,
        footage=footage,
        evidence=evidence,
        choice=choice,
        int8=made.int8,
        plans=plans,
        cubins=cubins,
        budget=options.budget,
    )
    manifest = pack_contents(
        contents,
        options.output,
        name=options.name or (subject.name if options.source.suffix == ".cutline" else plain_name(options.output.stem)),
        version=options.version or subject.version,
        created=created,
        licence=options.licence or subject.licence,
        card=options.card.read_bytes() if options.card else subject.card,
        key=key,
    )
    progress.say(f"written: {options.output} ({options.output.stat().st_size / 1e6:.1f} MB)")
    return manifest


def _check_demands(options: BuildOptions, engines: tuple[BuildTarget, ...]) -> dict[BuildTarget, str | None]:
    """Find out what must fail before minutes are spent. Returns the device of each engine."""
    if not engines:
        remedy = "Name an engine too, as in --target openvino,cuda:sm89."
        raise UsageError("the CUDA kernels alone run no network", remedy=remedy)
    from_bundle = options.source.suffix == ".cutline"
    if options.precision == "int8" and not (options.calib or options.table or from_bundle):
        raise UsageError("INT8 needs calibration", remedy="Give footage of the site with --calib.")
    if not options.source.exists():
        raise NoInputError("no such model", remedy="Check the path.", path=str(options.source))
    folder = options.output.absolute().parent
    if options.output.suffix != ".cutline":
        raise UsageError("a bundle's name ends in .cutline", remedy="Correct -o.", output=str(options.output))
    if options.output.is_dir():
        raise OutputError("the output is a folder", remedy="Name a file with -o.", output=str(options.output))
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError("the output's folder cannot be written", remedy="Choose another.", folder=str(folder))
    for what, path in {
        "model card": options.card,
        "contract": options.hints,
        "calibration table": options.table,
    }.items():
        if path is not None and not path.is_file():
            raise NoInputError(f"no such {what}", remedy="Check the path.", path=str(path))
    return {t: None if t.kind == "openvino" else demand_library(t) for t in engines}


def _cuda_devices(options: BuildOptions, devices: Mapping[BuildTarget, str | None]) -> list[str]:
    """For which GPUs the kernels are compiled: those that were named, and those that an engine is for."""
    named = [target.device for target in options.targets if target.kind == "cuda"]
    return sorted({device for device in (*named, *devices.values()) if device is not None})


class _Maker:
    """Makes each graph once. INT8 is fitted to the budget first, for CPUs and for GPUs each in their own way."""

    def __init__(
        self, subject: Subject, footage: Footage, evidence: Evidence, cache: Cache, progress: Progress
    ) -> None:
        self._subject, self._footage, self._evidence = subject, footage, evidence
        self._cache, self._progress = cache, progress
        self._made: dict[Precision, Candidate] = {}
        self.int8: dict[Ground, Int8] = {}

    def __call__(self, precision: Precision, ground: Ground) -> Candidate | None:
        """The graph of a precision; None when no INT8 graph meets the budget."""
        if precision == "int8":
            return self._int8(ground)
        if precision not in self._made:
            self._made[precision] = make_candidate(self._subject.model, precision, self._footage.table)
        return self._made[precision]

    def _int8(self, ground: Ground) -> Candidate | None:
        if ground not in self.int8:
            self.int8[ground] = fit_int8(
                self._subject,
                self._footage,
                ground,
                self._evidence,
                self._cache,
                self._progress,
            )
        return self.int8[ground].candidate


def _build_plans(
    options: BuildOptions,
    choice: Choice,
    devices: Mapping[BuildTarget, str | None],
    cache: Cache,
    progress: Progress,
) -> dict[tuple[BuildTarget, Precision], Plan]:
    """Build every GPU engine. Under `auto` a library may fail on one of a target's graphs, and that is said."""
    plans: dict[tuple[BuildTarget, Precision], Plan] = {}
    for target, candidates in list(choice.shipped.items()):
        if target.kind == "openvino":
            continue
        failed: list[DeviceError] = []
        for candidate in candidates:
            stage = f"engine for {target.kind} {devices[target]}, {candidate.precision}"

            def tell(done: float, _phase: str, stage: str = stage) -> None:
                progress.step(stage, done)

            try:
                plans[target, candidate.precision] = build_plan(candidate.data, target, options.plan, cache, tell)
            except DeviceError as error:
                failed.append(error)
                choice.note(f"{target}: {candidate.precision} was left out: {error.what}")
            progress.step(stage, 1.0)
        if failed and (options.precision != "auto" or len(failed) == len(candidates)):
            raise failed[0]
        choice.shipped[target] = tuple(c for c in candidates if (target, c.precision) in plans)
    return plans


def _with_picture(error: GateError, subject: Subject, held_out: HeldOut, evidence: Evidence, output: Path) -> GateError:
    """Save the worst frame beside the output and say where."""
    if error.proof is None or not error.proof.worst:
        return error
    number, matte = error.proof.worst[0]
    path = output.with_suffix(".worst.png")
    picture = worst_picture(held_out.frames[number], subject.contract, evidence.wanted[number], matte)
    try:
        path.write_bytes(picture)
    except OSError as failure:
        raise OutputError(
            f"the worst frame cannot be saved: {failure.strerror}", remedy="Choose another folder.", path=str(path)
        ) from failure
    return GateError(error.what, remedy=error.remedy, proof=error.proof, **error.facts, worst_frame=str(path))


def _now() -> str:
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(stated), timezone.utc) if stated else datetime.now(timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        remedy = "Give seconds since 1970, or unset it."
        raise UsageError("SOURCE_DATE_EPOCH is not a time", remedy=remedy, value=stated) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _key() -> Ed25519PrivateKey:
    """The publisher's key where one is named, else this machine's own."""
    return keys.publisher_key() or keys.machine_key()
