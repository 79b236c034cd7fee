"""As much INT8 as an error budget allows: the most sensitive layers go back to FP16 until the whole passes."""

from __future__ import annotations

from dataclasses import dataclass

from cutline.calibration.collect import Progress
from cutline.calibration.sensitivity import LayerError, Recipe, rank_layers
from cutline.calibration.trials import MatteError, Trials
from cutline.calibration.typed import TypedModel
from cutline.runtime.errors import UsageError

__all__ = ["Fit", "fit_budget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the search ended with.

    typed: the network that passed; None when not even FP16 throughout does
    floats: layers that went back to FP16, most sensitive first
    error: of `typed`, or of FP16 throughout when that failed too
    ranking: empty when INT8 passed at once, so that no ranking was needed
    steps: (layers in FP16, error) in the order in which they were tried
    """

    typed: TypedModel | None
    floats: tuple[str, ...]
    error: MatteError
    ranking: tuple[LayerError, ...]
    steps: tuple[tuple[int, MatteError], ...]


def fit_budget(recipe: Recipe, trials: Trials, *, budget: float, progress: Progress | None = None) -> Fit:
    """Find the fewest layers that must stay in FP16, taken in order of sensitivity.

    Bisection: about log2(layers) networks are run after the ranking. The error need not fall with each layer, so that
    fewer might do; what is returned was measured and passes.

    Args:
        budget: largest mean absolute difference of the mattes, opacity in 0..1.
    Raises:
        UsageError: the budget is negative or not a number.
    """
    if not budget >= 0:
        raise UsageError("the budget must not be negative", remedy="Give a number such as 0.003.", budget=budget)
    steps: list[tuple[int, MatteError]] = []

    def passes(floats: tuple[str, ...]) -> bool:
        if progress is not None:
            progress(len(steps), None, f"INT8 with {len(floats)} layers kept in FP16")
        steps.append((len(floats), recipe.measure(trials, floats)))
        return steps[-1][1].mad <= budget

    if passes(()):
        return _fit(recipe, (), (), steps, found=True)
    ranking = rank_layers(recipe, trials, progress=progress)
    order = tuple(entry.layer for entry in ranking)
    if not passes(order):
        return _fit(recipe, order, ranking, steps, found=False)
    fails, works = 0, len(order)
    while works - fails > 1:
        middle = (fails + works) // 2
        if passes(order[:middle]):
            works = middle
        else:
            fails = middle
    return _fit(recipe, order[:works], ranking, steps, found=True)


def _fit(
    recipe: Recipe,
    floats: tuple[str, ...],
    ranking: tuple[LayerError, ...],
    steps: list[tuple[int, MatteError]],
    *,
    found: bool,
) -> Fit:
    error = next(error for count, error in reversed(steps) if count == len(floats))
    return Fit(
        typed=_explain(recipe.typed(floats), ranking, floats) if found else None,
        floats=floats,
        error=error,
        ranking=ranking,
        steps=tuple(steps),
    )


def _explain(typed: TypedModel, ranking: tuple[LayerError, ...], floats: tuple[str, ...]) -> TypedModel:
    """Say of each layer that went back what it would have cost."""
    for place, entry in enumerate(ranking, 1):
        cost = f"alone in INT8 it costs {entry.error.mad:.2g} of alpha, rank {place} of {len(ranking)}"
        if entry.layer in floats:
            typed.reasons[entry.layer] = f"fp16: the budget; {cost}"
        else:
            typed.reasons[entry.layer] += f"; {cost}"
    return typed
