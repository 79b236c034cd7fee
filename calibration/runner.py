"""Running a network frame by frame in ONNX Runtime, recurrent states fed back: the reference for ranges and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from cutline.runtime.contract import ModelContract, Output
from cutline.runtime.errors import BadInputError, ContractError

__all__ = ["Feed", "OrtRunner", "Runner", "Sequences", "ort_runner", "result_of"]

F32 = NDArray[np.float32]
Feed: TypeAlias = Mapping[str, NDArray[Any]]  # one frame: every input but states, constants and strength
Sequences: TypeAlias = Iterable[Iterable[Feed]]  # frames in order; states begin anew with each inner one
Runner: TypeAlias = Callable[[onnx.ModelProto], list[F32]]  # a model's result on every frame of a fixed set


@final
class OrtRunner:
    """Owns one ONNX Runtime session on the CPU and the recurrent states between its frames.

    Args:
        model: float32 inputs.
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
        self._session = _open(_with_outputs(model, extra), threads)
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


def result_of(contract: ModelContract, outputs: Mapping[str, NDArray[Any]]) -> F32:
    """What the user sees of one frame: the matte float32[h, w] in 0..1, or a picture float32[3, h, w] in 0..1."""
    output = contract.primary
    raw = outputs[output.tensor].astype(np.float32).reshape(output.shape)
    planes = raw[0] if output.layout == "NCHW" else np.moveaxis(raw[0], -1, 0)
    if output.meaning == "picture":
        image = contract.frame
        spread = [np.array(v, np.float32).reshape(3, 1, 1) for v in (image.mean, image.std)]
        picture: F32 = np.clip(planes * spread[1] + spread[0], 0.0, 1.0)
        return picture
    return _matte(output, planes)


def _matte(output: Output, planes: F32) -> F32:
    if output.meaning == "classes":
        if output.softmax:
            grown = np.exp(planes - planes.max(axis=0))
            planes = grown / grown.sum(axis=0)
        alpha = planes[list(output.foreground_channels)].sum(axis=0)
    elif output.meaning == "logits":
        alpha = np.float32(0.5) * (np.tanh(planes[output.foreground_channels[0]] * np.float32(0.5)) + np.float32(1.0))
    else:
        alpha = planes[output.foreground_channels[0]]
    matte: F32 = np.clip(alpha, 0.0, 1.0)
    return matte


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


def _quantises_halves(model: onnx.ModelProto) -> bool:
    halves = {w.name for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT16}
    return any(n.op_type == "QuantizeLinear" and n.input[1] in halves for n in model.graph.node)


def _open(model: onnx.ModelProto, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if _quantises_halves(model):  # ONNX Runtime 1.31 rewrites such graphs wrongly: mean error 0.04 where 0.002 is right
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own for each failure, without a common base
        reason = str(error).strip().splitlines()[0][:200]
        raise BadInputError(
            f"ONNX Runtime cannot run the model: {reason}", remedy="Check the model with onnx.checker."
        ) from error
