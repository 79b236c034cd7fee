"""The trial run: clean-up must keep results, and OpenVINO must agree with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_models
from onnx import ModelProto

from cutline.engine import trial
from cutline.engine.cache import Cache
from cutline.engine.model_import import ImportedModel, import_model
from cutline.runtime.errors import BadInputError, InternalError


def ran(folder: Path, frozen: ModelProto, clean: ModelProto) -> dict[str, float]:
    (folder / "frozen.onnx").write_bytes(frozen.SerializeToString())
    (folder / "clean.onnx").write_bytes(clean.SerializeToString())
    return trial.task({"folder": str(folder)}, lambda news: None)


def test_the_real_selfie_network_is_the_same_in_openvino_within_a_thousandth(selfie: Path, tmp_path: Path) -> None:
    found = trial.try_out(import_model(selfie), Cache(tmp_path))
    assert found.openvino <= 1e-3
    assert found.cleaned <= 1e-4


def test_a_result_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_models.unet(channels=4).SerializeToString()
    model = ImportedModel(name="m", frozen=data, clean=data, lines=())
    first = trial.try_out(model, Cache(tmp_path))
    monkeypatch.setattr(trial, "run_in_child", None)
    assert trial.try_out(model, Cache(tmp_path)) == first


def test_a_clean_up_that_changes_results_is_our_bug(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="cleaning"):
        ran(tmp_path, small_models.unet(channels=4), small_models.unet(channels=8))


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    m = small_models.Maker()
    x = m.node("Log", [m.node("Sub", ["image", m.weight([[[[2.0]]]])])])
    m.node("Sigmoid", [x], to="alpha")
    model = m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 3, 8, 8)})
    with pytest.raises(BadInputError, match="NaN"):
        ran(tmp_path, model, model)


def test_nan_is_the_largest_difference_of_all() -> None:
    nan = {"a": np.array([np.nan]), "b": np.array([9.0])}
    found = trial.largest_difference({"a": np.array([1.0]), "b": np.array([0.0])}, nan)
    assert np.isnan(found)
