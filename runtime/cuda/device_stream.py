"""One stream whose frames come and go on the device: from a decoder's surface to an encoder's, past the host's memory.

For programs that have their frames there already: hardware decoders and encoders (nvcodec.py), GPUArrays of PyCUDA.

    caller's stream:  ... surface ready ──► record ─────────────► hold ──► may write the surface again
    slot's stream:        hold(given back) ─► hold ─► copy ─► record ─► the frame's graph ─► record(done)
    caller's stream:                                                             frame is read ─► record(given back)

A surface is borrowed until the copy of it has run, in the order of the caller's stream: the caller waits for nothing.
The copy, from device memory to device memory, is what lets one graph serve surfaces at whatever address.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, final

from numpy.typing import NDArray

from cutline.runtime.cuda.driver import Event, Stream
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.launch import aligned
from cutline.runtime.cuda.memory import SlotAddresses
from cutline.runtime.cuda.planes import NV12_PITCH, DevicePlanes, demand_rows, nv12_at
from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions

__all__ = ["DeviceFrame", "DeviceStream"]

DEPTH: Final = 4  # slots: one is copied in, two run, one is with whoever reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFrame:
    """Borrows one slot until DeviceStream.give_back()."""

    slot: int
    time: Timestamp
    composite: DevicePlanes  # NV12
    matte: int  # address of float32[h, w] at the network's size


@final
class DeviceStream:
    """Owns a stream's way through an engine, and its slots, which lie on the device alone; borrows the engine.

    Frames are NV12 and come out in the order in which they went in. Calls are one thread's.
    """

    def __init__(
        self,
        engine: CudaEngine,
        frame: FrameFormat,
        options: StreamOptions,
        *,
        pitch: int,
        style: CudaEngine | None = None,
    ) -> None:
        """Take all memory that frames will need.

        Args:
            options: the stream's; its input and output are not looked at.
            pitch: of the surfaces that will come, bytes from row to row.
        Raises:
            ContractError: the pitch is none that the kernels can read.
            DeviceError: too little memory, or the style network runs elsewhere.
        """
        demand_rows("Y", 0, pitch, frame.width)
        self._driver, self._frame, self._pitch = engine.driver, frame, pitch
        self._driver.attach()
        with ExitStack() as undo:
            self._path = engine.path(frame, options, style)
            undo.callback(self._path.close)
            image = engine.contract.frame
            self._space = _Space(frame, pitch, image.width * image.height)
            self.notices = tuple(self._path.bind_space(self._space))
            self._ready, self._taken = self._event(undo), self._event(undo)
            self._back = [self._event(undo) for _ in range(DEPTH)]
            undo.callback(self._path.close)  # first: it waits for what runs
            self._undo = undo.pop_all()
        self._free = deque(range(DEPTH))
        self._running: deque[tuple[int, Timestamp]] = deque()

    @property
    def room(self) -> int:
        """Frames that may begin before one is given back."""
        return len(self._free)

    @property
    def running(self) -> int:
        """Frames that finish() can wait for."""
        return len(self._running)

    def start(self, surface: DevicePlanes, time: Timestamp, *, stream: Stream, first: bool = False) -> None:
        """Begin with a frame.

        Args:
            surface: NV12 with the stream's pitch, written by what is queued in `stream`.
            stream: the caller's; what is queued there after this call may overwrite the surface.
            first: nothing that came before counts.
        Raises:
            UsageError: every slot is running, or was not given back.
            ContractError: the surface is not NV12 with that pitch.
        """
        if not self._free:
            raise UsageError("too many frames at once", remedy="Call finish() and give_back() first.", slots=DEPTH)
        if not surface.interleaved or {surface.luma_pitch, surface.chroma_pitch} != {self._pitch}:
            raise ContractError(
                "a surface is not what was announced",
                remedy="Give NV12 with one pitch.",
                pitch=surface.luma_pitch,
                wanted=self._pitch,
            )
        self._driver.attach()
        index = self._free.popleft()
        driver, own, slot = self._driver, self._path.streams[index], self._path.slots[index].source
        driver.record(self._ready, stream=stream)
        driver.hold(self._ready, stream=own)
        driver.hold(self._back[index], stream=own)
        driver.copy(slot.y, surface.y, self._pitch * self._frame.height, stream=own)
        driver.copy(slot.u, surface.u, self._pitch * self._frame.chroma_height, stream=own)
        driver.record(self._taken, stream=own)
        driver.hold(self._taken, stream=stream)
        self._path.begin(index, time, first=first)
        self._running.append((index, time))

    def finish(self) -> DeviceFrame:
        """Sleep until the oldest frame is done.

        Raises:
            UsageError: none is running.
        """
        if not self._running:
            raise UsageError("no frame is running", remedy="Call start() first.")
        index, time = self._running.popleft()
        self._path.end(index)
        slot = self._path.slots[index]
        return DeviceFrame(slot=index, time=time, composite=slot.composite, matte=slot.arrays["matte"])

    def give_back(self, frame: DeviceFrame, *, stream: Stream) -> None:
        """Let a later frame have the slot, once what is queued in the caller's `stream` has read this one."""
        self._driver.attach()
        self._driver.record(self._back[frame.slot], stream=stream)
        self._free.append(frame.slot)

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """Copy the clean plate's tensor (contract.plate's shape) in, for every frame started from now on."""
        self._path.set_plate(tensor)

    def set_strength(self, strength: float) -> None:
        """Set the style strength, 0 to 1, for every frame started from now on."""
        self._path.set_strength(strength)

    def close(self) -> None:
        """Wait for what runs, then free everything. What the caller queued must have ended. Works twice."""
        self._driver.attach()
        self._undo.close()

    def _event(self, undo: ExitStack) -> Event:
        event = self._driver.event(waited=False)
        undo.callback(self._driver.release, event)
        return event


@final
class _Space:
    """Slots in device memory alone: surface and composite as NV12, guide and matte of `small` pixels."""

    depth = DEPTH

    def __init__(self, frame: FrameFormat, pitch: int, small: int) -> None:
        self._pitches = pitch, -(-2 * frame.chroma_width // NV12_PITCH) * NV12_PITCH
        self._rows = frame.height
        sizes = [wide * (frame.height + frame.chroma_height) for wide in self._pitches] + [3 * small, 4 * small]
        self._offsets = [sum(map(aligned, sizes[:i])) for i in range(len(sizes))]
        self.mirror_bytes = sum(map(aligned, sizes))

    def layout(self, index: int, mirror: int) -> SlotAddresses:  # noqa: ARG002 - the protocol's
        """See Space. Nothing is copied between host and device."""
        *pictures, guide, matte = (mirror + offset for offset in self._offsets)
        surface, composite = (nv12_at(at, pitch, self._rows) for at, pitch in zip(pictures, self._pitches, strict=True))
        return SlotAddresses(
            source=surface,
            composite=composite,
            alpha=0,
            alpha_pitch=0,
            arrays={"guide": guide, "matte": matte},
            copies_in=(),
            copies_out=(),
        )

    def close(self) -> None:
        """Owns nothing."""
