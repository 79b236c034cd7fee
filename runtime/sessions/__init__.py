"""An engine is a compiled network; a session binds it to the slots of one stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
from numpy.typing import NDArray

from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.options import StreamOptions
from cutline.runtime.path import FramePath
from cutline.runtime.slots import ArraySpec, Slot

__all__ = ["DeviceTimes", "Engine", "EngineOptions", "Session", "TimedSession", "open_engine"]


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the caller demands of the machine. `auto` leaves the choice to Cutline, which prints what it chose."""

    device: str = "auto"  # auto, cpu, cuda[:N]
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    optimise: Literal["latency", "throughput"] = "throughput"


class Session(Protocol):
    """Borrows the slots of one stream and an engine; frames start and finish in order."""

    def start(self, slot: Slot) -> None:
        """Begin inference on the slot's tensors and return at once."""
        ...

    def wait(self, slot: Slot) -> None:
        """Block until the slot's output tensor is written. Raises DeviceError when inference failed."""
        ...

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """Copy the clean plate's tensor (contract.plate's shape) in, for every frame started from now on."""
        ...

    def set_strength(self, strength: float) -> None:
        """Set the style strength, 0 to 1, for every frame started from now on."""
        ...

    def reset(self) -> None:
        """Forget recurrent state: the next frame is a first frame."""
        ...

    def close(self) -> None:
        """Wait for what is running, then let go of the slots' memory. Works twice."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceTimes:
    """What a device with a clock of its own did for one frame, part after part, in ms; 0 where a part is not there."""

    h2d_ms: float  # host to device
    pre_ms: float
    compute_ms: float  # the network
    post_ms: float
    d2h_ms: float  # device to host


@runtime_checkable
class TimedSession(Protocol):
    """A session whose device keeps times of its own. Others are timed from outside."""

    def device_times(self, slot: Slot) -> DeviceTimes:
        """Times of the slot's last frame, once wait() has returned."""
        ...


class Engine(Protocol):
    """Owns a compiled network that several streams may share."""

    contract: ModelContract
    name: str
    device: str
    precision: str
    chosen: str  # why this device, where `auto` left the choice to us; else empty
    in_flight: int  # frames to keep running at once for full use of the device

    @property
    def gpu(self) -> int | None:
        """Ordinal of the GPU that it runs on; None: the CPU."""
        ...

    def attach(self) -> None:
        """Make the GPU's context current in the calling thread, for libraries that ask for it."""
        ...

    def path(self, frame: FrameFormat, options: StreamOptions, style: Engine | None) -> FramePath:
        """Make one stream's way through this network (and the style network's, on the same kind of device)."""
        ...

    def arrays(self, prefix: str) -> Mapping[str, ArraySpec]:
        """The slot arrays `{prefix}input` and `{prefix}output` that a session of this engine binds."""
        ...

    def session(self, slots: Sequence[Slot], prefix: str) -> Session:
        """Bind a new session to slots that hold those arrays: the network alone, without pre and post."""
        ...

    def close(self) -> None:
        """Free the compiled network. Works twice."""
        ...


def open_engine(bundle: Bundle, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008 - frozen
    """Compile or load the bundle's network for the demanded device.

    `auto` takes the GPU where driver, library, engine and kernels are there and fit, and else the CPU; `chosen` of the
    engine then says why.

    Raises:
        UsageError: `device` is none of auto, cpu, cuda, cuda:N.
        DeviceError: the demanded device or precision is not available here, or not in the bundle.
        ContractError: the network does not fit the contract of its bundle.
    """
    from cutline.runtime.sessions import devices  # engines import this module

    demand = devices.parse_device(options.device)
    if demand.kind == "cuda":
        return devices.open_on_gpu(bundle, options, demand.ordinal)
    reason = devices.why_not_gpu(bundle, options) if demand.kind == "auto" else ""
    if reason is None:
        try:
            engine = devices.open_on_gpu(bundle, options, 0)
            engine.chosen = "everything that it needs is there"
            return engine
        except DeviceLostError:
            raise
        except DeviceError as error:
            reason = error.what
    from cutline.runtime.sessions.openvino import OpenVinoEngine  # OpenVINO takes 0.2 s to import

    found = OpenVinoEngine(bundle, options)
    found.chosen = reason
    return found
