"""INT8 under a budget: ranks the layers by what each costs the matte, and gives back as many as must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.budget import fit_budget
from cutline.calibration.graph import model_digest
from cutline.calibration.placement import POLICIES
from cutline.calibration.runner import Feed, Runner, ort_runner
from cutline.calibration.sensitivity import LayerError, Recipe, rank_layers
from cutline.calibration.trials import MatteError, Trials
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate, as_candidate
from cutline.engine.cpu import cpu_name, cpu_runner, cpu_version
from cutline.engine.evidence import Evidence, HeldOut
from cutline.engine.footage import Footage
from cutline.engine.half import emulate_half
from cutline.engine.progress import Progress, counting
from cutline.engine.subject import Subject
from cutline.engine.targets import Ground
from cutline.runtime.errors import InternalError

__all__ = ["Int8", "fit_int8"]

SHARE = 0.8  # of the budget that the search may use at most: it sees other frames than the proof
POLICY: dict[Ground, str] = {"cpu": "openvino", "gpu": "shared"}
VARIANT: dict[Ground, str] = {"cpu": "openvino", "gpu": ""}
TIGHTER = 5  # steps of bisection when the mean error is within the budget and the gate is missed all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """What the search found. `candidate` is None when no layer can be INT8 within the budget."""

    candidate: Candidate | None
    floats: tuple[str, ...]  # layers given back to FP16, most sensitive first
    error: MatteError  # of the candidate on the search's frames; without one, of FP16 throughout
    ranking: tuple[LayerError, ...]  # of every layer that may be INT8, most harmful first
    floor: float  # mean error with none of them in INT8: what the rest costs in its own float type


def fit_int8(
    subject: Subject,
    footage: Footage,
    ground: Ground,
    budget: float,
    evidence: Evidence,
    cache: Cache,
    progress: Progress,
) -> Int8:
    """Search for CPUs in OpenVINO itself, for GPUs in ONNX Runtime with their roundings: two placements, two graphs.

    Each measurement is kept on disk at once, so that a search that was killed goes on where it stopped.

    Args:
        ground: what the graph is for.
        budget: largest mean error of the mattes.
        evidence: judges by the whole gate, on held-out frames. The search knows the mean error alone; when the gate is
            missed for another reason, the largest mean error with which it is passed is looked for. If there is none,
            the first graph is returned: the caller says what it misses.
    """
    if footage.table is None:
        raise InternalError("INT8 was asked for without a calibration table", remedy="Report this.")
    recipe = Recipe(model=subject.model, table=footage.table, policy=POLICIES[POLICY[ground]])
    frames = footage.search if ground == "cpu" else footage.search[::2]  # ONNX Runtime takes several times as long
    key = cache.key(
        "search against 16 bits",
        model_digest(subject.model),
        footage.table.key,
        *HeldOut(sequences=frames, source="").digest_parts(),
        [ground, cpu_name(), cpu_version()],
    )
    stage = f"int8 for {ground.upper()}s"
    result = cache.key("int8", key, budget, evidence.identity)
    if (kept := cache.get(result)) is not None:
        found = _unpack(kept, ground)
    else:
        trials = Trials(subject.model, _runner(subject, frames, ground), key=key, path=cache.folder / f"{key}.json")
        found = _search(recipe, trials, ground, budget, evidence, counting(progress, stage))
        cache.put(result, _pack(found))
    progress.step(stage, 1.0)
    progress.say(f"{stage}: {_in_words(found)}")
    return found


def _search(
    recipe: Recipe, trials: Trials, ground: Ground, budget: float, evidence: Evidence, tell: Callable[..., None]
) -> Int8:
    ranking = rank_layers(recipe, trials, progress=tell) if ground == "cpu" else ()
    floor = recipe.measure(trials, recipe.placement().int8).mad

    def attempt(limit: float) -> tuple[Int8, bool]:
        fit = fit_budget(recipe, trials, budget=limit, progress=tell)
        quantised = fit.typed is not None and "int8" in fit.typed.layers.values()
        candidate = as_candidate(fit.typed, VARIANT[ground]) if fit.typed is not None and quantised else None
        found = Int8(
            candidate=candidate, floats=fit.floats, error=fit.error, ranking=ranking or fit.ranking, floor=floor
        )
        return found, candidate is not None and evidence.prove(candidate, ground).accuracy.passed

    found, good = attempt(SHARE * budget)
    return found if good or found.candidate is None else _tighten(found, attempt)


def _tighten(first: Int8, attempt: Callable[[float], tuple[Int8, bool]]) -> Int8:
    """The graph of the largest mean error that passes the gate, by bisection; `first`, if none does."""
    best, low, high = first, 0.0, first.error.mad
    for _ in range(TIGHTER):
        middle = (low + high) / 2
        found, good = attempt(middle)
        if good:
            best, low = found, middle
        elif found.candidate is None:
            low = middle  # FP16 itself differs by more than that
        else:
            high = min(middle, found.error.mad)
    return best


def _in_words(found: Int8) -> str:
    error = f"alpha MAD {found.error.mad:.5f} on calibration frames"
    if found.candidate is None:
        return f"no layer can be INT8 within the budget; {error} without any"
    layers = found.candidate.layers
    count = sum(precision == "int8" for precision in layers.values())
    return f"{count} of {len(layers)} layers, {len(found.floats)} given back to FP16 for the gate; {error}"


class _Stored(msgspec.Struct, frozen=True):
    graph: bytes | None
    layers: dict[str, str]
    reasons: dict[str, str]
    floats: tuple[str, ...]
    error: MatteError
    ranking: list[tuple[str, MatteError]]
    floor: float


def _pack(found: Int8) -> bytes:
    graph = found.candidate
    stored = _Stored(
        graph=graph.data if graph else None,
        layers=dict(graph.layers) if graph else {},
        reasons=dict(graph.reasons) if graph else {},
        floats=found.floats,
        error=found.error,
        ranking=[(entry.layer, entry.error) for entry in found.ranking],
        floor=found.floor,
    )
    return msgspec.msgpack.encode(stored)


def _unpack(data: bytes, ground: Ground) -> Int8:
    stored = msgspec.msgpack.decode(data, type=_Stored)
    candidate = None
    if stored.graph is not None:
        candidate = Candidate(
            precision="int8",
            variant=VARIANT[ground],
            model=onnx.ModelProto.FromString(stored.graph),
            layers=stored.layers,
            reasons=stored.reasons,
        )
    ranking = tuple(LayerError(layer, error) for layer, error in stored.ranking)
    return Int8(candidate=candidate, floats=stored.floats, error=stored.error, ranking=ranking, floor=stored.floor)


def _runner(subject: Subject, frames: Sequence[Sequence[Feed]], ground: Ground) -> Runner:
    """Typed graphs as they will be computed; the original, to which they are compared, in ONNX Runtime."""
    exact = ort_runner(subject.contract, frames)
    typed = cpu_runner(subject.contract, frames, "int8")

    def run(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
        if model is subject.model:
            return exact(model)
        return typed(model) if ground == "cpu" else exact(emulate_half(model))

    return run
