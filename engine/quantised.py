"""INT8 under a budget: ranks the layers by what each costs the matte, and gives back as many as must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.budget import Fit, fit_budget
from cutline.calibration.graph import model_digest
from cutline.calibration.runner import Runner, ort_runner
from cutline.calibration.sensitivity import LayerError, Recipe, rank_layers
from cutline.calibration.trials import Trials
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate, as_candidate
from cutline.engine.cpu import cpu_name, cpu_runner, cpu_version
from cutline.engine.footage import Footage
from cutline.engine.progress import Progress, counting
from cutline.engine.subject import Subject
from cutline.runtime.errors import InternalError

__all__ = ["Int8", "fit_int8"]

SHARE = 0.8  # of the budget that the search may use at most: it sees other frames than the proof
TIGHTER = 5  # steps of bisection when the mean error is within the budget and the gate is missed all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """What the search found. `candidate` is None when not even FP16 throughout meets the budget."""

    candidate: Candidate | None
    fit: Fit
    ranking: tuple[LayerError, ...]  # of every layer that may be INT8, most harmful first


def fit_int8(
    subject: Subject,
    footage: Footage,
    budget: float,
    passes: Callable[[Candidate], bool],
    cache: Cache,
    progress: Progress,
) -> Int8:
    """Search in OpenVINO, which runs INT8 as it is, on frames of the calibration set.

    Each measurement is kept on disk at once, so that a search that was killed goes on where it stopped.

    Args:
        passes: the whole gate, on held-out frames. The search knows the mean error alone; when the gate is missed for
            another reason, the largest mean error with which it is passed is looked for. If there is none, the first
            graph is returned: the caller says what it misses.
    """
    if footage.table is None:
        raise InternalError("INT8 was asked for without a calibration table", remedy="Report this.")
    recipe = Recipe(model=subject.model, table=footage.table)
    key = cache.key(
        "search", model_digest(subject.model), footage.table.key, *footage.search_digest(), [cpu_name(), cpu_version()]
    )
    trials = Trials(subject.model, _runner(subject, footage), key=key, path=cache.folder / f"{key}.json")
    tell = counting(progress, "int8")
    ranking = rank_layers(recipe, trials, progress=tell)

    def attempt(limit: float) -> tuple[Int8, bool]:
        fit = fit_budget(recipe, trials, budget=limit, progress=tell)
        candidate = as_candidate(fit.typed) if fit.typed is not None else None
        return Int8(candidate=candidate, fit=fit, ranking=ranking), candidate is not None and passes(candidate)

    found, good = attempt(SHARE * budget)
    if not good and found.candidate is not None:
        found = _tighten(found, attempt)
    progress.step("int8", 1.0)
    progress.say(_in_words(found))
    return found


def _tighten(first: Int8, attempt: Callable[[float], tuple[Int8, bool]]) -> Int8:
    """The graph of the largest mean error that passes the gate, by bisection; `first`, if none does."""
    best, low, high = first, 0.0, first.fit.error.mad
    for _ in range(TIGHTER):
        middle = (low + high) / 2
        found, good = attempt(middle)
        if good:
            best, low = found, middle
        elif found.candidate is None:
            low = middle  # FP16 itself differs by more than that
        else:
            high = min(middle, found.fit.error.mad)
    return best


def _in_words(found: Int8) -> str:
    error = f"alpha MAD {found.fit.error.mad:.5f} on the calibration frames"
    if found.candidate is None:
        return f"int8: FP16 throughout already misses the budget, {error}"
    layers = found.candidate.layers
    count = sum(precision == "int8" for precision in layers.values())
    return f"int8: {count} of {len(layers)} layers, {len(found.fit.floats)} given back to FP16 for the gate; {error}"


def _runner(subject: Subject, footage: Footage) -> Runner:
    """Typed graphs in OpenVINO; the original, to which they are compared, in ONNX Runtime."""
    typed = cpu_runner(subject.contract, footage.search, "int8")
    exact = ort_runner(subject.contract, footage.search)

    def run(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
        return exact(model) if model is subject.model else typed(model)

    return run
