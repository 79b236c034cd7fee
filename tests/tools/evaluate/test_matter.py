from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cutline.runtime.contract import Image, ModelContract, Output, contract_to_json
from cutline.runtime.errors import BadInputError, ContractError, NoInputError, UsageError
from cutline.tools.evaluate.matter import guess_contract, open_matter
from cutline.tools.train.teacher import OnnxTeacher

Shapes = dict[str, list[object]]


def write_red(path: Path, *, inputs: int = 1) -> None:
    """A network whose matte is the red channel of its (last) picture, 16x8."""
    values = [helper.make_tensor_value_info(f"in{k}", TensorProto.FLOAT, [1, 3, 8, 16]) for k in range(inputs)]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 8, 16])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, 0.0])
    node = helper.make_node("Conv", [f"in{inputs - 1}", "w"], ["out"])
    graph = helper.make_graph([node], "g", values, [out], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_file_without_a_contract_is_read_off_its_shapes(tmp_path: Path) -> None:
    write_red(tmp_path / "red.onnx")
    matter = open_matter(str(tmp_path / "red.onnx"))
    frame = np.zeros((8, 16, 3), np.uint8)
    frame[..., 0] = 51
    assert matter.matte(frame) == pytest.approx(np.full((8, 16), 0.2), abs=1e-5)
    assert matter.contract.plate is None


def test_the_contract_beside_the_file_decides_normalisation_and_meaning(tmp_path: Path) -> None:
    write_red(tmp_path / "red.onnx")
    contract = ModelContract(
        task="matte",
        frame=Image(tensor="in0", width=16, height=8, order="BGR", mean=(0.5,) * 3, std=(0.5,) * 3),
        outputs=(Output(tensor="out", meaning="logits", width=16, height=8),),
    )
    (tmp_path / "red.contract.json").write_bytes(contract_to_json(contract))
    frame = np.zeros((16, 32, 3), np.uint8)
    frame[..., 2] = 255  # blue comes first: value 1, alpha sigmoid(1)
    assert open_matter(str(tmp_path / "red.onnx")).matte(frame)[4, 4] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-5)


def test_a_plate_network_demands_its_plate(tmp_path: Path) -> None:
    write_red(tmp_path / "two.onnx", inputs=2)
    matter = open_matter(str(tmp_path / "two.onnx"))
    frame, plate = np.zeros((8, 16, 3), np.uint8), np.full((8, 16, 3), 255, np.uint8)
    assert matter.matte(frame, plate).max() == 1
    with pytest.raises(UsageError, match="plate"):
        matter.matte(frame)


def test_two_classes_and_channels_last_are_understood() -> None:
    contract = guess_contract({"x": [1, 144, 256, 3]}, {"y": [1, 144, 256, 2]})
    assert contract.frame.layout == contract.primary.layout == "NHWC"
    assert (contract.primary.meaning, contract.primary.foreground_channels) == ("classes", (1,))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"x": [1, 10]}, {"y": [1, 10]}),
        ({"x": [1, 3, 8, 8]}, {"y": [1, 5, 8, 8]}),
        ({"x": [1, 3, 8, 8], "z": [1, 3, 4, 4]}, {"y": [1, 1, 8, 8]}),
        ({"x": [1, 3, "h", "w"]}, {"y": [1, 1, "h", "w"]}),
    ],
)
def test_shapes_of_other_networks_are_refused(
    inputs: dict[str, list[object]], outputs: dict[str, list[object]]
) -> None:
    with pytest.raises(ContractError):
        guess_contract(inputs, outputs)


def test_missing_and_damaged_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        open_matter(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"x")
    with pytest.raises(BadInputError, match="ONNX"):
        open_matter(str(tmp_path / "bad.onnx"))


def test_a_contract_of_another_size_is_refused(tmp_path: Path) -> None:
    write_red(tmp_path / "red.onnx")
    contract = ModelContract(
        task="matte",
        frame=Image(tensor="in0", width=32, height=8),
        outputs=(Output(tensor="out", meaning="alpha", width=32, height=8),),
    )
    (tmp_path / "red.contract.json").write_bytes(contract_to_json(contract))
    with pytest.raises(ContractError, match="another shape"):
        open_matter(str(tmp_path / "red.onnx"))


@pytest.mark.parametrize(("tensor", "channels"), [("matte", 1), ("out", 5)])
def test_a_contract_with_another_output_is_refused(tmp_path: Path, tensor: str, channels: int) -> None:
    write_red(tmp_path / "red.onnx")
    output = Output(
        tensor=tensor, meaning="classes", width=16, height=8, channels=channels, foreground_channels=(channels - 1,)
    )
    contract = ModelContract(task="matte", frame=Image(tensor="in0", width=16, height=8), outputs=(output,))
    (tmp_path / "red.contract.json").write_bytes(contract_to_json(contract))
    with pytest.raises(ContractError):
        open_matter(str(tmp_path / "red.onnx")).matte(np.zeros((8, 16, 3), np.uint8))


def test_a_teacher_that_gives_nan_is_named(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info("in0", TensorProto.FLOAT, [1, 3, 8, 16])]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 8, 16])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [float("nan"), 0.0, 0.0])
    graph = helper.make_graph([helper.make_node("Conv", ["in0", "w"], ["out"])], "g", values, [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "lost.onnx")
    frames = np.zeros((2, 8, 16, 3), np.uint8)
    with pytest.raises(BadInputError, match="teacher gives NaN"):
        OnnxTeacher(tmp_path / "lost.onnx", plate=False).mattes(frames, frames)
