"""Does a contract fit its network? Asked when a bundle is built, and again when its network is compiled."""

from __future__ import annotations

from collections.abc import Mapping

from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import ContractError

__all__ = ["Tensors", "compare", "expected_inputs", "expected_outputs"]

Tensors = Mapping[str, tuple[tuple[int, ...], str]]  # name -> shape (0 where not fixed), element type in NumPy's words


def expected_inputs(contract: ModelContract) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every input that the contract feeds."""
    images = [contract.frame] + ([contract.plate] if contract.plate else [])
    wanted: dict[str, tuple[tuple[int, ...], str]] = {i.tensor: (i.shape, i.dtype) for i in images}
    wanted |= {s.input: (s.shape, s.dtype) for s in contract.states}
    wanted |= {name: ((len(values),), "float32") for name, values in contract.constants.items()}
    if contract.strength:
        wanted[contract.strength] = ((1,), "float32")
    return wanted


def expected_outputs(contract: ModelContract) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every output that is read; what `post` reads is always float32."""
    wanted: dict[str, tuple[tuple[int, ...], str]] = {o.tensor: (o.shape, "float32") for o in contract.outputs}
    return wanted | {s.output: (s.shape, s.dtype) for s in contract.states}


def compare(contract: ModelContract, inputs: Tensors, outputs: Tensors) -> None:
    """Compare a contract with the tensors that a network has. The network may have outputs that nobody reads.

    Raises:
        ContractError: a tensor is missing, has another shape or type, or the network has an input that nobody feeds.
    """
    _match("input", expected_inputs(contract), inputs)
    _match("output", expected_outputs(contract), outputs)
    unfed = sorted(set(inputs) - set(contract.input_names))
    if unfed:
        remedy = "Name it in the contract (states, constants or strength), or remove it from the network."
        raise ContractError(f"the network's input {unfed[0]!r} is not in the contract", remedy=remedy, not_named=unfed)


def _match(role: str, wanted: Tensors, found: Tensors) -> None:
    for tensor, expected in wanted.items():
        if tensor not in found:
            remedy = "Correct the name in the contract."
            raise ContractError(f"the network has no {role} {tensor!r}", remedy=remedy, found=sorted(found))
        if found[tensor] != expected:
            raise ContractError(
                f"the {role} {tensor!r} of the network is not what the contract says",
                remedy="Correct the contract, or export the network with this fixed shape and type.",
                expected=_shown(expected),
                found=_shown(found[tensor]),
            )


def _shown(tensor: tuple[tuple[int, ...], str]) -> str:
    shape, kind = tensor
    return f"{kind}[{','.join(str(n) if n > 0 else '?' for n in shape)}]"
