"""Which graphs each target gets: those that pass the gate, and of those the fastest that could be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cutline.engine.candidates import ORDER, Candidate, wanted_precisions
from cutline.engine.evidence import Evidence
from cutline.engine.latency import Timing, busy_note, pick_fastest
from cutline.engine.progress import Progress
from cutline.engine.proof import Proof
from cutline.engine.targets import BuildTarget, Ground, Precision, Wanted
from cutline.runtime.errors import BadInputError

__all__ = ["Choice", "Chooser", "GateError"]


class GateError(BadInputError):
    """A demanded precision misses the accuracy gate. Carries the proof, so that its worst frame can be shown."""

    def __init__(self, what: str, *, remedy: str, proof: Proof | None = None, **facts: object) -> None:
        super().__init__(what, remedy=remedy, **facts)
        self.proof = proof


@dataclass(slots=True, kw_only=True)
class Choice:
    """What was found out and decided."""

    shipped: dict[BuildTarget, tuple[Candidate, ...]] = field(default_factory=dict)  # in the order of preference
    proofs: dict[tuple[Ground, Precision], Proof] = field(default_factory=dict)
    timings: dict[Precision, Timing] = field(default_factory=dict)  # on this CPU
    notes: list[str] = field(default_factory=list)  # decisions in words

    def proof(self, target: BuildTarget, precision: Precision) -> Proof:
        """The proof that lets a graph into a bundle for a target."""
        return self.proofs[target.ground, precision]

    def note(self, line: str) -> None:
        """Record a decision once."""
        if line not in self.notes:
            self.notes.append(line)


class Chooser:
    """Borrows the evidence; proves and times what each target may get, and decides.

    Args:
        make: gives the graph of a precision for a CPU or a GPU, None where no such graph meets the budget.
        native: float types of this CPU.
    """

    def __init__(
        self,
        make: Callable[[Precision, Ground], Candidate | None],
        evidence: Evidence,
        *,
        native: tuple[Precision, ...],
        calibrated: bool,
        progress: Progress,
    ) -> None:
        self._make, self._evidence = make, evidence
        self._native, self._calibrated, self._progress = native, calibrated, progress

    def choose(self, targets: Sequence[BuildTarget], precision: Wanted) -> Choice:
        """Decide for all targets.

        Raises:
            GateError: a demanded precision misses the gate, or nothing passes it.
            UsageError, DeviceError: the precision cannot be had for a target.
        """
        choice = Choice()
        for target in targets:
            wanted = wanted_precisions(target, precision, native=self._native, calibrated=self._calibrated)
            if precision != "auto":
                choice.shipped[target] = self._demanded(choice, target, precision, wanted)
            elif target.kind == "openvino":
                choice.shipped[target] = self._fastest(choice, target, wanted)
            else:
                choice.shipped[target] = self._untimed(choice, target, wanted)
        return choice

    def _demanded(
        self, choice: Choice, target: BuildTarget, precision: Wanted, wanted: tuple[Precision, ...]
    ) -> tuple[Candidate, ...]:
        if precision == "fp16" and wanted == ("bf16",):
            choice.note(f"{target}: bf16 is the 16-bit float type of this CPU, so that is what it gets")
        graphs = [graph for name in wanted if (graph := self._make(name, target.ground)) is not None]
        if not graphs:
            raise GateError(
                "no INT8 graph meets the budget", remedy="Raise --budget, or use --precision auto.", target=str(target)
            )
        for graph in graphs:
            proof = self._prove(choice, target, graph)
            if not proof.accuracy.passed:
                raise GateError(
                    f"{graph.precision} for {target} misses the accuracy gate: {'; '.join(proof.accuracy.failures)}",
                    remedy="Raise --budget, give more footage with --calib, or use --precision auto.",
                    proof=proof,
                )
        if target.kind == "openvino":
            self._time(choice, graphs)
        return tuple(graphs)

    def _fastest(self, choice: Choice, target: BuildTarget, wanted: tuple[Precision, ...]) -> tuple[Candidate, ...]:
        """On this CPU: time all, ship the fastest that passes, and FP32 for CPUs that lack its type."""
        graphs = {name: graph for name in wanted if (graph := self._graph(choice, target, name)) is not None}
        passing = tuple(p for p in ORDER if p in graphs and self._passes(choice, target, graphs[p]))
        if not passing:
            raise GateError(f"nothing passes the accuracy gate for {target}", remedy="Raise --budget.")
        self._time(choice, list(graphs.values()))
        best = pick_fastest(choice.timings, passing)
        times = ", ".join(f"{name} {timing.median_ms:.2f} ms" for name, timing in choice.timings.items())
        choice.note(f"openvino: {best} is shipped; measured here per frame at full load: {times}")
        if "int8" in passing and best != "int8":
            ratio = choice.timings["int8"].median_ms / choice.timings[best].median_ms
            lost = (
                f"lost by {(ratio - 1) * 100:.0f} %" if ratio > 1 else "was not faster by enough to pay for its error"
            )
            choice.note(f"openvino: int8 {lost} against {best}")
        fallback = [graphs["fp32"]] if best != "fp32" and "fp32" in passing else []
        return (graphs[best], *fallback)

    def _untimed(self, choice: Choice, target: BuildTarget, wanted: tuple[Precision, ...]) -> tuple[Candidate, ...]:
        """On a GPU that is not here: every reduced precision that passes, FP16 first; FP32 only when none does."""
        reduced = [
            graph for name in wanted if name != "fp32" and (graph := self._graph(choice, target, name)) is not None
        ]
        passing = [graph for graph in reduced if self._passes(choice, target, graph)]
        if len(passing) > 1:
            choice.note("GPU engines were not timed: fp16 comes first; int8 is there for the device to compare")
        if (
            not passing
            and (plain := self._make("fp32", target.ground)) is not None
            and self._passes(choice, target, plain)
        ):
            passing = [plain]
        if not passing:
            raise GateError(f"nothing passes the accuracy gate for {target}", remedy="Raise --budget.")
        return tuple(passing)

    def _graph(self, choice: Choice, target: BuildTarget, precision: Precision) -> Candidate | None:
        graph = self._make(precision, target.ground)
        if graph is None:
            choice.note(f"{_place(target)}: no {precision} graph meets the budget")
        return graph

    def _passes(self, choice: Choice, target: BuildTarget, graph: Candidate) -> bool:
        accuracy = self._prove(choice, target, graph).accuracy
        if not accuracy.passed:
            choice.note(f"{_place(target)}: {graph.precision} misses the accuracy gate: {'; '.join(accuracy.failures)}")
        return accuracy.passed

    def _prove(self, choice: Choice, target: BuildTarget, graph: Candidate) -> Proof:
        self._progress.step(f"proof of {graph.precision} for {target}", None)
        proof = choice.proofs[target.ground, graph.precision] = self._evidence.prove(graph, target.ground)
        self._progress.step(f"proof of {graph.precision} for {target}", 1.0)
        return proof

    def _time(self, choice: Choice, graphs: Sequence[Candidate]) -> None:
        if not choice.timings:
            choice.timings = self._evidence.time(graphs, self._progress)
            if (note := busy_note(choice.timings)) is not None:
                choice.note(note)


def _place(target: BuildTarget) -> str:
    return "openvino" if target.kind == "openvino" else "GPU"
