"""Makes every input shape of a graph fixed, and pairs the states of recurrent networks. Runs in the import child."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from cutline.runtime.errors import BadInputError, UsageError

__all__ = [
    "declared_shape",
    "freeze_ratio",
    "freeze_shapes",
    "graph_inputs",
    "pair_states",
    "settle_states",
    "write_shape",
]

MAX_SIDE = 1 << 16  # of any one dimension of an input
RVM_SMALL_SIDE = 512  # pixels; RobustVideoMatting's inference_utils.auto_downsample_ratio
STATE_NAME = re.compile(r"(?:h|c|r|rec|state|hidden|memory|mem|cell)(?:[_.\d]\w*)?")  # without its `in`


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that the caller must feed: initializers that old exporters list among the inputs are left out."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def declared_shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Dimensions, unknown ones by name or `?`; None when the graph declares no shape."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or "?" for d in dims)


def pair_states(inputs: Sequence[str], outputs: Sequence[str]) -> list[tuple[str, str]]:
    """Find (input, output) names that carry a recurrent state, by how exporters spell them."""
    pairs, left = [], set(outputs)
    for name in inputs:
        partner = next((o for o in _partner_names(name) if o in left), None)
        if partner:
            pairs.append((name, partner))
            left.discard(partner)
    return pairs


def _partner_names(name: str) -> list[str]:
    """What the output of the state `name` may be called: r1i -> r1o, state_0_in -> state_0_out, h0 -> h0_out, hn0."""
    if found := re.fullmatch(r"r(\d+)i", name):
        return [f"r{found.group(1)}o"]
    stem = re.sub(r"^(?:in|prev|old)_|_(?:in|prev|old|i)$", "", name)
    if not STATE_NAME.fullmatch(stem):
        return []
    word, number = re.fullmatch(r"(.*?)_?(\d*)", stem).groups()  # type: ignore[union-attr]  # matches everything
    spelt = [f"{stem}_out", f"out_{stem}", f"{stem}_o", f"new_{stem}", f"next_{stem}", f"{stem}n", f"{word}n{number}"]
    return [other for other in spelt if other != name]


def freeze_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Write fixed shapes into the inputs: those asked for, and 1 where only the batch is open.

    Returns lines that say what was fixed. State inputs may stay open; `settle_states` closes them.

    Raises:
        UsageError: `shapes` names an input that there is not, or a shape that does not fit it.
        BadInputError: an input stays open.
    """
    lines = []
    values = {value.name: value for value in graph_inputs(model)}
    for name in shapes:
        if name not in values:
            raise UsageError(
                "--shape names no input of the model", remedy=f"Name one of: {', '.join(values)}.", name=name
            )
    states = {name for name, _ in pair_states(list(values), [o.name for o in model.graph.output])}
    for name, value in values.items():
        before = declared_shape(value)
        after = _fixed(name, before, shapes.get(name))
        if after is not None:
            if after != before:
                lines.append(f"shape of {name}: {_text(before)} -> {_text(after)}")
            write_shape(value, after)
        elif name not in states:
            example = "x".join("1" if i == 0 else str(d) for i, d in enumerate(before or (1, 3, 288, 512)))
            raise BadInputError(
                f"input {name} has an open shape {_text(before)}",
                remedy=f"Add --shape {name}={example} with numbers for what is open, such as 1x3x288x512.",
            )
    return lines


def _fixed(name: str, before: tuple[int | str, ...] | None, wanted: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape that an input gets; None when it stays open."""
    if wanted is not None:
        agrees = before is None or len(before) == len(wanted)
        agrees = agrees and all(isinstance(b, str) or b == w for b, w in zip(before or wanted, wanted, strict=True))
        if not agrees or not all(1 <= w <= MAX_SIDE for w in wanted):
            raise UsageError(
                "--shape does not fit the model's input",
                remedy="Change open dimensions only, to numbers from 1 up.",
                input=name,
                declared=_text(before),
                asked=_text(tuple(wanted)),
            )
        return tuple(wanted)
    if before is None:
        return None
    if len(before) == 4 and isinstance(before[0], str):
        before = (1, *before[1:])
    fixed = tuple(d for d in before if isinstance(d, int))
    return fixed if len(fixed) == len(before) else None


def _text(shape: Sequence[int | str] | None) -> str:
    return "unknown" if shape is None else "x".join(str(d) for d in shape) or "scalar"


def write_shape(value: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    """Declare a fixed shape in place."""
    value.type.tensor_type.shape.Clear()
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


def freeze_ratio(model: onnx.ModelProto, ratio: float | None) -> list[str]:
    """Turn RobustVideoMatting's `downsample_ratio` input into a constant, so that every shape is fixed.

    Args:
        ratio: 0 < ratio <= 1; None takes the authors' own rule, min(512 / longer side of the picture, 1).
    """
    values = {value.name: value for value in graph_inputs(model)}
    value = values.get("downsample_ratio")
    if value is None:
        return []
    if ratio is None:
        sides = [declared_shape(v) or () for n, v in values.items() if n == "src"]
        longest = max((d for shape in sides for d in shape[2:] if isinstance(d, int)), default=RVM_SMALL_SIDE)
        ratio = min(RVM_SMALL_SIDE / longest, 1.0)
    shape = [d if isinstance(d, int) else 1 for d in declared_shape(value) or (1,)]
    constant = numpy_helper.from_array(np.full(shape, ratio, np.float32), "downsample_ratio")
    model.graph.initializer.append(constant)
    _remove_input(model, "downsample_ratio")
    return [f"downsample_ratio: fixed at {ratio:g}, a constant of the graph from now on"]


def _remove_input(model: onnx.ModelProto, name: str) -> None:
    kept = [value for value in model.graph.input if value.name != name]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def settle_states(model: onnx.ModelProto) -> list[str]:
    """Give open state inputs the shape of the output that feeds them, as far as shape inference knows it."""
    lines = []
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    outputs = {value.name: declared_shape(value) for value in inferred.graph.output}
    inputs = {value.name: value for value in graph_inputs(model)}
    for name, partner in pair_states(list(inputs), list(outputs)):
        shape, current = outputs[partner], declared_shape(inputs[name])
        if current is not None and all(isinstance(d, int) for d in current):
            continue
        if shape is None or not all(isinstance(d, int) for d in shape):
            raise BadInputError(
                f"the shape of state {name} does not follow from the graph",
                remedy=f"Add --shape {name}=... with the shape of {partner}.",
                found=_text(shape),
            )
        write_shape(inputs[name], [int(d) for d in shape])
        lines.append(f"state {name} <- {partner}: {_text(shape)}")
    return lines
