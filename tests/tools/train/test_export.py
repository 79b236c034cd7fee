from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from cutline.runtime.errors import BadInputError, ContractError, InternalError, NoInputError
from cutline.tools.train.export import check_parity, contract_of, network_from_onnx, network_to_onnx, read_onnx
from cutline.tools.train.networks import CutNet, NetworkShape

ALLOWED = {"Conv", "DepthToSpace", "Clip", "Add", "Concat", "Resize", "Sigmoid"}


def small(*, plate: bool = False) -> CutNet:
    torch.manual_seed(1)
    shape = NetworkShape(plate=plate, inner=(32, *(8,) * 10, 16), decoder=(16, 8, 16, 8, 8), head=8)
    network = CutNet(shape).eval()
    for name, weight in network.named_parameters():
        if name.startswith("evidence"):
            torch.nn.init.normal_(weight, std=0.3)  # nothing before training
    return network


@pytest.mark.parametrize("plate", [False, True])
def test_export_computes_what_the_network_computes(plate: bool) -> None:
    network = small(plate=plate)
    assert check_parity(network_to_onnx(network, width=64, height=32), network) < 1e-5


def test_export_holds_only_operators_that_fuse() -> None:
    model = network_to_onnx(small(plate=True), width=64, height=32)
    assert {node.op_type for node in model.graph.node} <= ALLOWED
    assert model.opset_import[0].version >= 17
    for node in model.graph.node:
        if node.op_type == "Resize":
            assert onnx.helper.get_node_attr_value(node, "mode") == b"linear"


def test_contract_names_the_tensors_of_the_export() -> None:
    network = small(plate=True)
    model = network_to_onnx(network, width=64, height=32)
    contract = contract_of(network.shape, width=64, height=32)
    assert tuple(i.name for i in model.graph.input) == contract.input_names
    assert tuple(o.name for o in model.graph.output) == contract.output_names
    assert contract.plate is not None
    assert contract.plate.shape == (1, 3, 32, 64)


def test_a_network_comes_back_out_of_its_export() -> None:
    network = small()
    model = network_to_onnx(network, width=64, height=32)
    back = network_from_onnx(model)
    assert check_parity(model, back) < 1e-5
    assert back.shape == network.shape


def test_parity_check_catches_another_network() -> None:
    model = network_to_onnx(small(), width=64, height=32)
    other = small()
    with torch.no_grad():
        other.head.bias += 1
    with pytest.raises(InternalError, match="differs"):
        check_parity(model, other)


def test_parity_check_catches_nan() -> None:
    network = small()
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(InternalError):
        check_parity(network_to_onnx(network, width=64, height=32), network)


def test_sides_that_do_not_halve_five_times_are_refused() -> None:
    with pytest.raises(ContractError, match="32"):
        network_to_onnx(small(), width=100, height=32)


def test_a_strange_network_is_no_start_for_fine_tuning() -> None:
    graph = onnx.helper.make_graph([], "g", [], [], [])
    with pytest.raises(ContractError, match="none that this program trained"):
        network_from_onnx(onnx.helper.make_model(graph))


def test_a_damaged_file_and_a_missing_one_say_so(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(BadInputError, match="not a usable ONNX"):
        read_onnx(tmp_path / "bad.onnx")
    with pytest.raises(NoInputError):
        read_onnx(tmp_path / "none.onnx")
