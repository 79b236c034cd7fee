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
from cutline.calibration.trials import Limits, MatteError, Trials
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate, as_candidate
from cutline.engine.cpu import cpu_name, cpu_runner, cpu_version
from cutline.engine.evidence import Evidence, HeldOut
from cutline.engine.footage import Footage
from cutline.engine.progress import Progress, counting
from cutline.engine.proof import Gate
from cutline.engine.subject import Subject
from cutline.engine.targets import Ground
from cutline.runtime.errors import InternalError

__all__ = ["Int8", "fit_int8"]

SHARES = (0.8, 0.6, 0.4, 0.2)  # of the room that 16 bits leave in the gate: the search sees other frames than the proof
POLICY: dict[Ground, str] = {"cpu": "openvino", "gpu": "shared"}
VARIANT: dict[Ground, str] = {"cpu": "openvino", "gpu": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """What the search found. `candidate` is None when no layer can be INT8 within the budget."""

    candidate: Candidate | None
    floats: tuple[str, ...]  # layers given back to FP16, most sensitive first
    error: MatteError  # of the candidate on the search's frames; without one, of FP16 throughout
    ranking: tuple[LayerError, ...]  # of every layer that may be INT8, most harmful first
    floor: MatteError  # with none of them in INT8: what the rest costs in its own float type


def fit_int8(
    subject: Subject,
    footage: Footage,
    ground: Ground,
    evidence: Evidence,
    cache: Cache,
    progress: Progress,
) -> Int8:
    """Search for CPUs in OpenVINO itself, for GPUs in ONNX Runtime with their roundings: two placements, two graphs.

    Each measurement is kept on disk at once, so that a search that was killed goes on where it stopped.

    Args:
        ground: what the graph is for.
        evidence: has the gate. The search meets it on calibration frames, with room to spare, and the graph must pass
            it on held-out ones; when it does not, the search is repeated with more to spare. If nothing helps, the
            first graph is returned: the caller says what it misses.
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
    result = cache.key("int8", key, evidence.identity)
    if (kept := cache.get(result)) is not None:
        found = _unpack(kept, ground)
    else:
        trials = Trials(subject.model, _runner(subject, frames, ground), key=key, path=cache.folder / f"{key}.json")
        found = _search(recipe, trials, ground, evidence, counting(progress, stage))
        cache.put(result, _pack(found))
    progress.step(stage, 1.0)
    progress.say(f"{stage}: {_in_words(found)}")
    return found


def _search(recipe: Recipe, trials: Trials, ground: Ground, evidence: Evidence, tell: Callable[..., None]) -> Int8:
    ranking = rank_layers(recipe, trials, progress=tell) if ground == "cpu" else ()
    floor = recipe.measure(trials, recipe.placement().int8)
    first: Int8 | None = None
    for share in SHARES:
        fit = fit_budget(recipe, trials, _limits(floor, evidence.gate, share), progress=tell)
        quantised = fit.typed is not None and "int8" in fit.typed.layers.values()
        candidate = as_candidate(fit.typed, VARIANT[ground]) if fit.typed is not None and quantised else None
        found = Int8(
            candidate=candidate, floats=fit.floats, error=fit.error, ranking=ranking or fit.ranking, floor=floor
        )
        first = first or found
        if candidate is None or evidence.prove(candidate, ground).accuracy.passed:
            return first if candidate is None else found
    assert first is not None
    return first


def _limits(floor: MatteError, gate: Gate, share: float) -> Limits:
    """What 16 bits cost and a share of the room that the gate leaves beyond it; the gate itself where that is none."""

    def between(least: float, most: float) -> float:
        return min(least + share * (most - least), most)

    return Limits(
        mad=between(floor.mad, gate.alpha_mad),
        worst_mad=between(floor.worst_mad, gate.worst_mad),
        iou_loss=between(floor.iou_loss, gate.iou_loss),
    )


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
    floor: MatteError


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
        return typed(model) if ground == "cpu" else exact(model)

    return run
