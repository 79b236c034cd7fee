"""OpenVINO on the CPU: one infer request per slot, its tensors laid over the slot's own memory."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.contract_check import compare
from cutline.runtime.cpu_path import CpuPath
from cutline.runtime.errors import BundleError, DeviceError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.manifest import Target
from cutline.runtime.options import StreamOptions
from cutline.runtime.sessions import Engine, EngineOptions
from cutline.runtime.slots import ArraySpec, Slot

__all__ = ["OpenVinoEngine", "OpenVinoSession", "shared_core"]

_HINT: Final = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_SHOWN: Final = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
_ELEMENT: Final = {"bfloat16": "uint16"}  # NumPy has no bfloat16: it travels as its bits


@functools.cache
def shared_core() -> ov.Core:
    """OpenVINO's core: one for the process, for good.

    Its CPU plug-in gives the thread that loads it a stack for signals (AMX needs one), and takes it away when the core
    goes. Two cores that go in the order in which they came leave the thread with a stack that is not there: the next
    signal ends the process with 139. Source: openvinotoolkit/openvino, pull request 11894.
    """
    return ov.Core()


def cache_folder() -> Path:
    """Where compiled models are kept between starts: $XDG_CACHE_HOME/cutline/openvino."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline" / "openvino"


class OpenVinoEngine:
    """Owns one compiled network; every stream's session shares it."""

    chosen, gpu = "", None

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        self.contract: ModelContract = bundle.manifest.contract
        self.name = bundle.manifest.name
        core = shared_core()
        capabilities = tuple(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        target = _choose_target(bundle, options, capabilities)
        # an INT8 graph carries its own Q/DQ; what it leaves in floating point runs in the best type that is native
        hint = _HINT.get(target.precision) or ("bf16" if "BF16" in capabilities else "f32")
        self._compiled = _compile(core, bundle.read(target.member), self.contract, target, options.optimise, hint)
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.precision = "int8" if target.precision == "int8" else _SHOWN.get(used, used)
        self.device = f"cpu ({core.get_property('CPU', 'FULL_DEVICE_NAME')}, OpenVINO {ov.__version__.split('-')[0]})"
        self.in_flight = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def arrays(self, prefix: str) -> Mapping[str, ArraySpec]:
        """The slot arrays that a session binds: the frame tensor and the primary output."""
        frame, primary = self.contract.frame, self.contract.primary
        return {
            f"{prefix}input": ArraySpec(frame.shape, _ELEMENT.get(frame.dtype, frame.dtype)),
            f"{prefix}output": ArraySpec(primary.shape, "float32"),
        }

    def session(self, slots: Sequence[Slot], prefix: str) -> OpenVinoSession:
        """Bind the slots of one stream."""
        requests = [self._compiled.create_infer_request() for _ in slots]
        return OpenVinoSession(self.contract, requests, slots, prefix)

    def attach(self) -> None:
        """There is no GPU."""

    def path(self, frame: FrameFormat, options: StreamOptions, style: Engine | None) -> CpuPath:
        """Make one stream's way: kernels and requests straight on its slots."""
        return CpuPath(self, frame, options, style)

    def close(self) -> None:
        """Free the compiled network."""
        self._compiled = None


class OpenVinoSession:
    """Owns one infer request per slot and the tensors that frames share; borrows the slots' memory."""

    def __init__(self, contract: ModelContract, requests: list[Any], slots: Sequence[Slot], prefix: str) -> None:
        self._contract = contract
        self._requests = requests
        self._running: list[int] = []  # slot indices, oldest first
        self._last: int | None = None
        self._plates = [_zeros(contract.plate), _zeros(contract.plate)] if contract.plate else []
        self._plate_in_use = 0
        self._plate_of = [0] * len(requests)
        self._strength = np.zeros(1, np.float32)
        self._states = [[np.zeros(s.shape, s.dtype) for s in contract.states] for _ in range(2)]
        self._turn = 0
        constants = {name: np.asarray(value, np.float32) for name, value in contract.constants.items()}
        for request, slot in zip(requests, slots, strict=True):
            _lay(request, contract.frame.tensor, _typed(slot.arrays[f"{prefix}input"], contract.frame))
            _lay(request, contract.primary.tensor, slot.arrays[f"{prefix}output"])
            for name, value in constants.items():
                _lay(request, name, value)
            if contract.plate:
                _lay(request, contract.plate.tensor, _typed(self._plates[0], contract.plate))
            if contract.strength:
                _lay(request, contract.strength, self._strength)

    def start(self, slot: Slot) -> None:
        """Begin inference on the slot's tensors. A recurrent network first waits for its previous frame."""
        request = self._requests[slot.index]
        if self._contract.plate and self._plate_of[slot.index] != self._plate_in_use:
            _lay(request, self._contract.plate.tensor, _typed(self._plates[self._plate_in_use], self._contract.plate))
            self._plate_of[slot.index] = self._plate_in_use
        if self._contract.states:
            self._bind_states(request)
        request.start_async()
        self._running.append(slot.index)
        self._last = slot.index

    def wait(self, slot: Slot) -> None:
        """Block until the slot's output is written."""
        try:
            self._requests[slot.index].wait()
        except RuntimeError as error:
            raise DeviceError(
                f"inference failed: {str(error).strip().splitlines()[-1]}",
                remedy="Run `cutline verify` on the bundle; if it passes, report this.",
            ) from error
        finally:
            if slot.index in self._running:
                self._running.remove(slot.index)

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """Copy a plate in. Frames that are running keep the plate that they started with."""
        if self._contract.plate is None:
            raise DeviceError("this network takes no clean plate", remedy="Use --model cutout-plate.")
        spare = 1 - self._plate_in_use
        for index in [i for i in self._running if self._plate_of[i] == spare]:
            self._requests[index].wait()
        np.copyto(self._plates[spare], tensor)
        self._plate_in_use = spare

    def set_strength(self, strength: float) -> None:
        """Set the style strength; one float, so a running frame sees the old or the new, never half of it."""
        self._strength[0] = strength

    def reset(self) -> None:
        """Forget recurrent state."""
        self._wait_for_last()
        for states in self._states:
            for state in states:
                state.fill(0)

    def close(self) -> None:
        """Wait for what is running and drop the requests, so that nothing points into the slots any more."""
        for index in self._running:
            self._requests[index].wait()
        self._running = []
        self._requests = []

    def _wait_for_last(self) -> None:
        if self._last is not None and self._last in self._running:
            self._requests[self._last].wait()

    def _bind_states(self, request: Any) -> None:
        self._wait_for_last()
        source, target = self._states[self._turn], self._states[1 - self._turn]
        for state, old, new in zip(self._contract.states, source, target, strict=True):
            _lay(request, state.input, old)
            _lay(request, state.output, new)
        self._turn = 1 - self._turn


def _choose_target(bundle: Bundle, options: EngineOptions, capabilities: tuple[str, ...]) -> Target:
    """The first OpenVINO target, in the bundle's order, that fits the demand and that this CPU computes natively."""
    targets = [t for t in bundle.manifest.targets if t.kind == "openvino"]
    if not targets:
        raise DeviceError(
            "the bundle has no engine for a CPU",
            remedy="Rebuild it with --target openvino.",
            bundle=bundle.manifest.name,
        )
    if options.precision != "auto":
        targets = [t for t in targets if t.precision == options.precision]
        if not targets:
            have = ", ".join(t.precision for t in bundle.manifest.targets if t.kind == "openvino")
            raise DeviceError(
                "the bundle has no engine of the demanded precision",
                remedy=f"Use one of: {have}.",
                precision=options.precision,
            )
    native = [t for t in targets if t.precision not in ("bf16", "fp16") or t.precision.upper() in capabilities]
    if not native:
        raise DeviceError(
            "this CPU does not compute in the demanded precision",
            remedy="Use --precision auto.",
            precision=targets[0].precision,
            capabilities=" ".join(capabilities),
        )
    return native[0]


def _compile(core: Any, network: bytes, contract: ModelContract, target: Target, optimise: str, hint: str) -> Any:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        model = core.read_model(network)
    except RuntimeError as error:
        raise BundleError(
            f"OpenVINO cannot read the network: {_reason(error)}",
            remedy="Rebuild the bundle with this version of Cutline.",
            member=target.member,
        ) from error
    compare(contract, _described(model.inputs), _described(model.outputs))
    properties = {
        "PERFORMANCE_HINT": optimise.upper(),
        "INFERENCE_PRECISION_HINT": hint,
        "CACHE_DIR": str(folder),
        # pre, post and the encoder share the cores with the network: pinned inference threads would wait behind them
        "ENABLE_CPU_PINNING": False,
    }
    try:
        return core.compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise DeviceError(
            f"OpenVINO cannot compile the network: {_reason(error)}",
            remedy="Run `cutline doctor`, then rebuild the bundle for this device.",
            member=target.member,
        ) from error


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _described(ports: Sequence[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every tensor name of every port, with its static shape (0 where dynamic) and element type in NumPy's words."""
    described = {}
    for port in ports:
        shape = tuple(d.get_length() if d.is_static else 0 for d in port.partial_shape)
        kind = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "uint8"}
        name = port.element_type.to_string()
        for tensor in port.names:
            described[tensor] = (shape, kind.get(name, name))
    return described


def _zeros(image: Image) -> NDArray[Any]:
    return np.zeros(image.shape, _ELEMENT.get(image.dtype, image.dtype))


def _typed(array: NDArray[Any], spec: Image | Output) -> Any:
    if isinstance(spec, Image) and spec.dtype == "bfloat16":
        return ov.Tensor(array, spec.shape, ov.Type.bf16)
    return array


def _lay(request: Any, tensor: str, memory: Any) -> None:
    """Lay a tensor of the request over memory that somebody else owns."""
    request.set_tensor(tensor, memory if isinstance(memory, ov.Tensor) else ov.Tensor(memory, shared_memory=True))
