"""Folds constants, drops what nothing reads, brings a graph to one opset and to float32. Runs in the import child.

onnxslim does the folding rather than `polygraphy surgeon sanitize`: the latter needs a package more
(onnx-graphsurgeon), and where that is missing it prints a warning and hands the model back as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxslim
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter

from cutline.calibration.graph import drop_notes
from cutline.engine.model_check import all_graphs, all_tensors
from cutline.engine.model_shapes import write_shape
from cutline.runtime.errors import BadInputError

__all__ = ["OPSET", "clean", "finish", "keep_outputs", "to_float32"]

OPSET = 19  # the first in which Q and DQ take float16 scales; every parser from TensorRT 10.3 on reads it
MAX_TENSOR_BYTES = 1 << 30  # of one intermediate result
LARGE = 1 << 16  # bytes of one weight
MIN_MAP_SIDE = 8  # pixels; what is smaller is no matte
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
REFUSED = ("SequenceConstruct", "SequenceEmpty", "Optional", "StringNormalizer", "RandomNormal", "RandomUniform")
RANDOM = ("RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model: opset 19 or later, static shapes, constants folded, float32 where it was half.

    Raises:
        BadInputError: the graph contradicts itself, stays dynamic, or needs what no engine gives.
    """
    model = _raise_opset(model)
    names = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    model = _simplify(model)
    after = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if after != names and not set(after[0]) <= set(names[0]):
        raise BadInputError("the graph's inputs do not survive clean-up", remedy="Export the model again.")
    return model


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """The second half, once every shape is fixed: float32, a complete check, and no shape left open."""
    to_float32(model)
    give_maps_four_axes(model)
    model = _infer(model)
    _refuse_what_stays(model)
    _check_sizes(model)
    drop_notes(model)
    return model


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if model.functions:
        model = _blamed("inlining its functions", lambda: inliner.inline_local_functions(model))
    if version >= OPSET:
        return model
    model.ir_version = max(model.ir_version, 8)
    doing = f"raising it from opset {version} to {OPSET}"
    return _with_weights_aside(model, lambda: _blamed(doing, lambda: version_converter.convert_version(model, OPSET)))


def _simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    return _blamed("simplifying it", lambda: onnxslim.slim(model))


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    def run() -> onnx.ModelProto:
        del model.graph.value_info[:]
        full = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(full, full_check=True)
        return full

    return _with_weights_aside(model, lambda: _blamed("checking it", run))


def _with_weights_aside(model: onnx.ModelProto, run: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """Run a pass of ONNX's C++ with the large weights made inputs meanwhile: it copies every byte several times.

    180 MiB of weights took 1.6 GB with them in place, 1.3 GB without. `model` loses them.
    """
    graph = model.graph
    listed = {value.name for value in graph.input}
    small: list[onnx.TensorProto] = []
    aside: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        copy = onnx.TensorProto.FromString(tensor.SerializeToString())
        (aside if len(tensor.raw_data) >= LARGE else small).append(copy)
    del graph.initializer[:]
    graph.initializer.extend(small)
    added = [t for t in aside if t.name not in listed]
    graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in added)
    result = run()
    names = {t.name for t in added}
    inputs = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in result.graph.input if v.name not in names]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    result.graph.initializer.extend(aside)
    return result


def _blamed(doing: str, run: Callable[[], onnx.ModelProto | None]) -> onnx.ModelProto:
    """Call a library on the model; whatever it raises is the model's fault, and becomes one line."""
    try:
        result = run()
    except (MemoryError, BadInputError):
        raise
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BadInputError(
            f"the model does not hold together ({doing} failed: {text[:200]})", remedy="Export it again and check it."
        ) from error
    if not isinstance(result, onnx.ModelProto) or not result.graph.output:
        raise BadInputError(f"{doing} left no graph", remedy="Export the model again.")
    return result


def to_float32(model: onnx.ModelProto) -> None:
    """Widen float16 and bfloat16 in place: weights, casts, inputs, outputs. Builders choose precisions themselves."""
    for tensor in all_tensors(model):
        if tensor.data_type in HALVES:
            wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            tensor.CopyFrom(wide)
    for graph in all_graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in HALVES:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in HALVES:
                    attribute.i = TensorProto.FLOAT


def give_maps_four_axes(model: onnx.ModelProto) -> None:
    """Turn 1xHxW and HxW outputs into 1x1xHxW, and class indices into 0 (ground) or 1 (anything else), in place."""
    graph = model.graph
    for value in graph.output:
        kind, dims = value.type.tensor_type, [d.dim_value for d in value.type.tensor_type.shape.dim]
        indices = kind.elem_type in (TensorProto.INT64, TensorProto.INT32) and len(dims) >= 2
        flat = len(dims) in (2, 3) and min(dims[-2:]) >= MIN_MAP_SIDE and math.prod(dims[:-2]) == 1
        if not (flat or indices):
            continue
        inner = f"{value.name}/before"
        for node in graph.node:
            for names in (node.output, node.input):
                names[:] = [inner if n == value.name else n for n in names]
        shape = [1, 1, *dims[-2:]] if flat else dims
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{inner}/shape"))
        if indices:
            graph.node.append(helper.make_node("Cast", [inner], [f"{inner}/float"], to=TensorProto.FLOAT))
            for bound, number in (("low", 0), ("high", 1)):
                graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), f"{inner}/{bound}"))
            clip = [f"{inner}/float", f"{inner}/low", f"{inner}/high"]
            graph.node.append(helper.make_node("Clip", clip, [f"{inner}/clipped"]))
            kind.elem_type = TensorProto.FLOAT
        source = f"{inner}/clipped" if indices else inner
        graph.node.append(helper.make_node("Reshape", [source, f"{inner}/shape"], [value.name]))
        write_shape(value, shape)


def _refuse_what_stays(model: onnx.ModelProto) -> None:
    kinds = {node.op_type for graph in all_graphs(model.graph) for node in graph.node}
    found = sorted(kinds & {"If", *REFUSED, *RANDOM})
    if found:
        raise BadInputError(
            f"the model has operators that no engine here runs: {', '.join(found)}",
            remedy="Export it without branches, sequences and random numbers.",
        )


def _check_sizes(model: onnx.ModelProto) -> None:
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not all(d.HasField("dim_value") and d.dim_value > 0 for d in dims):
            raise BadInputError(
                f"the shape of {value.name[:80]} is not fixed even with fixed inputs",
                remedy="Export the model for a fixed size, or give --shape for every open input.",
            )
        if 4 * math.prod(d.dim_value for d in dims) > MAX_TENSOR_BYTES:
            raise BadInputError(
                f"the intermediate result {value.name[:80]} is larger than {MAX_TENSOR_BYTES >> 20} MiB",
                remedy="Use a smaller model, or a smaller --shape.",
            )


def keep_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return a copy with these outputs only, without the nodes and weights that served the others."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    outputs = {value.name: value for value in graph.output}
    kept = [outputs[name] for name in names]
    needed, nodes = set(names), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_reads(node))
    for field, values in (("output", kept), ("node", nodes[::-1])):
        copies = [type(v).FromString(v.SerializeToString()) for v in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    for field in ("initializer", "value_info"):
        made = needed | {name for node in graph.node for name in node.output}
        values = [v for v in getattr(graph, field) if v.name in made]
        copies = [type(v).FromString(v.SerializeToString()) for v in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return result


def _reads(node: onnx.NodeProto) -> set[str]:
    inner = {name for a in node.attribute if a.HasField("g") for n in a.g.node for name in n.input}
    return set(node.input) | inner
