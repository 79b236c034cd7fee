"""Float16 on a machine without its arithmetic: the same graph in float32, rounded wherever the typed graph stores it.

CPUs give no verdict on a float16 graph by themselves. ONNX Runtime computes it in float32 and drops the roundings
between layers, OpenVINO widens it whole: an overflow would go unseen. ONNX Runtime 1.23, the last for
Python 3.10, also cuts off in QuantizeLinear where a float16 must be rounded to nearest (later ones round): the error of
an INT8 graph doubles or trebles.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["emulate_half"]

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def emulate_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a typed model into float32, with a pair of casts behind every tensor that is float16 in it.

    Sums stay float32, as on tensor cores. Shapes and types must have been inferred. A model that holds no float16 is
    returned itself: it may be large.
    """
    if not _has_half(model.graph):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    half = {v.name for v in (*graph.value_info, *graph.output) if v.type.tensor_type.elem_type == HALF}
    for tensor in graph.initializer:
        if tensor.data_type == HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        for attribute in copy.attribute:
            if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == HALF:
                attribute.i = FLOAT
        nodes.append(copy)
        for i, name in enumerate(node.output):
            if name in half:
                copy.output[i] = f"{name}/exact"
                nodes.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/half"], to=HALF))
                nodes.append(helper.make_node("Cast", [f"{name}/half"], [name], to=FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for value in graph.output:
        if value.type.tensor_type.elem_type == HALF:
            value.type.tensor_type.elem_type = FLOAT
    return result


def _has_half(graph: onnx.GraphProto) -> bool:
    values = (*graph.value_info, *graph.output)
    return any(v.type.tensor_type.elem_type == HALF for v in values) or any(
        t.data_type == HALF for t in graph.initializer
    )
