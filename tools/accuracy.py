"""The accuracy gate again, on this machine: each engine that it runs, against the mattes in the bundle."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.calibration.results import result_of
from cutline.engine.proof import Accuracy, Gate, compare_mattes
from cutline.engine.proof_set import ProofSet, read_proof_set
from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.manifest import Target
from cutline.runtime.sessions import Engine, EngineOptions, open_engine
from cutline.runtime.slots import Slot, SlotPool

__all__ = ["judge", "proof_of"]

PREFIX = "proof."


def proof_of(bundle: Bundle) -> ProofSet | None:
    """The proof frames of a bundle; None when it carries none, or none with mattes.

    Raises:
        BundleError: they are damaged.
    """
    members = {m.name: bundle.read(m.name) for m in bundle.manifest.members if m.name.startswith("proof/")}
    proof = read_proof_set(members, bundle.manifest.contract)
    return proof if proof is not None and proof.wanted else None


def judge(bundle: Bundle, target: Target, proof: ProofSet) -> Accuracy:
    """Run one target over the proof frames as `cutline run` would.

    Raises:
        DeviceError: this machine cannot run it.
        BadInputError: it misses the gate that it was built with.
    """
    with ExitStack() as owned:
        engine = open_engine(bundle, EngineOptions(device="cpu", precision=target.precision))
        owned.callback(engine.close)
        found = _run(engine, bundle.manifest.contract, proof, owned)
    accuracy = compare_mattes(proof.wanted, found, _gate(proof.budget), repeatable=True, source=proof.source)
    if not accuracy.passed:
        raise BadInputError(
            f"{target.kind} {target.precision} misses its accuracy gate here: {'; '.join(accuracy.failures)}",
            remedy="Rebuild the bundle on this machine with `cutline build`.",
            device=engine.device,
        )
    return accuracy


def _gate(budget: float) -> Gate:
    """The builder's gate with twice the room for IoU: a bundle carries some of the frames that it was passed on."""
    gate = Gate.of(budget)
    return msgspec.structs.replace(gate, iou_loss=2 * gate.iou_loss)


def _run(engine: Engine, contract: ModelContract, proof: ProofSet, owned: ExitStack) -> list[NDArray[np.float32]]:
    form = FrameFormat(width=max(2, contract.frame.width), height=max(2, contract.frame.height))
    pool = SlotPool(format=form, depth=1, arrays=engine.arrays(PREFIX), alpha=False, composite=False)
    owned.callback(pool.close)
    session = engine.session(pool.slots, PREFIX)
    owned.callback(session.close)
    (slot,) = pool.slots
    results = []
    for sequence in proof.sequences:
        session.reset()
        for feed in sequence:
            if contract.plate is not None:
                session.set_plate(feed[contract.plate.tensor])
            np.copyto(slot.arrays[f"{PREFIX}input"], feed[contract.frame.tensor])
            session.start(slot)
            session.wait(slot)
            results.append(_result(slot, contract))
    return results


def _result(slot: Slot, contract: ModelContract) -> NDArray[np.float32]:
    raw: dict[str, NDArray[Any]] = {contract.primary.tensor: slot.arrays[f"{PREFIX}output"]}
    return np.array(result_of(contract, raw))
