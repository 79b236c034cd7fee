"""OpenVINO on this CPU: compiles graphs as the runtime will, and runs them frame by frame with their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.runner import Feed, Runner, Sequences, result_of
from cutline.engine.targets import Precision
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, DeviceError

__all__ = ["CpuRunner", "compile_for_cpu", "cpu_name", "cpu_precisions", "cpu_runner", "cpu_version"]

HINTS: Mapping[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@final
class CpuRunner:
    """Owns a compiled model and the recurrent states between its frames. Runs one frame at a time."""

    def __init__(self, model: bytes, contract: ModelContract, precision: Precision) -> None:
        self._contract = contract
        self._compiled = compile_for_cpu(model, precision)
        self._request = self._compiled.create_infer_request()
        shapes = {name: tuple(port.shape) for port in self._compiled.inputs for name in port.names}
        self._fixed = {n: np.array(v, np.float32).reshape(shapes[n]) for n, v in contract.constants.items()}
        if contract.strength:
            self._fixed[contract.strength] = np.ones(shapes[contract.strength], np.float32)
        self._carried: dict[str, NDArray[Any]] = {}
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence: states are zero."""
        self._carried = {s.input: np.zeros(s.shape, s.dtype) for s in self._contract.states}

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """One frame in, every output of the contract out, copied; states go on to the next frame."""
        self._request.infer({**self._fixed, **self._carried, **feed}, share_inputs=False)
        found = {n: np.array(self._request.get_tensor(n).data) for n in self._contract.output_names}
        self._carried = {s.input: found[s.output] for s in self._contract.states}
        return found


def cpu_runner(contract: ModelContract, sequences: Sequences, precision: Precision) -> Runner:
    """Make a function that runs any model of that contract over those frames in OpenVINO."""

    def run(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
        runner = CpuRunner(model.SerializeToString(), contract, precision)
        results = []
        for sequence in sequences:
            runner.reset()
            results += [result_of(contract, runner.run(feed)) for feed in sequence]
        return results

    return run


def compile_for_cpu(model: bytes, precision: Precision) -> Any:
    """Compile a graph with the settings of the runtime's session.

    An INT8 graph says in Q/DQ what is INT8; the rest runs in the best float type that is native.

    Raises:
        BadInputError: OpenVINO cannot read or compile it.
    """
    from cutline.runtime.sessions.openvino import shared_core

    rest = "bf16" if "bf16" in cpu_precisions() else "f32"
    properties = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": HINTS.get(precision, rest),
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = shared_core()
        return core.compile_model(core.read_model(model), "CPU", properties)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInputError(
            f"OpenVINO cannot compile this graph: {lines[-1][:240] if lines else 'no reason given'}",
            remedy="Export the model with other operators or another opset.",
        ) from error


def cpu_precisions() -> tuple[Precision, ...]:
    """Float types that this CPU computes in natively, fp32 first."""
    from cutline.runtime.sessions.openvino import shared_core

    found = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names: dict[str, Precision] = {"BF16": "bf16", "FP16": "fp16"}
    return ("fp32", *(precision for name, precision in names.items() if name in found))


def cpu_name() -> str:
    """This CPU, as OpenVINO names it.

    Raises:
        DeviceError: OpenVINO finds no CPU plug-in.
    """
    from cutline.runtime.sessions.openvino import shared_core

    try:
        return str(shared_core().get_property("CPU", "FULL_DEVICE_NAME"))
    except RuntimeError as error:
        raise DeviceError("OpenVINO has no CPU plug-in", remedy="Install openvino again.") from error


def cpu_version() -> str:
    """Version of OpenVINO without its build number."""
    import openvino

    return str(openvino.__version__.split("-")[0])
