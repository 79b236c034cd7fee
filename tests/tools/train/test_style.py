"""A style from its image to its bundle, on toys."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import BadInputError, ContractError, DeviceError, InternalError, NoInputError, UsageError
from cutline.tools.scenes.seeds import in_split
from cutline.tools.train import style_report
from cutline.tools.train.export import read_onnx
from cutline.tools.train.start import load_style_start
from cutline.tools.train.style import StyleTrainOptions, StyleTrainReport, train_style
from cutline.tools.train.style_canvas import draw_canvas
from cutline.tools.train.style_features import RandomBank
from cutline.tools.train.style_images import STYLES, draw_style
from cutline.tools.train.style_loop import StyleLoopOptions, StyleTrainer, load_style_network
from cutline.tools.train.style_losses import unlike
from cutline.tools.train.style_network import (
    StyleNet,
    StyleShape,
    check_style_parity,
    style_contract,
    style_from_onnx,
    style_macs,
    style_to_onnx,
)

ALLOWED = {"Conv", "Relu", "Add", "Resize"}
SHAPE = StyleShape(widths=(8, 8, 16, 16), blocks=1)


def network(seed: int = 1) -> StyleNet:
    """A small network that does something: the last layers do not start as zeros."""
    torch.manual_seed(seed)
    made = StyleNet(SHAPE)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_(0, 0.1)
    return made.eval()


class Squares:
    """Crops with a bright square on grey: quick to make."""

    def batch(self, step: int, size: int) -> NDArray[np.float32]:
        """float32[size, 3, 64, 96], every other step the same."""
        random = np.random.default_rng(step % 2)
        crops = np.full((size, 3, 64, 96), 0.4, np.float32)
        for crop in crops:
            x, y = random.integers(8, 50, 2)
            crop[:, y : y + 12, x : x + 24] = random.random((3, 1, 1), np.float32)
        return crops


def trainer(steps: int, **changed: object) -> StyleTrainer:
    torch.manual_seed(0)
    style = torch.rand(1, 3, 96, 96)
    options = StyleLoopOptions(steps=steps, batch=2, warm_up=1, **changed)  # type: ignore[arg-type]
    return StyleTrainer(StyleNet(SHAPE), RandomBank(style), style, options)


def test_the_network_starts_as_the_identity() -> None:
    picture = torch.rand(1, 3, 32, 64) * 2 - 1
    canvas = torch.from_numpy(draw_canvas(64, 32))[None]
    assert torch.equal(StyleNet(StyleShape())(picture, canvas), picture)


def test_the_loss_goes_down_and_the_style_comes_nearer(tmp_path: Path) -> None:
    learner = trainer(40)
    learner.run(Squares(), tmp_path / "c.pt")
    assert np.mean(learner.losses[-5:]) < 0.6 * np.mean(learner.losses[:3])


def stop_after(steps: int) -> Callable[[int, float], None]:
    def progress(step: int, loss: float) -> None:  # noqa: ARG001
        if step == steps:
            raise KeyboardInterrupt

    return progress


def test_a_resumed_run_goes_on_as_the_unbroken_one_would(tmp_path: Path) -> None:
    whole = trainer(6)
    whole.run(Squares(), tmp_path / "whole.pt")
    broken = trainer(6)
    with pytest.raises(KeyboardInterrupt):
        broken.run(Squares(), tmp_path / "c.pt", progress=stop_after(3))
    broken.save(tmp_path / "c.pt")
    after = trainer(6)
    after.resume(tmp_path / "c.pt")
    after.run(Squares(), tmp_path / "c.pt")
    assert after.losses == pytest.approx(whole.losses, rel=1e-4)


def test_a_loss_that_is_no_number_stops_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    learner = trainer(3)
    learner.save(tmp_path / "c.pt")
    before = (tmp_path / "c.pt").read_bytes()
    broken = SimpleNamespace(batch=lambda step, size: np.full((size, 3, 64, 96), np.nan, np.float32))
    with pytest.raises(BadInputError, match="no longer a number"):
        learner.run(broken, tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == before
    assert all(bool(p.isfinite().all()) for p in learner.network.parameters())


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="checkpoint cannot be read"):
        load_style_network(tmp_path / "c.pt")
    with pytest.raises(BadInputError, match="checkpoint cannot be read"):
        trainer(3).resume(tmp_path / "c.pt")


def test_calm_compares_still_pictures_exactly_and_moved_ones_where_they_overlap() -> None:
    picture = torch.rand(1, 3, 64, 96)
    assert float(unlike(picture, picture, None)) == 0
    assert float(unlike(picture, torch.roll(picture, (8, -12), (2, 3)), (8, -12))) < 1e-12
    assert float(unlike(picture, torch.roll(picture, (8, -12), (2, 3)), (0, 0))) > 1e-4


def test_export_computes_what_the_network_computes_with_operators_that_fuse() -> None:
    model = style_to_onnx(network(), width=64, height=32)
    assert check_style_parity(model, network()) < 1e-4
    assert {node.op_type for node in model.graph.node} <= ALLOWED
    contract = style_contract(64, 32)
    assert tuple(i.name for i in model.graph.input) == contract.input_names
    assert tuple(o.name for o in model.graph.output) == contract.output_names


def test_parity_check_catches_another_network_and_nan() -> None:
    with pytest.raises(InternalError, match="differs"):
        check_style_parity(style_to_onnx(network(), width=64, height=32), network(2))
    broken = network()
    with torch.no_grad():
        broken.head.bias.fill_(float("nan"))
    with pytest.raises(InternalError):
        check_style_parity(style_to_onnx(broken, width=64, height=32), broken)


def test_a_style_comes_back_out_of_its_export_and_runs_at_another_size() -> None:
    back = style_from_onnx(style_to_onnx(network(), width=64, height=32))
    assert back.shape == SHAPE
    assert check_style_parity(style_to_onnx(network(), width=96, height=64), back) < 1e-4


def test_the_shipped_shape_keeps_its_budget() -> None:
    assert 2e-9 * style_macs(StyleNet(StyleShape()), 512, 288) < 2.0  # GFLOP; 4 is the limit


def test_sides_that_do_not_halve_three_times_are_refused() -> None:
    with pytest.raises(ContractError, match="multiples of 8"):
        style_to_onnx(network(), width=60, height=32)


def test_style_images_are_the_same_every_time_and_unlike_each_other() -> None:
    pictures = {name: draw_style(name, 96, 80) for name in STYLES}
    assert all(p.shape == (80, 96, 3) and p.std() > 20 for p in pictures.values())
    assert np.array_equal(pictures["poster"], draw_style("poster", 96, 80))
    with pytest.raises(UsageError, match="no style"):
        draw_style("crayon")


# the command

SMALL = {"steps": 2, "batch": 2, "frames": 8, "width": 256, "height": 128, "device": "cpu"}


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def _measured_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two held-out pictures instead of two dozen, without drawing goods."""

    def pictures(width: int, height: int, options: object) -> list[NDArray[np.float32]]:  # noqa: ARG001
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / 256
        return [np.stack([x, y, (x + y) / 2]).astype(np.float32), np.stack([y, y, x]).astype(np.float32)]

    monkeypatch.setattr(style_report, "_held_out", pictures)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "stripes.png"
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::8], stripes[1::8] = (20, 60, 200), (20, 60, 200)
    cv2.imwrite(str(path), stripes)
    return path


