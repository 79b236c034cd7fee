"""The calibration table: every tensor's histogram and what it was made from, for all methods and placements alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime

from cutline.calibration.collect import CollectOptions
from cutline.calibration.graph import model_digest
from cutline.calibration.histogram import Histogram, HistogramRecord, merged
from cutline.calibration.placement import Placement
from cutline.calibration.thresholds import METHODS, SIGNED, UNSIGNED, Method, threshold
from cutline.runtime.contract import ModelContract, contract_to_json
from cutline.runtime.errors import BadInputError, NoInputError, StorageError

__all__ = [
    "CalibrationTable",
    "FrameRecord",
    "TensorReport",
    "load_table",
    "make_table",
    "merge_tables",
    "reusable_table",
    "save_table",
    "table_key",
]

SCHEMA = 2
MAX_TABLE = 256 << 20  # bytes


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calibration frame: where it came from and what it was."""

    source: str  # clips.public_name: tables travel in bundles, so no folder and no host
    index: int  # of the frame in that source, from 0
    digest: str  # hex of the visible bytes of its planes, then what else the network saw: +frames that follow, +plate


class CalibrationTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Histograms by tensor, with provenance."""

    schema: int
    model: str  # graph.model_digest of the normalised model
    contract: str  # hex SHA-256 of the contract: it decides how frames became inputs
    key: str  # table_key of what made it
    frames: tuple[FrameRecord, ...]
    samples: int  # values counted per tensor and frame at most
    versions: dict[str, str]
    tensors: dict[str, HistogramRecord]

    def histogram(self, tensor: str) -> Histogram:
        """One tensor's statistics.

        Raises:
            BadInputError: the table does not have it, or it is damaged.
        """
        if tensor not in self.tensors:
            raise BadInputError("the calibration table lacks a tensor", remedy="Calibrate again.", tensor=tensor)
        return Histogram.from_record(self.tensors[tensor])

    def peaks(self) -> dict[str, float]:
        """Exact largest magnitude of every tensor."""
        return {name: max(abs(r.minimum), abs(r.maximum)) for name, r in self.tensors.items()}

    def thresholds(self, placement: Placement, method: Method) -> dict[str, float]:
        """What the largest code stands for, per quantised tensor; tensors of one scale group are pooled."""
        members: dict[str, list[str]] = {}
        for tensor, group in placement.groups.items():
            members.setdefault(group, []).append(tensor)
        picked = {}
        for tensors in members.values():
            codes = UNSIGNED if placement.unsigned.issuperset(tensors) else SIGNED
            value = threshold(merged(self.histogram(t) for t in tensors).bins(), method, codes=codes)
            picked.update(dict.fromkeys(tensors, value))
        return picked

    def report(self, tensors: Iterable[str] | None = None) -> tuple[TensorReport, ...]:
        """One line per tensor, in the network's order."""
        return tuple(_report(name, self.histogram(name)) for name in (tensors or self.tensors))


class TensorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration saw of one tensor, and what each method would clip at."""

    tensor: str
    minimum: float
    maximum: float
    mean: float
    zeros: float  # share of values
    thresholds: dict[str, float]  # by method
    clipped: dict[str, float]  # by method: share of values beyond


def table_key(
    model: onnx.ModelProto, contract: ModelContract, frames: Iterable[FrameRecord], options: CollectOptions
) -> str:
    """Hex SHA-256 of everything that decides a table's numbers; equal keys mean that calibrating again is no use."""
    digest = hashlib.sha256(f"{SCHEMA};{model_digest(model)};{options.samples};".encode())
    digest.update(contract_to_json(contract))
    for frame in frames:
        digest.update(f"{frame.digest};".encode())
    for name, version in _versions().items():
        digest.update(f"{name}={version};".encode())
    return digest.hexdigest()


def make_table(
    model: onnx.ModelProto,
    contract: ModelContract,
    frames: tuple[FrameRecord, ...],
    options: CollectOptions,
    histograms: Mapping[str, Histogram],
) -> CalibrationTable:
    """Wrap what collect() found."""
    return CalibrationTable(
        schema=SCHEMA,
        model=model_digest(model),
        contract=_digest(contract),
        key=table_key(model, contract, frames, options),
        frames=frames,
        samples=options.samples,
        versions=_versions(),
        tensors={name: h.record() for name, h in histograms.items()},
    )


