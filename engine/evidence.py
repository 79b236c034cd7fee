"""Runs the candidates: each against the original on held-out frames, and those for this CPU against the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.runner import Feed, ort_runner
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate
from cutline.engine.cpu import compile_for_cpu, cpu_name, cpu_runner, cpu_version
from cutline.engine.latency import Timing, measure
from cutline.engine.progress import Progress
from cutline.engine.proof import Accuracy, Gate, Proof, prove
from cutline.engine.targets import Ground, Precision
from cutline.runtime.contract import ModelContract

__all__ = ["Evidence", "HeldOut"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Frames that calibration never saw, as feeds by sequence, and where they are from: footage or patterns."""

    sequences: Sequence[Sequence[Feed]]
    source: str

    @property
    def frames(self) -> list[Feed]:
        """All of them, in order."""
        return [feed for sequence in self.sequences for feed in sequence]

    def digest_parts(self) -> list[bytes]:
        """What the frames are, for cache keys."""
        return [np.ascontiguousarray(feed[name]).tobytes() for feed in self.frames for name in sorted(feed)]


class Evidence:
    """Borrows the frames and the original; keeps each proof, and each timing of a free machine, for the next build."""

    def __init__(
        self, original: onnx.ModelProto, contract: ModelContract, held_out: HeldOut, gate: Gate, cache: Cache
    ) -> None:
        self.contract, self.held_out, self.gate = contract, held_out, gate
        self._cache = cache
        self._original = original.SerializeToString(deterministic=True)
        self._frames = cache.key("frames", *held_out.digest_parts())
        self._wanted: list[F32] | None = None
        self.original = original
        self._proofs: dict[str, Proof] = {}

    @property
    def wanted(self) -> list[F32]:
        """The original's mattes on every held-out frame, from ONNX Runtime."""
        if self._wanted is None:
            self._wanted = self.original_on(self.held_out.sequences)
        return self._wanted

    @property
    def identity(self) -> str:
        """What decides a verdict besides the graph: the original, the frames and the gate."""
        return self._cache.key("evidence", self._original, self._frames, msgspec.to_builtins(self.gate))

    def original_on(self, sequences: Sequence[Sequence[Feed]]) -> list[F32]:
        """The original's mattes on other frames."""
        frames = HeldOut(sequences=sequences, source="").digest_parts()
        key = self._cache.key("original", self._original, *frames)
        if (kept := self._cache.get(key)) is not None:
            return [m for _, m in _unpack_frames(msgspec.msgpack.decode(kept, type=StoredFrames))]
        found = ort_runner(self.contract, sequences)(self.original)
        self._cache.put(key, msgspec.msgpack.encode(_pack_frames(enumerate(found))))
        return found

    def prove(self, candidate: Candidate, ground: Ground) -> Proof:
        """Run one candidate as a CPU or a GPU would compute it."""
        key = self._cache.key(
            "proof",
            candidate.data,
            self._original,
            self._frames,
            msgspec.to_builtins(self.gate),
            [ground, candidate.precision, *self._where(ground)],
        )
        if key not in self._proofs:
            kept = self._cache.get(key)
            self._proofs[key] = _unpack(kept) if kept is not None else self._run(candidate, ground)
            if kept is None:
                self._cache.put(key, _pack(self._proofs[key]))
        return self._proofs[key]

    def _where(self, ground: Ground) -> list[str]:
        return [cpu_name(), cpu_version()] if ground == "cpu" else []

    def _run(self, candidate: Candidate, ground: Ground) -> Proof:
        sequences = self.held_out.sequences
        if ground == "cpu":
            run = cpu_runner(self.contract, sequences, candidate.precision)
            again = cpu_runner(self.contract, sequences[:1], candidate.precision)
        else:
            run, again = ort_runner(self.contract, sequences), ort_runner(self.contract, sequences[:1])
        return prove(candidate.model, run, again, self.wanted, self.gate, source=self.held_out.source)

    def time(self, candidates: Sequence[Candidate], progress: Progress) -> dict[Precision, Timing]:
        """Time candidates on this CPU, turn and turn about. What was timed while others used the CPU is not kept."""
        digests = {c.precision: self._cache.key("graph", c.data) for c in candidates}
        key = self._cache.key("calm timing", digests, cpu_name(), cpu_version())
        if (kept := self._cache.get(key)) is not None:
            return msgspec.json.decode(kept, type=dict[Precision, Timing])
        compiled: dict[str, Any] = {c.precision: compile_for_cpu(c.data, c.precision) for c in candidates}
        feeds = {**_empty_states(self.contract, compiled), **self.held_out.frames[0]}
        measured = measure(compiled, feeds, tell=lambda done: progress.step("timing", done))
        found = {c.precision: measured[c.precision] for c in candidates}
        if all(timing.calm for timing in found.values()):
            self._cache.put(key, msgspec.json.encode(found))
        return found


def _empty_states(contract: ModelContract, compiled: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Zeros for states, the contract's constants, and full strength."""
    shapes = {n: tuple(port.shape) for m in compiled.values() for port in m.inputs for n in port.names}
    feeds: dict[str, NDArray[Any]] = {s.input: np.zeros(s.shape, s.dtype) for s in contract.states}
    feeds |= {n: np.array(v, np.float32).reshape(shapes[n]) for n, v in contract.constants.items()}
    if contract.strength:
        feeds[contract.strength] = np.ones(shapes[contract.strength], np.float32)
    return feeds


StoredFrames = list[tuple[int, tuple[int, ...], bytes]]  # number, shape, float32 values


class StoredProof(msgspec.Struct, frozen=True):
    """A proof as the cache keeps it."""

    accuracy: Accuracy
    frames: StoredFrames


def _pack(proof: Proof) -> bytes:
    return msgspec.msgpack.encode(StoredProof(proof.accuracy, _pack_frames(proof.worst)))


def _unpack(data: bytes) -> Proof:
    stored = msgspec.msgpack.decode(data, type=StoredProof)
    return Proof(accuracy=stored.accuracy, worst=_unpack_frames(stored.frames))


def _pack_frames(frames: Iterable[tuple[int, F32]]) -> StoredFrames:
    return [(i, m.shape, np.asarray(m, np.float32).tobytes()) for i, m in frames]


def _unpack_frames(frames: StoredFrames) -> tuple[tuple[int, F32], ...]:
    return tuple((i, np.frombuffer(raw, np.float32).reshape(shape)) for i, shape, raw in frames)
