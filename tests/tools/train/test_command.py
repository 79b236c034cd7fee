from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cutline.runtime.contract import contract_from_json
from cutline.runtime.errors import ContractError, CutlineError, DeviceError, NoInputError, UsageError
from cutline.tools.train import data
from cutline.tools.train.command import TrainOptions, train
from cutline.tools.train.start import load_start

SMALL = {"steps": 2, "batch": 2, "width": 64, "height": 32, "pool": 8, "device": "cpu", "measured": 2}

SHARED = Path(__file__).parents[4] / "shared" / "data"


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(TrainOptions(output=folder, **SMALL), quiet())  # type: ignore[arg-type]
    return folder


def test_training_leaves_a_network_its_contract_and_its_curves(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} >= {"cutout.onnx", "cutout.contract.json", "curves.png", "checkpoint.pt"}
    contract = contract_from_json((trained / "cutout.contract.json").read_bytes())
    assert contract.frame.shape == (1, 3, 32, 64)
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_training_leaves_a_card_with_data_seed_figures_limits_and_licence(trained: Path) -> None:
    card = (trained / "cutout.md").read_text()
    for wanted in ("## Data", "ImageNet", "seed 0", "IoU at 0.5", "SAD", "Flicker", "Where it fails", "Apache-2.0"):
        assert wanted in card
    assert (trained / "cutout-worst.png").exists()
    assert json.loads((trained / "cutout.json").read_text())["shots"] == 2


def test_a_finished_run_is_exported_again_and_not_trained_again(trained: Path) -> None:
    before = (trained / "cutout.onnx").read_bytes()
    report = train(TrainOptions(output=trained, **SMALL), quiet())  # type: ignore[arg-type]
    assert report.steps == 2
    assert (trained / "cutout.onnx").read_bytes() == before


def test_a_folder_with_another_run_is_left_alone(trained: Path) -> None:
    with pytest.raises(UsageError, match="another seed"):
        train(TrainOptions(output=trained, seed=9, **SMALL), quiet())  # type: ignore[arg-type]


def test_a_finished_run_makes_no_pictures(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "Feed", None)
    assert train(TrainOptions(output=trained, **SMALL), quiet()).steps == 2  # type: ignore[arg-type]


def test_a_command_that_failed_at_once_does_not_bind_the_next_one(tmp_path: Path) -> None:
    for wrong in ({"start": "cutot"}, {"network": "cut"}, {"steps": 0}, {"products": tmp_path}):
        with pytest.raises(CutlineError) as first:
            train(TrainOptions(output=tmp_path / "out", **{**SMALL, **wrong}), quiet())  # type: ignore[arg-type]
        assert "another" not in str(first.value)


def test_pruning_and_fine_tuning_start_from_an_export(trained: Path, tmp_path: Path) -> None:
    start = str(trained / "cutout.onnx")
    report = train(TrainOptions(output=tmp_path, start=start, prune=0.4, **SMALL), quiet())  # type: ignore[arg-type]
    assert report.weights < 0.6 * sum(p.numel() for p in load_start(start).parameters())


def test_distilling_from_a_finished_network(trained: Path, tmp_path: Path) -> None:
    report = train(TrainOptions(output=tmp_path, teacher=trained / "cutout.onnx", **SMALL), quiet())  # type: ignore[arg-type]
    assert report.onnx.exists()


def test_a_teacher_with_other_shapes_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "t.onnx")
    with pytest.raises(ContractError, match="matting network"):
        train(TrainOptions(output=tmp_path / "out", teacher=tmp_path / "t.onnx", **SMALL), quiet())  # type: ignore[arg-type]


def test_a_network_goes_on_as_what_it_starts_from_and_can_learn_to_heed_a_plate(trained: Path, tmp_path: Path) -> None:
    start = str(trained / "cutout.onnx")
    seeing = train(TrainOptions(output=tmp_path / "1", network="cutout-plate", start=start, **SMALL), quiet())  # type: ignore[arg-type]
    assert seeing.onnx.name == "cutout-plate.onnx"
    again = train(TrainOptions(output=tmp_path / "2", start=str(seeing.onnx), **SMALL), quiet())  # type: ignore[arg-type]
    assert again.onnx.name == "cutout-plate.onnx"


def test_options_that_do_not_fit_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only a trained network"):
        train(TrainOptions(output=tmp_path / "1", prune=0.3, **SMALL), quiet())  # type: ignore[arg-type]
    start = str(trained / "cutout.onnx")
    seeing = train(TrainOptions(output=tmp_path / "2", network="cutout-plate", start=start, **SMALL), quiet())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a plate"):
        train(TrainOptions(output=tmp_path / "4", network="cutout", start=str(seeing.onnx), **SMALL), quiet())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="32"):
        TrainOptions(width=100)
    with pytest.raises(UsageError, match="learning rate"):
        TrainOptions(rate=-1.0)
    with pytest.raises(NoInputError):
        train(TrainOptions(output=tmp_path / "3", products=tmp_path / "none", **SMALL), quiet())  # type: ignore[arg-type]


def test_without_pytorch_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"pip install cutline\[train\]"):
        train(TrainOptions(output=tmp_path), quiet())


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder shared/data beside the checkout")
def test_fine_tuning_on_real_packshots_with_a_real_teacher(trained: Path, tmp_path: Path) -> None:
    report = train(
        TrainOptions(
            output=tmp_path,
            start=str(trained / "cutout.onnx"),
            products=SHARED / "products",
            scenes=SHARED / "scenes",
            teacher=SHARED / "models" / "mediapipe_selfie.onnx",
            **SMALL,  # type: ignore[arg-type]
        ),
        quiet(),
    )
    assert report.steps == 2
    assert report.loss > 0