def save_table(path: Path, table: CalibrationTable) -> None:
    """Write a table beside its final name, then rename.

    Raises:
        StorageError: the folder is missing, not writable, or full.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(msgspec.json.encode(table))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            "the calibration table cannot be written", remedy="Free space or choose another folder.", path=str(path)
        ) from error


def load_table(path: Path, model: onnx.ModelProto | None = None) -> CalibrationTable:
    """Read a table; with a (normalised) model, make sure that it was made for that model.

    Raises:
        NoInputError: there is no such file.
        BadInputError: it is no calibration table, of another schema, damaged, or of another model.
    """
    try:
        if path.stat().st_size > MAX_TABLE:
            raise BadInputError("the calibration table is too large", remedy="Calibrate again.", path=str(path))
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NoInputError("no such calibration table", remedy="Check the name.", path=str(path)) from error
    except OSError as error:
        raise BadInputError("the calibration table cannot be read", remedy="Check it.", path=str(path)) from error
    table = decode_table(data, name=str(path))
    if model is not None:
        demand_same_model(table, model)
    return table


def decode_table(data: bytes, *, name: str) -> CalibrationTable:
    """Read a table from bytes, as it travels in a bundle.

    Raises:
        BadInputError: it is no calibration table, of another schema, or damaged.
    """
    try:
        table = msgspec.json.decode(data, type=CalibrationTable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError("this is not a calibration table", remedy="Calibrate again.", table=name) from error
    if table.schema != SCHEMA:
        raise BadInputError(
            "the calibration table is of another version",
            remedy="Calibrate again.",
            table=name,
            found=table.schema,
            wanted=SCHEMA,
        )
    for tensor in table.tensors:
        table.histogram(tensor)
    return table


def demand_same_model(table: CalibrationTable, model: onnx.ModelProto) -> None:
    """Refuse a table that was made for another model.

    Raises:
        BadInputError: it was.
    """
    digest = model_digest(model)
    if table.model != digest:
        raise BadInputError(
            "the calibration table belongs to another model",
            remedy="Calibrate this model, or give the table that was made for it.",
            table=table.model[:12],
            model=digest[:12],
        )


def reusable_table(path: Path, key: str) -> CalibrationTable | None:
    """The table at `path` if it was made from just these things; None if there is none, or it was made from others.

    Raises:
        BadInputError: the file is there, and is no calibration table.
    """
    if not path.exists():
        return None
    table = load_table(path)
    return table if table.key == key else None


def merge_tables(one: CalibrationTable, other: CalibrationTable) -> CalibrationTable:
    """Join two tables of one model, made from different frames.

    Raises:
        BadInputError: they are of different models or contracts, or share a frame.
    """
    if (one.model, one.contract) != (other.model, other.contract) or set(one.tensors) != set(other.tensors):
        raise BadInputError(
            "the calibration tables belong to different models or contracts",
            remedy="Merge tables of one model only.",
            one=one.model[:12],
            other=other.model[:12],
        )
    if {f.digest for f in one.frames} & {f.digest for f in other.frames}:
        raise BadInputError(
            "the calibration tables share frames, which would count twice",
            remedy="Merge tables of different footage.",
        )
    return msgspec.structs.replace(
        one,
        key=hashlib.sha256("".join(sorted([one.key, other.key])).encode()).hexdigest(),
        frames=(*one.frames, *other.frames),
        samples=min(one.samples, other.samples),
        tensors={t: merged([one.histogram(t), other.histogram(t)]).record() for t in one.tensors},
    )


def _report(name: str, histogram: Histogram) -> TensorReport:
    bins = histogram.bins()
    total = max(histogram.sampled, 1)
    picked = {method: threshold(bins, method) for method in METHODS}
    return TensorReport(
        tensor=name,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        mean=histogram.mean,
        zeros=histogram.zeros / total,
        thresholds={str(method): value for method, value in picked.items()},
        clipped={str(m): float(bins.counts[bins.low >= value].sum()) / total for m, value in picked.items()},
    )


def _digest(contract: ModelContract) -> str:
    return hashlib.sha256(contract_to_json(contract)).hexdigest()


def _versions() -> dict[str, str]:
    """Libraries whose rounding decides the numbers."""
    return {"numpy": np.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
