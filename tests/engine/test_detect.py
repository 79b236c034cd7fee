"""Detection: each known family is taken for what it is, with nothing but the file; model.toml overrides."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import small_models

from cutline.engine.detect import Detection, detect
from cutline.engine.hints import Hints, find_hints, read_hints
from cutline.engine.model_reader import read_model
from cutline.runtime.errors import ContractError


def found(
    model: onnx.ModelProto,
    folder: Path,
    *,
    hints: Hints | None = None,
    shapes: dict[str, list[int]] | None = None,
) -> Detection:
    imported = read_model(small_models.save(model, folder), shapes or {}, None)
    return detect(onnx.load_from_string(imported.clean), hints)


def test_u2net_first_output_is_the_fine_one(tmp_path: Path) -> None:
    it = found(small_models.u2net(), tmp_path)
    assert it.family == "u2net"
    assert it.contract.frame.mean == (0.485, 0.456, 0.406)
    assert [o.tensor for o in it.contract.outputs] == ["1959"]
    assert it.contract.primary.meaning == "alpha"
    assert any("dropped outputs: 1960" in line for line in it.lines)


def test_isnet_is_not_taken_for_u2net(tmp_path: Path) -> None:
    it = found(small_models.isnet(), tmp_path)
    assert it.family == "isnet"
    assert (it.contract.frame.mean, it.contract.frame.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert it.contract.primary.tensor == "output_image"


def test_birefnet_ends_in_logits(tmp_path: Path) -> None:
    it = found(small_models.birefnet(), tmp_path)
    assert it.family == "birefnet"
    assert it.contract.primary.meaning == "logits"
    assert it.contract.frame.std == (0.229, 0.224, 0.225)


def test_modnet_takes_minus_one_to_one(tmp_path: Path) -> None:
    it = found(small_models.modnet(), tmp_path)
    assert it.family == "modnet"
    assert (it.contract.frame.mean, it.contract.frame.std) == ((0.5,) * 3, (0.5,) * 3)


def test_robust_video_matting_has_its_states_wired(tmp_path: Path) -> None:
    it = found(small_models.rvm(), tmp_path, shapes={"src": [1, 3, 64, 128]})
    assert it.family == "rvm"
    assert [(s.input, s.output) for s in it.contract.states] == [(f"r{i}i", f"r{i}o") for i in range(1, 5)]
    assert it.contract.states[0].shape == (1, 4, 32, 64)
    assert it.contract.input_names == ("src", "r1i", "r2i", "r3i", "r4i")
    assert {o.tensor: o.meaning for o in it.contract.outputs} == {"pha": "alpha", "fgr": "foreground"}


def test_two_classes_in_nhwc(tmp_path: Path) -> None:
    it = found(small_models.selfie_like(), tmp_path)
    out = it.contract.primary
    assert it.family == "mediapipe-selfie"
    assert (it.contract.frame.layout, out.layout, out.channels) == ("NHWC", "NHWC", 2)
    assert (out.meaning, out.foreground_channels, out.softmax) == ("classes", (1,), True)


def test_the_real_selfie_network_needs_no_hint(selfie: Path) -> None:
    it = detect(onnx.load_from_string(read_model(selfie, {}, None).clean))
    assert it.family == "mediapipe-selfie"
    assert (it.contract.frame.width, it.contract.frame.height) == (256, 144)


@pytest.mark.parametrize("softmax", [True, False])
def test_class_maps_count_everything_but_ground_as_product(tmp_path: Path, softmax: bool) -> None:
    out = found(small_models.class_map(softmax=softmax), tmp_path).contract.primary
    assert out.meaning == "classes"
    assert out.foreground_channels == tuple(range(1, 21))
    assert out.softmax is not softmax


def test_indices_of_classes_become_an_alpha(tmp_path: Path) -> None:
    out = found(small_models.class_map(argmax=True), tmp_path).contract.primary
    assert (out.meaning, out.shape) == ("alpha", (1, 1, 24, 32))


def test_a_plate_is_told_from_the_frame_by_its_name(tmp_path: Path) -> None:
    it = found(small_models.unet(plate=True), tmp_path)
    assert it.contract.frame.tensor == "image"
    assert it.contract.plate is not None
    assert it.contract.plate.tensor == "plate"


def test_a_style_network_has_a_strength(tmp_path: Path) -> None:
    it = found(small_models.style(), tmp_path)
    assert (it.contract.task, it.contract.strength) == ("style", "strength")
    assert it.contract.primary.meaning == "picture"


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    assert any("ASSUMED" in line for line in found(small_models.unet(), tmp_path).lines)


@pytest.mark.parametrize(("divisor", "std"), [(255.0, 1 / 255), (1.0, 1.0)])
def test_a_graph_that_scales_its_input_itself_tells_the_range(tmp_path: Path, divisor: float, std: float) -> None:
    m = small_models.Maker()
    x = m.node("Div", ["image", m.weight([divisor])]) if divisor != 1.0 else "image"
    x = m.node("Sub", [x, m.weight([[[[0.4]], [[0.5]], [[0.6]]]])])
    m.node("Sigmoid", [m.conv(x, 3, 1)], to="alpha")
    it = found(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 1, 8, 8)}), tmp_path)
    assert it.contract.frame.std == (std,) * 3
    assert any("scales it itself" in line for line in it.lines)


def test_model_toml_overrides_what_would_be_assumed(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text(
        '[frame]\nrange = "imagenet"\norder = "BGR"\n[[outputs]]\ntensor = "alpha"\nmeaning = "logits"\n'
    )
    path = find_hints(tmp_path / "model.onnx")
    assert path is not None
    it = found(small_models.unet(), tmp_path, hints=read_hints(path))
    assert it.contract.frame.order == "BGR"
    assert it.contract.frame.mean == (0.485, 0.456, 0.406)
    assert it.contract.primary.meaning == "logits"
    assert any("stated in model.toml" in line for line in it.lines)


@pytest.mark.parametrize(
    "text",
    [
        "not toml at all [",
        'colour = "red"',
        '[frame]\nrange = "0..2"',
        "[frame]\nmean = [0.5, 0.5, 0.5]",
        '[frame]\ntensor = "picture"',
        '[[outputs]]\ntensor = "beta"',
        '[frame]\nlayout = "NHWC"',
    ],
)
def test_a_wrong_model_toml_is_a_contract_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    with pytest.raises(ContractError):
        found(small_models.unet(), tmp_path, hints=read_hints(path))


def test_what_cannot_be_known_asks_for_model_toml(tmp_path: Path) -> None:
    m = small_models.Maker()
    m.node("Tanh", [m.conv("image", 3, 1)], to="out")
    with pytest.raises(ContractError, match=r"model\.toml"):
        found(m.model({"image": (1, 3, 8, 8)}, {"out": (1, 1, 8, 8)}), tmp_path)


def test_five_channel_inputs_are_refused(tmp_path: Path) -> None:
    m = small_models.Maker()
    m.node("Sigmoid", [m.conv("image", 5, 1)], to="alpha")
    with pytest.raises(ContractError, match="three-channel"):
        found(m.model({"image": (1, 5, 8, 8)}, {"alpha": (1, 1, 8, 8)}), tmp_path)
