"""Importing: what is refused and with which words, and what comes out equal to what went in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import small_models
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cutline.engine.model_import import ImportedModel, import_model
from cutline.engine.model_reader import read_model
from cutline.engine.sandbox import Limits
from cutline.runtime.errors import BadInputError, CutlineError, NoInputError, UsageError


def infer(model: bytes, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def random_feeds(model: bytes) -> dict[str, NDArray[np.float32]]:
    graph = onnx.load_from_string(model).graph
    random = np.random.default_rng(0)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input}
    return {name: random.random(shape, np.float32) for name, shape in shapes.items()}


def imported(path: Path, shapes: dict[str, list[int]] | None = None, ratio: float | None = None) -> ImportedModel:
    """What `import_model` gives, without its child: a child takes a second to start."""
    return read_model(path, shapes or {}, ratio)


def refused(path: Path, run: Callable[[Path], object] = imported) -> str:
    with pytest.raises(CutlineError) as caught:
        run(path)
    assert caught.value.exit_code in (64, 65, 66)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_plain_model_comes_through_unchanged_in_its_results(tmp_path: Path) -> None:
    original = small_models.unet()
    model = imported(small_models.save(original, tmp_path))
    feeds = random_feeds(model.clean)
    np.testing.assert_allclose(
        infer(model.clean, feeds)[0], infer(original.SerializeToString(), feeds)[0], rtol=0, atol=1e-6
    )
    assert onnx.load_from_string(model.clean).opset_import[0].version >= 19


def test_an_open_batch_becomes_one_and_is_said(tmp_path: Path) -> None:
    model = imported(small_models.save(small_models.unet(batch="N"), tmp_path))
    assert any("1x3x48x64" in line for line in model.lines)


def test_an_open_size_needs_a_shape_and_the_error_says_how(tmp_path: Path) -> None:
    path = small_models.save(small_models.modnet("height", "width"), tmp_path)
    assert "--shape input=1x3xheightxwidth" in refused(path)
    model = imported(path, shapes={"input": [1, 3, 32, 64]})
    assert infer(model.clean, random_feeds(model.clean))[0].shape == (1, 1, 32, 64)


def test_a_shape_that_does_not_fit_is_a_usage_error(tmp_path: Path) -> None:
    path = small_models.save(small_models.unet(), tmp_path)
    for shapes in ({"image": [1, 3, 48, 65]}, {"image": [1, 3]}, {"nothing": [1]}):
        with pytest.raises(UsageError):
            imported(path, shapes)


def test_robust_video_matting_gets_fixed_states_from_the_picture_alone(tmp_path: Path) -> None:
    path = small_models.save(small_models.rvm(), tmp_path)
    model = imported(path, shapes={"src": [1, 3, 64, 128]}, ratio=0.5)
    feeds = random_feeds(model.clean)
    assert "downsample_ratio" not in feeds
    assert feeds["r1i"].shape == (1, 4, 16, 32)
    assert feeds["r4i"].shape == (1, 4, 2, 4)
    original = {**feeds, "downsample_ratio": np.array([0.5], np.float32)}
    for got, wanted in zip(infer(model.clean, feeds), infer(path.read_bytes(), original), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_half_precision_models_are_widened(tmp_path: Path) -> None:
    m = small_models.Maker()
    w = m.weight(np.ones((1, 3, 1, 1), np.float16))
    m.node("Sigmoid", [m.node("Conv", ["image", w])], to="alpha")
    model = m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 1, 8, 8)})
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    clean = onnx.load_from_string(imported(small_models.save(model, tmp_path)).clean)
    assert {w.data_type for w in clean.graph.initializer} == {TensorProto.FLOAT}
    assert clean.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"  <html>\n", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"PK\x03\x04rest of a checkpoint", "zip"),
        (b"\x00" * 64, "damaged"),
        (b"plain words, not a protobuf", "damaged"),
        (b"\x08\x08", "no ONNX graph"),
    ],
)
def test_files_that_are_not_models_are_named_for_what_they_are(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_truncated_model_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = small_models.unet(channels=4).SerializeToString()
    for part in (0.3, 0.9, 0.999):
        path = tmp_path / "cut.onnx"
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path)


def test_a_missing_model_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        imported(tmp_path / "none.onnx")
    assert "not a file" in refused(tmp_path)


def test_unknown_operators_are_named(tmp_path: Path) -> None:
    m = small_models.Maker()
    x = m.node("Swoosh", ["image"], domain="com.example")
    m.node("Swish2", [m.node("Frobnicate", [x])], to="alpha")
    model = m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 3, 8, 8)})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    text = refused(small_models.save(model, tmp_path))
    assert "Frobnicate" in text
    assert "com.example:Swoosh" in text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    model = small_models.unet(channels=4)
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values.flat[3] = bad
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, model.graph.initializer[0].name))
    assert "weights" in refused(small_models.save(model, tmp_path))


def test_an_infinite_bound_of_a_clip_is_fine(tmp_path: Path) -> None:
    m = small_models.Maker()
    x = m.conv("image", 3, 1)
    x = m.node("Clip", [x, m.weight(np.array(0, np.float32)), m.weight(np.array(np.inf, np.float32))])
    m.node("Sigmoid", [x], to="alpha")
    imported(small_models.save(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 1, 8, 8)}), tmp_path))


def test_three_hundred_megabytes_of_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(300 << 20)  # sparse: takes no room
    assert "256 MiB" in refused(path)


def external(location: str, **more: str) -> onnx.ModelProto:
    model = small_models.unet(channels=4)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    raw = small_models.unet(channels=4).graph.initializer[0].raw_data
    (tmp_path / "weights.bin").write_bytes(b"1234" + raw)
    model = imported(small_models.save(external("weights.bin", offset="4", length=str(len(raw))), tmp_path))
    feeds = random_feeds(model.clean)
    wanted = infer(small_models.unet(channels=4).SerializeToString(), feeds)[0]
    np.testing.assert_allclose(infer(model.clean, feeds)[0], wanted, atol=1e-6)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "C:\\secret.bin", "", "a\\..\\b"]
)
def test_external_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    assert "outside" in refused(small_models.save(external(location), folder))


def test_external_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "sub").symlink_to(tmp_path)
    for location in ("weights.bin", "sub/secret.bin"):
        assert "outside" in refused(small_models.save(external(location), folder))


def test_external_weights_that_are_missing_or_short_are_refused(tmp_path: Path) -> None:
    assert "missing" in refused(small_models.save(external("weights.bin"), tmp_path))
    (tmp_path / "weights.bin").write_bytes(bytes(10))
    assert "end before" in refused(small_models.save(external("weights.bin", offset="4", length="100"), tmp_path))
    assert "offset" in refused(small_models.save(external("weights.bin", offset="x"), tmp_path))


def test_a_loop_is_refused_by_name_before_anybody_runs_it(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["x", "x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8]),
        ],
    )
    m = small_models.Maker()
    m.node("Loop", [m.weight(np.array(2**60)), m.weight(np.array(True)), "image"], to="alpha", body=body)
    assert "Loop" in refused(small_models.save(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 3, 8, 8)}), tmp_path))


def test_a_network_that_is_quantised_already_is_refused(tmp_path: Path) -> None:
    m = small_models.Maker()
    step, zero = m.weight(np.array(0.01, np.float32)), m.weight(np.array(0, np.uint8))
    codes = m.node("QuantizeLinear", [m.conv("image", 3, 1), step, zero])
    m.node("DequantizeLinear", [codes, step, zero], to="alpha")
    said = refused(small_models.save(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 1, 8, 8)}), tmp_path))
    assert "quantised already" in said


def bomb() -> onnx.ModelProto:
    m = small_models.Maker()
    x = m.weight(np.ones((1, 1, 1, 1), np.float32))
    for _ in range(6):
        x = m.node("Tile", [x, m.weight(np.array([1, 1, 32, 32]))])
    total = m.node("ReduceSum", [x, m.weight(np.array([2, 3]))], keepdims=1)
    m.node("Mul", ["image", total], to="alpha")
    return m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 3, 8, 8)})


def test_a_constant_that_unfolds_to_gigabytes_ends_in_one_line(tmp_path: Path) -> None:
    refused(small_models.save(bomb(), tmp_path), import_model)


def test_the_child_gives_what_the_reader_gives_and_passes_its_errors_on(tmp_path: Path) -> None:
    path = small_models.save(small_models.unet(channels=4), tmp_path)
    assert import_model(path) == imported(path)
    path.write_bytes(b"")
    assert refused(path, import_model) == refused(path)


def test_a_child_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    path = small_models.save(small_models.unet(channels=4), tmp_path)
    text = refused(path, lambda p: import_model(p, limits=Limits(seconds=0.05, memory=None)))
    assert "0.05 s" in text


def test_a_child_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    path = small_models.save(small_models.unet(channels=64), tmp_path)
    with pytest.raises(BadInputError):
        import_model(path, limits=Limits(seconds=60, memory=150_000_000))


def test_modules_beside_a_model_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_models.save(small_models.unet(channels=4), tmp_path)
    for name in ("onnx", "msgspec", "onnxslim"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    import_model(path)
    assert not (tmp_path / "ran").exists()