@pytest.fixture
def trained(tmp_path: Path, image: Path, _measured_quickly: None, monkeypatch: pytest.MonkeyPatch) -> StyleTrainReport:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CUTLINE_SIGNING_KEY", raising=False)
    return train_style(StyleTrainOptions(image=image, name="stripes", output=tmp_path / "out", **SMALL), quiet())  # type: ignore[arg-type]


def test_a_trained_style_is_a_bundle_that_opens_is_measured_again_and_started_from(
    trained: StyleTrainReport, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_bundle(trained.bundle) as bundle:
        manifest = bundle.manifest
        assert manifest.contract.task == "style"
        assert [t.precision for t in manifest.targets] == ["bf16", "fp32"]
        assert manifest.accuracy is not None
        assert manifest.accuracy["style"]["content_ssim"] == pytest.approx(trained.figures.content_ssim)
        assert bundle.read("card.md") == trained.card.read_bytes()
        assert f"{trained.figures.style_after:.3f}" in trained.card.read_text()
    assert style_report.main([str(trained.bundle), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["style_after"] == pytest.approx(trained.figures.style_after, rel=1e-3)
    assert check_style_parity(read_onnx(trained.onnx), load_style_start(str(trained.bundle))) < 1e-3
    assert trained.curves.read_bytes().startswith(b"\x89PNG")


def test_the_card_names_the_start_and_no_folder_of_whoever_trained(trained: StyleTrainReport, tmp_path: Path) -> None:
    options = StyleTrainOptions(name="ink", output=tmp_path / "two", start=str(trained.bundle), **SMALL)  # type: ignore[arg-type]
    again = train_style(options, quiet())
    with open_bundle(again.bundle) as bundle:
        told = f"{bundle.manifest.provenance}{bundle.read('card.md').decode()}"
    assert f"started from {trained.bundle.name}" in told
    assert str(tmp_path) not in told


@pytest.mark.usefixtures("_measured_quickly")
def test_an_untrained_network_measures_as_the_picture_itself(image: Path) -> None:
    model = style_to_onnx(StyleNet(SHAPE).eval(), width=128, height=96)
    style = cv2.imread(str(image), cv2.IMREAD_COLOR)
    assert style is not None
    figures = style_report.measure_style(
        model.SerializeToString(), style_contract(128, 96), style, style_report.StyleReportOptions()
    )
    assert figures.content_ssim == pytest.approx(1, abs=1e-4)
    assert figures.flicker == pytest.approx(1, abs=1e-3)
    assert figures.style_after == pytest.approx(figures.style_before, rel=1e-3)


def test_a_report_on_something_else_is_one_line_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert style_report.main([str(tmp_path / "none.cutline")]) == 66
    assert capsys.readouterr().err.count("\n") == 1


def test_bad_images_are_refused_with_the_right_exit_code(tmp_path: Path) -> None:
    with pytest.raises(NoInputError) as missing:
        train_style(StyleTrainOptions(image=tmp_path / "none.jpg", output=tmp_path / "o"), quiet())
    assert missing.value.exit_code == 66
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(BadInputError) as unreadable:
        train_style(StyleTrainOptions(image=tmp_path / "text.jpg", output=tmp_path / "o"), quiet())
    assert unreadable.value.exit_code == 65
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(BadInputError, match="too small"):
        train_style(StyleTrainOptions(image=tmp_path / "dot.png", output=tmp_path / "o"), quiet())
    assert not (tmp_path / "o").exists()


def test_photographs_of_which_none_is_held_out_are_refused_before_the_training(tmp_path: Path, image: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    name = next(f"p{n}" for n in range(99) if in_split(f"p{n}", "train"))
    cv2.imwrite(str(few / f"{name}.png"), np.zeros((96, 128, 3), np.uint8))
    with pytest.raises(BadInputError, match="no picture for the test split"):
        train_style(StyleTrainOptions(image=image, scenes=few, output=tmp_path / "o"), quiet())
    assert not (tmp_path / "o").exists()


def test_options_that_do_not_fit_are_refused(image: Path) -> None:
    with pytest.raises(UsageError, match="no style image"):
        StyleTrainOptions(name="crayon")
    with pytest.raises(UsageError, match="cannot name a bundle"):
        StyleTrainOptions(image=image, name="My Style")
    with pytest.raises(UsageError, match="multiple"):
        StyleTrainOptions(image=image, width=500)
    with pytest.raises(UsageError, match="weight"):
        StyleTrainOptions(image=image, content_weight=-1)
    with pytest.raises(UsageError, match="learning rate"):
        StyleTrainOptions(image=image, rate=float("nan"))


def test_a_folder_with_another_run_is_left_alone(trained: StyleTrainReport, image: Path) -> None:
    folder = trained.bundle.parent
    with pytest.raises(UsageError, match="another seed"):
        train_style(StyleTrainOptions(image=image, name="stripes", output=folder, seed=9, **SMALL), quiet())  # type: ignore[arg-type]


def test_a_run_whose_loss_was_no_number_goes_on_with_another_rate(trained: StyleTrainReport, image: Path) -> None:
    folder = trained.bundle.parent
    again = train_style(StyleTrainOptions(image=image, name="stripes", output=folder, rate=1e-4, **SMALL), quiet())  # type: ignore[arg-type]
    assert again.steps == trained.steps


def test_a_matting_network_is_no_start(tmp_path: Path, image: Path) -> None:
    graph = onnx.helper.make_graph([], "g", [], [], [])
    with pytest.raises(ContractError, match="no style"):
        style_from_onnx(onnx.helper.make_model(graph))
    with pytest.raises(NoInputError):
        train_style(StyleTrainOptions(image=image, output=tmp_path / "o", start=str(tmp_path / "n.onnx")), quiet())


def test_without_pytorch_the_message_names_the_extra(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"pip install cutline\[train\]") as error:
        train_style(StyleTrainOptions(image=image), quiet())
    assert error.value.exit_code == 69
