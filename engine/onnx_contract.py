"""Does a contract fit its ONNX model?"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, ValueInfoProto

from cutline.runtime.contract import ModelContract
from cutline.runtime.contract_check import compare
from cutline.runtime.errors import BadInputError

__all__ = ["check", "described"]

_WORDS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
}


def check(contract: ModelContract, onnx_bytes: bytes) -> None:
    """Compare a contract with the inputs and outputs that an ONNX model declares.

    Raises:
        ContractError: a tensor is missing, has another shape or type, or the model has an input that nobody feeds.
        BadInputError: the bytes are no ONNX model.
    """
    try:
        graph = onnx.ModelProto.FromString(onnx_bytes).graph
    except DecodeError as error:
        raise BadInputError("this is not an ONNX model", remedy="Export the model again.") from error
    weights = {w.name for w in graph.initializer} | {w.values.name for w in graph.sparse_initializer}
    inputs = described(
        value for value in graph.input if value.name not in weights
    )  # old exporters list weights as inputs
    compare(contract, inputs, described(graph.output))


def described(values: Iterable[ValueInfoProto]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape (0 where not fixed) and element type of every tensor, by name."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim)
        kind: int = tensor.elem_type
        found[value.name] = (shape, _WORDS.get(kind) or TensorProto.DataType.Name(kind).lower())
    return found
