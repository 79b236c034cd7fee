"""Running frames through a network and counting what its tensors hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration.collect import CollectOptions, collect, observed_tensors
from cutline.calibration.graph import Graph
from cutline.calibration.runner import OrtRunner, ort_runner, result_of
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, ContractError, UsageError

Frames = list[list[dict[str, NDArray[np.float32]]]]


def test_states_go_on_within_a_sequence_and_begin_anew_with_the_next(
    recurrent: onnx.ModelProto, recurrent_contract: ModelContract, frames: Frames
) -> None:
    frame = frames[0][0]
    once = ort_runner(recurrent_contract, [[frame], [frame]])(recurrent)
    twice = ort_runner(recurrent_contract, [[frame, frame]])(recurrent)
    np.testing.assert_array_equal(once[0], once[1])
    np.testing.assert_array_equal(once[0], twice[0])
    assert np.abs(twice[1] - twice[0]).max() > 1e-4


def test_a_contract_that_names_other_tensors_is_refused(unet: onnx.ModelProto, contract: ModelContract) -> None:
    wrong = ModelContract(task="matte", frame=Image(tensor="picture", width=32, height=32), outputs=contract.outputs)
    with pytest.raises(ContractError, match=r"missing=\['picture'\]"):
        OrtRunner(unet, wrong)


def test_a_network_that_onnxruntime_refuses_is_bad_input(contract: ModelContract) -> None:
    with pytest.raises(BadInputError, match="cannot run"):
        OrtRunner(onnx.ModelProto(), contract)


@pytest.mark.parametrize(
    ("meaning", "softmax", "value", "alpha"),
    [
        ("alpha", False, 0.25, 0.25),
        ("logits", False, 0.0, 0.5),
        ("logits", False, -500.0, 0.0),
        ("alpha", False, 7.0, 1.0),
    ],
)
def test_the_matte_follows_what_the_output_means(meaning: str, softmax: bool, value: float, alpha: float) -> None:
    output = Output(tensor="a", meaning=meaning, width=2, height=1, softmax=softmax)  # type: ignore[arg-type]
    contract = ModelContract(task="matte", frame=Image(tensor="i", width=2, height=1), outputs=(output,))
    matte = result_of(contract, {"a": np.full((1, 1, 1, 2), value, np.float32)})
    np.testing.assert_allclose(matte, np.full((1, 2), alpha), atol=1e-6)


def test_class_scores_become_a_matte() -> None:
    output = Output(
        tensor="a",
        meaning="classes",
        width=1,
        height=1,
        channels=2,
        layout="NHWC",
        foreground_channels=(1,),
        softmax=True,
    )
    contract = ModelContract(task="matte", frame=Image(tensor="i", width=1, height=1), outputs=(output,))
    matte = result_of(contract, {"a": np.array([[[[0.0, np.log(3.0)]]]], np.float32)})
    assert matte[0, 0] == pytest.approx(0.75)


def test_what_fuses_with_its_layer_is_not_observed(unet: onnx.ModelProto) -> None:
    observed = observed_tensors(unet)
    assert {"image", "stem.relu", "block.second", "concat", "double", "head", "alpha"} <= set(observed)
    assert not {"stem", "block.sum", "merge"} & set(observed)


def test_histograms_hold_what_the_tensors_held(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> None:
    found = collect(unet, contract, frames)
    runner = OrtRunner(unet, contract, extra=["concat"])
    values = np.stack([runner.run(f)["concat"] for s in frames for f in s])
    histogram = found["concat"]
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    assert histogram.values == values.size
    assert histogram.mean == pytest.approx(values.mean(), rel=1e-4)


def test_a_small_memory_bound_means_more_passes_and_the_same_counts(
    unet: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    whole = collect(unet, contract, frames)
    texts: set[str] = set()
    parts = collect(
        unet,
        contract,
        frames,
        options=CollectOptions(memory=100_000),
        progress=lambda done, total, text: texts.add(text),
    )
    assert len(texts) > 2
    assert list(whole) == list(parts)
    for tensor, histogram in whole.items():
        # other fusions round otherwise, so that extremes may differ in the last bits
        assert parts[tensor].peak == pytest.approx(histogram.peak, rel=1e-5)
        assert parts[tensor].values == histogram.values


def test_recurrent_states_are_observed_as_they_grow(
    recurrent: onnx.ModelProto, recurrent_contract: ModelContract, frames: Frames
) -> None:
    frame = frames[0][0]
    alone = collect(recurrent, recurrent_contract, [[frame]] * 4)
    running = collect(recurrent, recurrent_contract, [[frame] * 4])
    assert alone["state_in"].peak == 0.0
    assert running["state_in"].peak > 0.0
    assert running["state_in"].peak <= running["state_out"].peak


def test_a_network_that_makes_nan_is_refused_by_tensor_name(
    unet: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(unet)
    weight = next(w for w in model.graph.initializer if w.name == "merge.bias")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(16, np.nan, np.float32), "merge.bias"))
    with pytest.raises(BadInputError, match=r"not numbers .*tensor='merge.relu'"):
        collect(model, contract, frames)


def test_no_frames_are_refused(unet: onnx.ModelProto, contract: ModelContract) -> None:
    with pytest.raises(BadInputError, match="no calibration frames"):
        collect(unet, contract, [])


def test_frames_that_can_be_read_only_once_are_refused_when_more_passes_are_needed(
    unet: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    def once() -> Iterator[list[dict[str, NDArray[np.float32]]]]:
        yield from frames

    with pytest.raises(BadInputError, match="no calibration frames"):
        collect(unet, contract, once(), options=CollectOptions(memory=100_000))


def test_bounds_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError):
        CollectOptions(samples=0)


def test_every_observed_tensor_has_a_fixed_shape(unet: onnx.ModelProto) -> None:
    graph = Graph(unet)
    assert all(graph.shape(tensor) for tensor in observed_tensors(unet))
