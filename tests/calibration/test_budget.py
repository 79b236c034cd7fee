"""Sensitivity ranking and the search for as much INT8 as a budget allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration.budget import fit_budget
from cutline.calibration.collect import CollectOptions, collect
from cutline.calibration.graph import Graph
from cutline.calibration.placement import Policy
from cutline.calibration.runner import Runner, ort_runner
from cutline.calibration.sensitivity import Recipe, rank_layers
from cutline.calibration.table import CalibrationTable, make_table
from cutline.calibration.trials import Limits, Trials, matte_error
from cutline.calibration.typed import typed_model
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, InternalError, StorageError, UsageError

F32 = NDArray[np.float32]
Frames = list[list[dict[str, F32]]]
LAYERS = ("down", "block.first", "block.second", "merge", "smooth")
COST = dict(zip(LAYERS, (0.001, 0.016, 0.004, 0.008, 0.002), strict=True))


@pytest.fixture(scope="module")
def recipe(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> Recipe:
    options = CollectOptions()
    table = make_table(unet, contract, (), options, collect(unet, contract, frames, options=options))
    return Recipe(model=unet, table=table, policy=Policy(name="test"))


def _counted(run: Runner, log: list[str]) -> Runner:
    def counting(model: onnx.ModelProto) -> list[F32]:
        log.append(model.graph.name)
        return run(model)

    return counting


def _by_cost(model: onnx.ModelProto) -> list[F32]:
    """A stand-in for running: each INT8 layer adds its known cost to an alpha of one half."""
    graph = Graph(model)
    cost = sum(COST[name] for name in LAYERS if graph.producer.get(graph.nodes[name].input[1]) is not None)
    return [np.full((4, 4), 0.5 + cost, np.float32)] * 2


def test_layers_are_ranked_by_what_each_costs_alone(recipe: Recipe) -> None:
    ranking = rank_layers(recipe, Trials(recipe.model, _by_cost))
    assert [entry.layer for entry in ranking] == ["block.first", "merge", "block.second", "smooth", "down"]
    assert ranking[0].error.mad == pytest.approx(0.016, rel=1e-3)


def test_what_16_bits_cost_is_no_layers_fault(recipe: Recipe) -> None:
    def coarse(model: onnx.ModelProto) -> list[F32]:
        return [alpha + np.float32(0 if model is recipe.model else 0.3) for alpha in _by_cost(model)]

    ranking = rank_layers(recipe, Trials(recipe.model, coarse))
    assert [entry.error.mad for entry in ranking] == pytest.approx(sorted(COST.values(), reverse=True), rel=1e-3)


@pytest.mark.parametrize(
    ("budget", "floats"),
    [
        (1.0, ()),
        (0.016, ("block.first",)),
        (0.0151, ("block.first",)),
        (0.0035, ("block.first", "merge", "block.second")),
    ],
)
def test_the_fewest_layers_go_back_that_meet_the_budget(recipe: Recipe, budget: float, floats: tuple[str, ...]) -> None:
    fit = fit_budget(recipe, Trials(recipe.model, _by_cost), Limits(mad=budget))
    assert fit.floats == floats
    assert fit.error.mad <= budget
    assert fit.typed is not None
    assert {name for name in LAYERS if fit.typed.layers[name] == "int8"} == set(LAYERS) - set(floats)


def test_a_layer_that_went_back_for_nothing_returns_to_int8(recipe: Recipe) -> None:
    def masked(model: onnx.ModelProto) -> list[F32]:
        """What `merge` adds is lost in what `down` adds, unless `block.second` brings it out."""
        graph = Graph(model)
        int8 = {name for name in LAYERS if graph.producer.get(graph.nodes[name].input[1]) is not None}
        lost = COST["merge"] if int8 >= {"merge", "down"} and "block.second" not in int8 else 0.0
        return [alpha - np.float32(lost) for alpha in _by_cost(model)]

    fit = fit_budget(recipe, Trials(recipe.model, masked), Limits(mad=0.0035))
    assert fit.floats == ("block.first", "block.second")
    assert fit.typed is not None
    assert fit.typed.layers["merge"] == "int8"
    assert "rank 2 of 5" in fit.typed.reasons["merge"]


@pytest.mark.parametrize("limits", [Limits(mad=0.5, worst_mad=0.004), Limits(mad=0.5, iou_loss=0.01)])
def test_the_worst_frame_and_the_solid_parts_are_judged_too(recipe: Recipe, limits: Limits) -> None:
    def one_pixel(model: onnx.ModelProto) -> list[F32]:
        """In INT8, `down` makes one of 16 solid pixels of the second frame less than solid."""
        graph = Graph(model)
        frames = [np.full((4, 4), 0.55, np.float32)] * 2
        if graph.producer.get(graph.nodes["down"].input[1]) is not None:
            frames[1] = frames[1].copy()
            frames[1][0, 0] = 0.45
        return frames

    fit = fit_budget(recipe, Trials(recipe.model, one_pixel), limits)
    assert fit.floats == ("down",)
    assert fit.error.iou_loss == 0


def test_no_ranking_is_made_when_int8_passes_at_once(recipe: Recipe) -> None:
    trials = Trials(recipe.model, _by_cost)
    assert fit_budget(recipe, trials, Limits(mad=0.5)).ranking == ()
    assert trials.measured == 1


def test_a_budget_that_not_even_fp16_meets_is_reported_not_hidden(recipe: Recipe) -> None:
    def bad(model: onnx.ModelProto) -> list[F32]:
        return [np.full((4, 4), 0.0 if model is recipe.model else 0.3, np.float32)]

    fit = fit_budget(recipe, Trials(recipe.model, bad), Limits(mad=0.01))
    assert fit.typed is None
    assert fit.error.mad == pytest.approx(0.3)


def test_every_layer_says_why_it_is_what_it_is(recipe: Recipe) -> None:
    fit = fit_budget(recipe, Trials(recipe.model, _by_cost), Limits(mad=0.016))
    assert fit.typed is not None
    assert fit.typed.reasons["block.first"].startswith(
        "fp16: the budget; alone in INT8 it costs 0.016 of alpha, rank 1"
    )
    assert "rank 5 of 5" in fit.typed.reasons["down"]
    assert "3 channels" in fit.typed.reasons["stem"]


def test_a_killed_search_goes_on_where_it_was(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    log: list[str] = []

    def dying(model: onnx.ModelProto) -> list[F32]:
        if len(log) == 5:
            raise KeyboardInterrupt
        return _counted(_by_cost, log)(model)

    with pytest.raises(KeyboardInterrupt):
        fit_budget(recipe, Trials(recipe.model, dying, key="k", path=path), Limits(mad=0.0035))
    whole = Trials(recipe.model, _by_cost)
    expected = fit_budget(recipe, whole, Limits(mad=0.0035))
    rest = Trials(recipe.model, _by_cost, key="k", path=path)
    assert fit_budget(recipe, rest, Limits(mad=0.0035)).floats == expected.floats
    assert rest.measured == whole.measured - 3


def test_a_search_for_something_else_begins_anew(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    fit_budget(recipe, Trials(recipe.model, _by_cost, key="one", path=path), Limits(mad=1.0))
    other = Trials(recipe.model, _by_cost, key="two", path=path)
    fit_budget(recipe, other, Limits(mad=1.0))
    assert other.measured == 1


def test_a_damaged_state_file_is_refused_and_a_missing_folder_too(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(b"nonsense")
    with pytest.raises(BadInputError, match="state file"):
        Trials(recipe.model, _by_cost, path=tmp_path / "s.json")
    with pytest.raises(StorageError):
        fit_budget(recipe, Trials(recipe.model, _by_cost, path=tmp_path / "no" / "s.json"), Limits(mad=1.0))


def test_a_real_network_meets_its_budget_with_some_layers_in_fp16(
    recipe: Recipe, contract: ModelContract, frames: Frames
) -> None:
    trials = Trials(recipe.model, ort_runner(contract, frames))
    everything = recipe.measure(trials, ()).mad
    shown: list[str] = []
    fit = fit_budget(
        recipe, trials, Limits(mad=everything * 0.6), progress=lambda done, total, text: shown.append(text)
    )
    assert fit.typed is not None
    assert 0 < len(fit.floats) < len(LAYERS)
    assert fit.error.mad <= everything * 0.6
    assert any("sensitivity of merge" in text for text in shown)


@pytest.mark.parametrize("budget", [-0.1, float("nan")])
def test_a_budget_that_makes_no_sense_is_refused(recipe: Recipe, budget: float) -> None:
    with pytest.raises(UsageError):
        fit_budget(recipe, Trials(recipe.model, _by_cost), Limits(mad=budget))


def test_matte_error_finds_the_worst_frame() -> None:
    reference = [np.zeros((2, 2), np.float32), np.full((2, 2), 0.9, np.float32)]
    results = [np.full((2, 2), 0.1, np.float32), np.array([[0.9, 0.9], [0.9, 0.4]], np.float32)]
    error = matte_error(results, reference)
    assert error.mad == pytest.approx((0.1 + 0.125) / 2)
    assert (error.worst_frame, error.worst_mad) == (1, pytest.approx(0.125))
    assert error.iou_loss == pytest.approx(0.25)  # one of four solid pixels; the empty frame does not dilute it


def test_a_result_that_is_not_a_number_is_as_far_off_as_can_be_and_a_wrong_count_is_an_error() -> None:
    one = [np.zeros((2, 2), np.float32)]
    broken = [one[0], np.full((2, 2), np.nan, np.float32)]
    for error in (matte_error(broken, one * 2), matte_error(one * 2, broken)):
        assert (error.mad, error.worst_mad, error.worst_frame, error.iou_loss) == (1, 1, 1, 1)
    with pytest.raises(InternalError):
        matte_error(one * 2, one)


def test_layers_that_give_nan_in_int8_go_back(recipe: Recipe) -> None:
    def broken(model: onnx.ModelProto) -> list[F32]:
        graph = Graph(model)
        breaks = graph.producer.get(graph.nodes["merge"].input[1]) is not None
        return [np.full((4, 4), np.nan, np.float32)] if breaks else [np.full((4, 4), 0.5, np.float32)]

    assert fit_budget(recipe, Trials(recipe.model, broken), Limits(mad=0.9)).floats == ("merge",)


def test_too_little_product_to_judge_costs_no_iou() -> None:
    reference = np.zeros((40, 40), np.float32)
    reference[0, 0] = 0.6  # one pixel of 1600
    assert matte_error([np.zeros((40, 40), np.float32)], [reference]).iou_loss == 0


def test_int8_without_a_table_is_refused_and_fp16_is_not(unet: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="calibration"):
        typed_model(unet, "int8")
    assert set(typed_model(unet, "fp16").layers.values()) == {"fp16"}
    assert typed_model(unet, "fp32").model is unet


def test_a_table_of_another_model_is_not_used(recurrent: onnx.ModelProto, recipe: Recipe) -> None:
    with pytest.raises(BadInputError, match="another model"):
        typed_model(recurrent, "int8", table=recipe.table)


def test_a_layer_whose_range_breaks_float16_is_reported_as_fp32(recipe: Recipe, unet: onnx.ModelProto) -> None:
    record = recipe.table.tensors["head"]
    import msgspec

    wide = msgspec.structs.replace(record, maximum=5e4)
    table: CalibrationTable = msgspec.structs.replace(recipe.table, tensors={**recipe.table.tensors, "head": wide})
    typed = typed_model(unet, "fp16", table=table)
    assert typed.layers["head"] == "fp32"
    assert "beyond what float16 holds" in typed.reasons["head"]
