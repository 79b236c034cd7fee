"""As much INT8 as an error budget allows: the most sensitive layers go back to FP16 until the whole passes."""

from __future__ import annotations

from dataclasses import dataclass

from cutline.calibration.collect import Progress
from cutline.calibration.sensitivity import LayerError, Recipe, rank_layers
from cutline.calibration.trials import Limits, MatteError, Trials
from cutline.calibration.typed import TypedModel

__all__ = ["Fit", "fit_budget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the search ended with.

    typed: the network that passed; None when not even FP16 throughout does
    floats: layers that went back to FP16, most sensitive first
    error: of `typed`, or of FP16 throughout when that failed too
    ranking: empty when INT8 passed at once, so that no ranking was needed
    """

    typed: TypedModel | None
    floats: tuple[str, ...]
    error: MatteError
    ranking: tuple[LayerError, ...]


def fit_budget(recipe: Recipe, trials: Trials, limits: Limits, *, progress: Progress | None = None) -> Fit:
    """Find as few layers as possible that must stay in FP16.

    Bisection over the layers in order of sensitivity, about log2(layers) networks after the ranking. What layers cost
    does not add up, so each that went back is then tried in INT8 once more, the least sensitive first. What is returned
    was measured and passes.
    """
    tried = 0

    def passes(floats: tuple[str, ...]) -> bool:
        nonlocal tried
        if progress is not None:
            progress(tried, None, f"INT8 with {len(floats)} layers kept in FP16")
        tried += 1
        return limits.admit(recipe.measure(trials, floats))

    if passes(()):
        return Fit(typed=recipe.typed(()), floats=(), error=recipe.measure(trials, ()), ranking=())
    ranking = rank_layers(recipe, trials, progress=progress)
    floats = tuple(entry.layer for entry in ranking)
    if not passes(floats):
        return Fit(typed=None, floats=floats, error=recipe.measure(trials, floats), ranking=ranking)
    fails, works = 0, len(floats)
    while works - fails > 1:
        middle = (fails + works) // 2
        if passes(floats[:middle]):
            works = middle
        else:
            fails = middle
    floats = floats[:works]
    for layer in reversed(floats):
        fewer = tuple(name for name in floats if name != layer)
        if passes(fewer):
            floats = fewer
    typed = _explain(recipe.typed(floats), ranking, floats)
    return Fit(typed=typed, floats=floats, error=recipe.measure(trials, floats), ranking=ranking)


def _explain(typed: TypedModel, ranking: tuple[LayerError, ...], floats: tuple[str, ...]) -> TypedModel:
    """Say of each layer that went back what it would have cost."""
    for place, entry in enumerate(ranking, 1):
        cost = f"alone in INT8 it costs {entry.error.mad:.2g} of alpha, rank {place} of {len(ranking)}"
        if entry.layer in floats:
            typed.reasons[entry.layer] = f"fp16: the budget; {cost}"
        else:
            typed.reasons[entry.layer] += f"; {cost}"
    return typed
