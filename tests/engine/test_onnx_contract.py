"""A contract against a real ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutline.engine.onnx_contract import check
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, ContractError


def network(
    *, shape: tuple[int | str, ...] = (1, 3, 16, 32), kind: int = TensorProto.FLOAT, extra: str | None = None
) -> bytes:
    """One convolution from `frame` to `alpha`; its weight is also listed as an input, as old exporters do."""
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), helper.tensor_dtype_to_np_dtype(kind)), "weight")
    inputs = [helper.make_tensor_value_info("frame", kind, shape)]
    inputs.append(helper.make_tensor_value_info("weight", kind, (1, 3, 1, 1)))
    if extra:
        inputs.append(helper.make_tensor_value_info(extra, kind, (1,)))
    outputs = [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, 16, 32))]
    nodes = [helper.make_node("Conv", ["frame", "weight"], ["alpha"])]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [weight])).SerializeToString()


def test_a_network_that_fits_passes(contract: ModelContract) -> None:
    check(contract, network())


def test_tensors_are_compared_by_name_shape_and_type(contract: ModelContract) -> None:
    with pytest.raises(
        ContractError, match=r"input 'frame'.*expected='float32\[1,3,16,32\]', found='float32\[\?,3,16,32\]'"
    ):
        check(contract, network(shape=("batch", 3, 16, 32)))
    with pytest.raises(ContractError, match=r"found='float16\[1,3,16,32\]'"):
        check(contract, network(kind=TensorProto.FLOAT16))
    with pytest.raises(ContractError, match=r"found='double\[1,3,16,32\]'"):
        check(contract, network(kind=TensorProto.DOUBLE))
    with pytest.raises(ContractError, match="'ratio' is not in the contract"):
        check(contract, network(extra="ratio"))


def test_a_name_that_the_network_does_not_have_is_named() -> None:
    alpha = Output(tensor="matte", meaning="alpha", width=32, height=16)
    other = ModelContract(task="matte", frame=Image(tensor="frame", width=32, height=16), outputs=(alpha,))
    with pytest.raises(ContractError, match=r"no output 'matte' \(found=\['alpha'\]\)"):
        check(other, network())


def test_what_is_no_network_is_refused(contract: ModelContract) -> None:
    with pytest.raises(BadInputError, match="not an ONNX model"):
        check(contract, b"<html>not found</html>")
    with pytest.raises(ContractError, match="no input 'frame'"):
        check(contract, onnx.ModelProto().SerializeToString())
