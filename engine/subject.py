"""What is being built: a clean float32 graph, its contract, and what is known of it, from an ONNX file or a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import onnx

from cutline.calibration.graph import normalise
from cutline.engine import onnx_contract
from cutline.engine.cache import Cache
from cutline.engine.cubins import BuiltCubin, carried_cubins
from cutline.engine.detect import Detection, describe, detect
from cutline.engine.hints import Hints, find_hints, read_hints
from cutline.engine.model_check import MAX_WEIGHT_BYTES
from cutline.engine.model_clean import keep_outputs
from cutline.engine.model_import import ImportedModel, import_model
from cutline.engine.progress import Progress
from cutline.engine.trial import try_out
from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import ModelContract, contract_from_json
from cutline.runtime.errors import BundleError, StorageError

__all__ = ["SOURCE_MEMBER", "Subject", "load_subject", "plain_name"]

SOURCE_MEMBER, CALIBRATION_MEMBER = "source.onnx", "calibration.json"
NO_LICENCE = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`model` is normalised (calibration.graph) and has the contract's outputs only."""

    name: str
    model: onnx.ModelProto
    contract: ModelContract
    licence: str
    provenance: dict[str, Any]
    version: int = 1
    table: bytes | None = None  # a calibration table that came with a bundle
    proof: Mapping[str, bytes] = field(default_factory=dict)  # held-out frames that came with a bundle
    card: bytes | None = None
    cubins: Mapping[str, BuiltCubin] = field(default_factory=dict)  # by device; they came with a bundle

    @property
    def source(self) -> bytes:
        """The graph as it travels in bundles."""
        return bytes(self.model.SerializeToString(deterministic=True))


def load_subject(
    path: Path, *, shapes: Mapping[str, tuple[int, ...]], hints: Path | None, cache: Cache, progress: Progress
) -> Subject:
    """Read a model or a bundle.

    Args:
        shapes: fixed shapes by input name, for open inputs.
        hints: a model.toml, or a whole contract as JSON; None looks beside the model.
    Raises:
        CutlineError: it cannot be read, understood or run; see `model_import`, `detect` and `trial`.
    """
    if path.suffix == ".cutline":
        return _from_bundle(path, progress)
    found = hints or find_hints(path)
    whole = found is not None and found.suffix == ".json"
    stated = read_hints(found) if found is not None and not whole else Hints()
    progress.step("import", None)
    imported = _import(path, {**stated.shapes, **shapes}, stated.downsample_ratio, cache)
    for line in imported.lines:
        progress.say(line)
    clean = onnx.ModelProto.FromString(imported.clean)
    detection = _as_stated(found) if found is not None and whole else detect(clean, stated)
    if found is not None:
        progress.say(f"contract: {found.name} was read")
    for line in detection.lines:
        progress.say(line)
    trial = try_out(imported, cache)
    progress.say(
        f"trial run: clean-up changed results by {trial.cleaned:.1g}, OpenVINO FP32 differs by {trial.openvino:.1g}"
    )
    progress.step("import", 1.0)
    onnx_contract.check(detection.contract, imported.clean)
    model = normalise(keep_outputs(clean, list(detection.contract.output_names)))
    return Subject(
        name=plain_name(path.stem),
        model=model,
        contract=detection.contract,
        licence=stated.licence or NO_LICENCE,
        provenance={"file": path.name, "family": detection.family, "clean_sha256": imported.digest},
    )


def _as_stated(path: Path) -> Detection:
    """A whole contract, as training writes it beside its network."""
    try:
        contract = contract_from_json(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror}", remedy="Check its permissions.") from error
    return Detection(contract=contract, family="stated", lines=tuple(describe(contract, f"stated in {path.name}")))


def _import(path: Path, shapes: Mapping[str, tuple[int, ...]], ratio: float | None, cache: Cache) -> ImportedModel:
    """`import_model`, kept by the file's content; models with weights outside themselves are read anew."""
    try:
        data = path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_WEIGHT_BYTES else b""
    except OSError:
        data = b""  # `import_model` says what is wrong
    key = cache.key("import", data, shapes, ratio, path.stem)
    if data and (kept := cache.get(key)) is not None:
        return msgspec.msgpack.decode(kept, type=ImportedModel)
    imported = import_model(path, shapes=shapes, ratio=ratio)
    if data and not imported.external:
        cache.put(key, msgspec.msgpack.encode(imported))
    return imported


def _from_bundle(path: Path, progress: Progress) -> Subject:
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
        names = {m.name for m in manifest.members}
        if SOURCE_MEMBER not in names:
            raise BundleError(
                "the bundle does not carry its source, so nothing can be built from it",
                remedy="Build from the ONNX model.",
                bundle=path.name,
            )
        progress.say(f"source: bundle {manifest.name} version {manifest.version}, signature and digests checked")
        model = onnx.ModelProto.FromString(bundle.read(SOURCE_MEMBER))
        return Subject(
            name=manifest.name,
            model=normalise(keep_outputs(model, list(manifest.contract.output_names))),
            contract=manifest.contract,
            licence=manifest.licence,
            provenance=manifest.provenance or {},
            version=manifest.version,
            table=bundle.read(CALIBRATION_MEMBER) if CALIBRATION_MEMBER in names else None,
            proof={name: bundle.read(name) for name in names if name.startswith("proof/")},
            card=bundle.read(manifest.card) if manifest.card else None,
            cubins=carried_cubins(bundle),
        )


def plain_name(text: str) -> str:
    """A bundle's name from a file's: lower case letters, digits, `-` and `_`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:64]
    return name or "model"
