"""Pruning outputs, and the steps of clean-up that stand alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import small_models

from cutline.engine.model_clean import clean, finish, keep_outputs
from cutline.engine.model_shapes import pair_states
from cutline.runtime.errors import BadInputError


def test_outputs_that_nobody_reads_go_with_all_that_served_them() -> None:
    model = small_models.isnet()
    kept = keep_outputs(model, ["output_image"])
    onnx.checker.check_model(kept)
    assert [o.name for o in kept.graph.output] == ["output_image"]
    assert len(kept.graph.node) < len(model.graph.node) / 2
    assert len(kept.graph.initializer) < len(model.graph.initializer) / 2
    assert len(model.graph.output) == 7
    feeds = {"input_image": np.random.default_rng(0).random((1, 3, 32, 32), np.float32)}
    run = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            ["output_image"], feeds
        )
        for m in (model, kept)
    ]
    np.testing.assert_array_equal(run[0][0], run[1][0])


def test_shared_weights_stay_shared() -> None:
    m = small_models.Maker()
    w = m.weight(np.random.default_rng(0).normal(size=(3, 3, 3, 3)))
    x = m.node("Conv", ["image", w], pads=[1] * 4)
    m.node("Sigmoid", [m.conv(m.node("Conv", [x, w], pads=[1] * 4), 3, 1)], to="alpha")
    cleaned = finish(clean(m.model({"image": (1, 3, 8, 8)}, {"alpha": (1, 1, 8, 8)})))
    convs = [n for n in cleaned.graph.node if n.op_type == "Conv"]
    assert convs[0].input[1] == convs[1].input[1]


def test_an_intermediate_result_of_gigabytes_is_refused() -> None:
    m = small_models.Maker()
    x = m.up(m.conv("image", 3, 1), 64.0)
    m.node("Sigmoid", [m.node("MaxPool", [x], kernel_shape=[64, 64], strides=[64, 64])], to="alpha")
    with pytest.raises(BadInputError, match="1024 MiB"):
        finish(clean(m.model({"image": (1, 3, 512, 512)}, {"alpha": (1, 1, 512, 512)})))


@pytest.mark.parametrize(
    ("before", "after"),
    [("r1i", "r1o"), ("state_0_in", "state_0_out"), ("h0", "hn0"), ("c_in", "c_out"), ("hidden", "new_hidden")],
)
def test_states_are_paired_by_the_spellings_of_exporters(before: str, after: str) -> None:
    assert pair_states(["image", before], ["alpha", after]) == [(before, after)]


def test_a_picture_called_in_is_no_state() -> None:
    assert pair_states(["image_in", "x"], ["image_out", "y"]) == []
