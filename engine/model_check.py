"""Refuses what is not a usable ONNX model, before anything is computed from it. Runs in the import child."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from cutline.runtime.errors import BadInputError, NoInputError, StorageError

__all__ = [
    "HINT",
    "MAX_WEIGHT_BYTES",
    "all_graphs",
    "all_tensors",
    "check_names",
    "check_operators",
    "check_weights",
    "load_external",
    "parse",
]

MAX_WEIGHT_BYTES = 256 << 20  # U2Net has 168 MiB, BiRefNet-lite 170; what is larger does not run beside a camera
MAX_STRUCTURE_BYTES = 16 << 20  # of the file, apart from the weights
HINT = "Export the model to ONNX again, or download it again."
NEWEST_VERSION = 1000  # of any domain
LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
QUANTISED = frozenset(  # nothing is left to calibrate, and no float network to prove against
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
    | {"MatMulInteger"}
)
FORBIDDEN_TYPES = frozenset({onnx.TensorProto.STRING, onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128})


def parse(path: Path) -> onnx.ModelProto:
    """Read one .onnx file, without its external data.

    Raises:
        NoInputError: there is no such file.
        BadInputError: empty, too large, not ONNX, cut off, or holding no graph.
        StorageError: the file cannot be read.
    """
    if not path.exists():
        raise NoInputError("no such model", remedy="Check the path.", path=str(path))
    if not path.is_file():
        raise BadInputError("the model is not a file", remedy="Give the .onnx file itself.", path=str(path))
    try:
        size = path.stat().st_size
        if size > MAX_WEIGHT_BYTES + MAX_STRUCTURE_BYTES:
            raise _too_large(size)
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"the model cannot be read: {error.strerror}", remedy="Check its permissions.") from error
    if not data:
        raise BadInputError("the model file is empty", remedy=HINT, path=path.name)
    _refuse_other_formats(data[:512], path)
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise BadInputError("the model is cut off or damaged", remedy=HINT, path=path.name) from error
    if not model.graph.node or not model.graph.output:
        raise BadInputError("the file holds no ONNX graph", remedy=HINT, path=path.name)
    return model


def _refuse_other_formats(head: bytes, path: Path) -> None:
    text = head.lstrip().lower()
    kinds = {
        b"<!doctype": "a web page",
        b"<html": "a web page",
        b"<?xml": "an XML file (OpenVINO IR, perhaps)",
        b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
        b"pk\x03\x04": "a zip archive (a PyTorch checkpoint, perhaps)",
        b"\x80\x02": "a Python pickle",
        b"\x1f\x8b": "a gzip file",
        b"{": "a JSON file",
    }
    for start, name in kinds.items():
        if text.startswith(start):
            raise BadInputError(f"the model is {name}, not ONNX", remedy=HINT, path=path.name)


def _too_large(size: int) -> BadInputError:
    return BadInputError(
        f"the model has more than {MAX_WEIGHT_BYTES >> 20} MiB of weights",
        remedy="Use a smaller variant of it.",
        mib=round(size / 2**20),
    )


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from all_graphs(inner)


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every constant of the model: initializers, sparse ones, attributes, also those inside subgraphs and functions."""
    nodes = [node for function in model.functions for node in function.node]
    for graph in all_graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        nodes.extend(graph.node)
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def load_external(model: onnx.ModelProto, folder: Path) -> bool:
    """Read external weights into the model, from plain files inside the model's own folder only.

    Returns:
        Whether there were any.
    Raises:
        BadInputError: a path is absolute, has `..` or passes a link; the file holds less than declared, or too much.
    """
    outside = [t for t in all_tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    total = 0
    sizes: dict[Path, int] = {}
    for tensor in outside:
        entry = {e.key: e.value for e in tensor.external_data}
        path = _inside(folder, entry.get("location", ""))
        size = sizes.setdefault(path, path.stat().st_size)
        offset, length = _number(entry.get("offset", "0")), _number(entry.get("length", "-1"))
        length = size - offset if length < 0 else length
        total += max(length, 0)
        if total > MAX_WEIGHT_BYTES:
            raise _too_large(total)
        if offset < 0 or length < 0 or offset + length > size:
            raise BadInputError("external weights end before they should", remedy=HINT, file=path.name)
        with path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return bool(outside)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadInputError("external weights have a broken offset", remedy=HINT, value=text[:40]) from error


def _inside(folder: Path, location: str) -> Path:
    """Resolve a declared location, refusing everything but plain files below `folder`."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    bad = not location or posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts + windows.parts
    step = folder
    if not bad and "\x00" not in location:
        for part in posix.parts:
            step = step / part
            bad = bad or step.is_symlink()
    if bad or "\x00" in location:
        raise BadInputError(
            "external weights point outside the model's folder",
            remedy="Put the weights beside the model as a plain file.",
            location=location[:200],
        )
    if not step.is_file():
        raise BadInputError(
            "a file of external weights is missing", remedy="Copy it beside the model.", location=location[:200]
        )
    return step


def check_names(model: onnx.ModelProto) -> None:
    """Refuse names that are not UTF-8: protobuf hands them over as bytes, and every library trips over them elsewhere.

    Raises:
        BadInputError: there is one.
    """
    names: list[object] = [entry.domain for entry in model.opset_import]
    nodes = [node for function in model.functions for node in function.node]
    for graph in all_graphs(model.graph):
        nodes.extend(graph.node)
        names += [value.name for value in (*graph.input, *graph.output, *graph.value_info)]
    for node in nodes:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    names += [tensor.name for tensor in all_tensors(model)]
    if any(isinstance(name, bytes) for name in names):
        raise BadInputError("the model has a name that is not text", remedy=HINT)


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse operators that ONNX does not define, loops, and networks that are quantised already.

    Raises:
        BadInputError: names each such operator once.
    """
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if not all(1 <= version <= NEWEST_VERSION for version in versions.values()) or versions.get("ai.onnx", 0) > newest:
        raise BadInputError(
            "the model's opset is not known here", remedy=f"Export it with an opset from 7 to {newest}.", found=versions
        )
    local = {(function.domain, function.name) for function in model.functions}
    nodes = [node for graph in all_graphs(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    unknown, loops, rounding = set(), set(), set()
    for node in nodes:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (node.domain, node.op_type) in local:
            continue
        version = versions.get(domain or "ai.onnx", 0)
        if domain not in ("", "ai.onnx.ml") or not _defined(node.op_type, version, domain):
            unknown.add(f"{node.domain}:{node.op_type}" if node.domain else node.op_type)
        elif node.op_type in LOOPS:
            loops.add(node.op_type)
        elif node.op_type in QUANTISED:
            rounding.add(node.op_type)
    if unknown:
        raise BadInputError(
            f"the model uses operators that ONNX does not define: {', '.join(sorted(unknown)[:8])}",
            remedy="Export it with standard operators only, in a newer opset if need be.",
        )
    if loops:
        raise BadInputError(
            f"the model has loops: {', '.join(sorted(loops))}",
            remedy="Unroll them at export; a state from frame to frame is an input and an output.",
        )
    if rounding:
        raise BadInputError(
            f"the model is quantised already: {', '.join(sorted(rounding))}",
            remedy="Give the float32 model that it was made from, with footage; it is quantised and proven here.",
        )


def _defined(name: str, version: int, domain: str) -> bool:
    try:
        return not onnx.defs.get_schema(name, version, domain).deprecated
    except onnx.defs.SchemaError:
        return False


def check_weights(model: onnx.ModelProto) -> None:
    """Refuse weights that are too many, of a type no engine takes, not a number, or infinite.

    A single infinite value is let through: exporters write the bound of a Clip and the fill of a mask that way.

    Raises:
        BadInputError: names the first bad tensor.
    """
    total = 0
    for tensor in all_tensors(model):
        count = math.prod(tensor.dims)
        if tensor.data_type in FORBIDDEN_TYPES or min(tensor.dims, default=0) < 0:
            raise BadInputError("a weight has no usable type or shape", remedy=HINT, tensor=tensor.name[:80])
        total += max(len(tensor.raw_data), count)
        if total > MAX_WEIGHT_BYTES:
            raise _too_large(total)
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise BadInputError(
                "a weight does not hold what it declares", remedy=HINT, tensor=tensor.name[:80]
            ) from error
        if not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
            _check_finite(tensor.name, values.astype(np.float32, copy=False))


def _check_finite(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    bad = "NaN" if np.isnan(values).any() else "infinite" if values.size > 1 and np.isinf(values).any() else None
    if bad:
        raise BadInputError(
            f"the model has {bad} weights",
            remedy="Use a checkpoint from before the training diverged.",
            tensor=name[:80],
        )
