"""Running a network frame by frame in ONNX Runtime, recurrent states fed back: the reference for ranges and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from cutline.calibration.half import emulate_half
from cutline.calibration.results import result_of
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, ContractError

__all__ = ["Feed", "OrtRunner", "Runner", "Sequences", "ort_runner", "result_of"]

F32 = NDArray[np.float32]
Feed: TypeAlias = Mapping[str, NDArray[Any]]  # one frame: every input but states, constants and strength
Sequences: TypeAlias = Iterable[Iterable[Feed]]  # frames in order; states begin anew with each inner one
Runner: TypeAlias = Callable[[onnx.ModelProto], list[F32]]  # a model's result on every frame of a fixed set

# A proof wants the graph as written, not its fastest form: no int32 biases of ONNX Runtime's own making, no Q/DQ fused
# into integer operators.
KEPT_OUT: Final = ["WeightBiasQuantization", "QDQSelectorActionTransformer"]


@final
class OrtRunner:
    """Owns one ONNX Runtime session on the CPU and the recurrent states between its frames.

    Args:
        model: float32 inputs. What is float16 within is computed as `half` says; its types must have been inferred.
        contract: names states and constants.
        extra: tensors to return besides the contract's outputs.
        threads: of the session, 0 for one per core.
    Raises:
        BadInputError: ONNX Runtime refuses the model.
        ContractError: the contract names a tensor that the model does not have.
    """

    def __init__(
        self, model: onnx.ModelProto, contract: ModelContract, *, extra: Sequence[str] = (), threads: int = 0
    ) -> None:
        self._states = {s.input: s for s in contract.states}
        self._names = list(dict.fromkeys([*contract.output_names, *extra]))
        self._session = _open(emulate_half(_with_outputs(model, extra)), threads)
        inputs = {i.name: i for i in self._session.get_inputs()}
        missing = [n for n in contract.input_names if n not in inputs]
        missing += [n for n in contract.output_names if n not in {o.name for o in self._session.get_outputs()}]
        if missing or (unknown := sorted(set(inputs) - set(contract.input_names))):
            raise ContractError(
                "the contract does not fit the network",
                remedy="Correct the tensor names in the contract.",
                **({"missing": missing} if missing else {"unknown": unknown}),
            )
        fixed = {n: np.array(v, np.float32).reshape(inputs[n].shape) for n, v in contract.constants.items()}
        if contract.strength:
            fixed[contract.strength] = np.ones(inputs[contract.strength].shape, np.float32)
        self._fixed = fixed
        self._carried: dict[str, NDArray[Any]] = {}
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence: states are zero."""
        self._carried = {name: np.zeros(s.shape, s.dtype) for name, s in self._states.items()}

    def inputs(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Everything that the next run will give the network, states and constants among it."""
        return {**self._fixed, **self._carried, **feed}

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """One frame in, every wanted tensor out; states go on to the next frame."""
        values = self._session.run(self._names, self.inputs(feed))
        found = dict(zip(self._names, values, strict=True))
        self._carried = {name: found[state.output] for name, state in self._states.items()}
        return found


def ort_runner(contract: ModelContract, sequences: Sequences, *, threads: int = 0) -> Runner:
    """Make a function that runs any model of that contract over those frames in ONNX Runtime."""

    def run(model: onnx.ModelProto) -> list[F32]:
        runner = OrtRunner(model, contract, threads=threads)
        results = []
        for sequence in sequences:
            runner.reset()
            results += [result_of(contract, runner.run(feed)) for feed in sequence]
        return results

    return run


def _with_outputs(model: onnx.ModelProto, extra: Sequence[str]) -> onnx.ModelProto:
    known = {o.name for o in model.graph.output}
    wanted = [name for name in extra if name not in known]
    if not wanted:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in wanted:
        copy.graph.output.add().name = name
    return copy


def _open(model: onnx.ModelProto, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=KEPT_OUT,
        )
    except Exception as error:  # ONNX Runtime raises a class of its own for each failure, without a common base
        reason = str(error).strip().splitlines()[0][:200]
        raise BadInputError(
            f"ONNX Runtime cannot run the model: {reason}", remedy="Check the model with onnx.checker."
        ) from error
