"""The import child: from a stranger's file to two checked models, frozen (as it came) and clean (as it is built).

Both go to files in the folder that the parent gives; lines say what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from cutline.engine.model_check import HINT, check_names, check_operators, check_weights, load_external, parse
from cutline.engine.model_clean import clean, finish
from cutline.engine.model_import import ImportedModel
from cutline.engine.model_shapes import (
    declared_shape,
    freeze_ratio,
    freeze_shapes,
    graph_inputs,
    settle_states,
    write_shape,
)
from cutline.runtime.errors import BadInputError

__all__ = ["read_model", "task"]


def task(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Worker entry: request has path, shapes, ratio, folder."""
    model = read_model(Path(request["path"]), request["shapes"], request["ratio"])
    tell({"lines": model.lines})
    folder = Path(request["folder"])
    (folder / "frozen.onnx").write_bytes(model.frozen)
    (folder / "clean.onnx").write_bytes(model.clean)
    return {"lines": model.lines, "external": model.external}


def read_model(path: Path, shapes: dict[str, list[int]], ratio: float | None) -> ImportedModel:
    """Read, check, freeze and clean one model.

    Args:
        shapes: fixed shapes by input name.
        ratio: RobustVideoMatting's downsample_ratio, None for the authors' rule.
    Raises:
        NoInputError, BadInputError, UsageError: see the steps.
    """
    model = parse(path)
    nodes_before = len(model.graph.node)
    check_names(model)
    check_operators(model)
    external = load_external(model, path.absolute().parent)
    check_weights(model)
    _check_by_library(model)
    lines = freeze_shapes(model, shapes)
    lines += freeze_ratio(model, ratio)
    frozen = model.SerializeToString()  # before `clean` takes its weights away
    cleaned = clean(model)
    if settled := settle_states(cleaned):
        lines += settled
        frozen = _with_input_shapes(frozen, cleaned)
        cleaned = clean(cleaned)
    cleaned = finish(cleaned)
    lines.append(f"graph: {nodes_before} nodes -> {len(cleaned.graph.node)} after folding")
    return ImportedModel(
        name=path.stem,
        frozen=frozen,
        clean=cleaned.SerializeToString(),
        lines=tuple(lines),
        external=external,
    )


def _check_by_library(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise BadInputError(f"the model is not valid ONNX: {text[:240]}", remedy=HINT) from error


def _with_input_shapes(model: bytes, source: onnx.ModelProto) -> bytes:
    target = onnx.ModelProto.FromString(model)
    shapes = {value.name: declared_shape(value) for value in graph_inputs(source)}
    for value in graph_inputs(target):
        shape = shapes.get(value.name)
        if shape is not None:
            write_shape(value, [int(size) for size in shape])
    return bytes(target.SerializeToString())
