"""A compiled network on the device, whoever compiled it: TensorRT, or a stand-in where measurements need one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Protocol, final

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.driver import Stream
from cutline.runtime.cuda.memory import Arena

__all__ = ["STARTING", "Inference", "Network", "TensorPlaces"]

# Held by whoever captures, and by whoever loads, starts or ends what a library runs: libraries synchronise the whole
# device then, which spoils the captures of all threads. Source: CUDA C++ Programming Guide, prohibited operations.
STARTING: Final = threading.RLock()


class Inference(Protocol):
    """Owns one execution context whose tensors lie at fixed addresses; serves one captured graph."""

    def queue(self, stream: Stream) -> None:
        """Queue one inference. Allocates nothing after the first time."""
        ...

    def not_captured(self, stream: Stream) -> str | None:
        """Why queue() cannot be captured now; None: it can. Asked after one plain run."""
        ...

    def close(self) -> None:
        """Free the context. Works twice."""
        ...


class Network(Protocol):
    """Owns the weights on the device."""

    tensors: Mapping[str, int]  # bytes of every input and output, those that nobody reads included
    scratch_bytes: int  # of device memory while an inference runs; inferences that never overlap may share it

    def inference(self, addresses: Mapping[str, int], scratch: int) -> Inference:
        """Make a context with each tensor of `tensors` at its address, 256-byte aligned."""
        ...

    def close(self) -> None:
        """Free the weights. Works twice."""
        ...


@final
class TensorPlaces:
    """Where a network's tensors lie in an arena: each once, recurrent states in pairs that change sides."""

    def __init__(self, contract: ModelContract, network: Network, prefix: str) -> None:
        self._tensors, self._prefix = network.tensors, prefix
        self._states = {state.output: state.input for state in contract.states}

    def parts(self) -> dict[str, int]:
        """Bytes by name: the prefix and the tensor's own; a state's twin has a prime."""
        tensors = {name: n for name, n in self._tensors.items() if name not in self._states}
        twins = {f"{name}'": self._tensors[name] for name in self._states.values()}
        return {f"{self._prefix}{name}": n for name, n in {**tensors, **twins}.items()}

    def addresses(self, arena: Arena, parity: int) -> dict[str, int]:
        """Each tensor's place: the state that a frame of one parity writes, the next one, of the other, reads."""
        found = {}
        for name in self._tensors:
            place = self._states.get(name, name)
            written, read = name in self._states, name in self._states.values()
            primed = (written and not parity) or (read and parity)
            found[name] = arena[self._prefix + place + ("'" if primed else "")]
        return found
