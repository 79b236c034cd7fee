"""Slots: all the memory that one frame needs from decoder to sink, and the state that says who may touch it.

    FREE ──► FILLING ──► READY ──► RUNNING ──► DONE ──► FREE
      ▲         │          │          │
      └─────────┴──────────┴──────────┘   nothing arrived, or the frame was dropped

A frame counts as in when its slot becomes READY, and as out or dropped when its slot becomes FREE again; so
frames_in == frames_out + dropped + in_flight at every moment.
"""

from __future__ import annotations

import enum
import mmap
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import InternalError, UsageError
from cutline.runtime.frame import FrameFormat, Planes

__all__ = [
    *("ArraySpec", "Counts", "PlaneLayout", "Slot", "SlotLayout", "SlotPool", "SlotState", "SurfaceLayout"),
    "view_planes",
]

NOTHING = FrameFormat(width=2, height=2)  # the size of planes that nobody uses
ALIGNMENT = 64  # bytes: a cache line, and what inference engines ask of tensors laid over foreign memory
PAGE = 4096  # bytes; a slot starts on its own page


class SlotState(enum.Enum):
    """Who may touch the slot: nobody, the source, nobody, the pipeline, the sink."""

    FREE = "free"
    FILLING = "filling"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"

    __hash__ = object.__hash__  # members are single objects; Enum's own is Python, five times a frame


_IN_FLIGHT = frozenset({SlotState.READY, SlotState.RUNNING, SlotState.DONE})
_MOVES = frozenset(
    {
        (SlotState.FREE, SlotState.FILLING),
        (SlotState.FILLING, SlotState.READY),
        (SlotState.FILLING, SlotState.FREE),
        (SlotState.READY, SlotState.RUNNING),
        (SlotState.READY, SlotState.FREE),
        (SlotState.RUNNING, SlotState.DONE),
        (SlotState.RUNNING, SlotState.FREE),
        (SlotState.DONE, SlotState.FREE),
    }
)


class PlaneLayout(msgspec.Struct, frozen=True):
    """Where one uint8 plane lies inside a slot."""

    offset: int  # bytes from the slot's start
    width: int  # bytes used of each row
    height: int  # rows
    pitch: int  # bytes from row to row


class SlotLayout(msgspec.Struct, frozen=True):
    """What another process must know to find the source planes of every slot in the shared mapping."""

    depth: int
    slot_bytes: int
    y: PlaneLayout
    u: PlaneLayout
    v: PlaneLayout

    @property
    def nbytes(self) -> int:
        """Size of the whole mapping."""
        return self.depth * self.slot_bytes


class SurfaceLayout(msgspec.Struct, frozen=True):
    """What another process must know to find the slots' surfaces on the GPU: NV12, in one piece of device memory."""

    name: bytes  # of that memory, for the driver
    nbytes: int
    slot_bytes: int  # from surface to surface
    rows: tuple[int, int]  # of luma and of chroma
    pitch: int  # bytes from row to row, of luma and of chroma, which lies right behind it


@dataclass(frozen=True)
class ArraySpec:
    """One array that every slot carries. `dtype` is NumPy's name; bfloat16 travels as uint16."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The dtype of the view."""
        return np.dtype(np.uint16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of one array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.numpy_dtype.itemsize


@dataclass(eq=False)
class Slot:
    """Borrows its part of the pool's mapping. Only `SlotPool.move` changes `state`.

    Where frames are decoded on the GPU, `source` is nothing but other words for `composite`; where composites stay
    there too, neither is a picture.
    """

    index: int
    source: Planes
    composite: Planes
    alpha: NDArray[np.uint8] | None  # uint8[H, W]
    arrays: dict[str, NDArray[Any]]
    _state: SlotState = field(default=SlotState.FREE, init=False)

    @property
    def state(self) -> SlotState:
        """Where the slot is in its round."""
        return self._state


@dataclass(frozen=True)
class Counts:
    """Frames of one stream so far: frames_in == frames_out + dropped + in_flight."""

    frames_in: int
    frames_out: int
    dropped: int
    in_flight: int
    peak_in_flight: int


@final
class SlotPool:
    """Owns `depth` slots in one anonymous shared mapping, until close().

    The mapping has no name in any file system, so nothing is left behind however either process ends.
    """

    def __init__(
        self,
        *,
        format: FrameFormat,  # noqa: A002 - the field's own word
        depth: int,
        arrays: Mapping[str, ArraySpec],
        alpha: bool,
        composite: bool = True,
        surface_pitch: int = 0,
    ) -> None:
        """Allocate every slot.

        Args:
            composite: False, where nothing is composed (background videos) or composites stay on the GPU, saves that
                memory: `composite` is `source`.
            surface_pitch: bytes from row to row of frames that are decoded on the GPU and never come here; 0: they do.
        Raises:
            UsageError: depth is less than one, or the slots together do not fit into memory.
        """
        if depth < 1:
            raise UsageError("a pool needs at least one slot", remedy="Ask for a depth of 1 or more.", depth=depth)
        self.format, self.surface_pitch, self.composed = format, surface_pitch, composite
        plan = _Plan()
        source = _plan_planes(plan, format if composite or not surface_pitch else NOTHING)
        composed = _plan_planes(plan, format) if composite and not surface_pitch else source
        alpha_plane = plan.plane(format.width, format.height) if alpha else None
        offsets = {name: plan.take(spec.nbytes) for name, spec in arrays.items()}
        slot_bytes = _round_up(max(plan.used, 1), PAGE)
        self.layout = SlotLayout(depth, slot_bytes, *source)
        self._fd, self._memory = _share(self.layout.nbytes)
        self.slots: tuple[Slot, ...] = tuple(
            Slot(
                index,
                view_planes(self._memory, index * slot_bytes, *source),
                view_planes(self._memory, index * slot_bytes, *composed),
                _view(self._memory, index * slot_bytes, alpha_plane) if alpha_plane else None,
                {name: self._array(index * slot_bytes + offsets[name], spec) for name, spec in arrays.items()},
            )
            for index in range(depth)
        )
        self._lock = threading.Lock()
        self._in = self._out = self._dropped = self._in_flight = self._peak = 0

    @property
    def fd(self) -> int:
        """Descriptor of the mapping, to hand to a source process; -1 once closed."""
        return self._fd

    @property
    def address(self) -> int:
        """Where the mapping begins in this process, for whoever pins it."""
        return int(np.frombuffer(self._memory, np.uint8).ctypes.data)

    def move(self, slot: Slot, to: SlotState, *, dropped: bool = False) -> None:
        """Change a slot's state; thread-safe.

        Args:
            dropped: for DONE -> FREE: the frame did not reach the sink. READY -> FREE and RUNNING -> FREE always drop.
        Raises:
            InternalError: the move is not in the diagram at the top of this file.
        """
        with self._lock:
            before = slot._state
            if (before, to) not in _MOVES or (dropped and (to is not SlotState.FREE or before is SlotState.FILLING)):
                raise InternalError(
                    "illegal move of a slot",
                    remedy="Report this with the command that was run.",
                    slot=slot.index,
                    before=before.value,
                    to=to.value,
                    dropped=dropped,
                )
            slot._state = to
            if to is SlotState.READY:
                self._in += 1
                self._in_flight += 1
                self._peak = max(self._peak, self._in_flight)
            elif to is SlotState.FREE and before in _IN_FLIGHT:
                self._in_flight -= 1
                if before is SlotState.DONE and not dropped:
                    self._out += 1
                else:
                    self._dropped += 1

    def add_dropped(self, n: int) -> None:
        """Count `n` frames that the source lost before they got a slot: they came in and were dropped."""
        if n < 0:
            raise InternalError("a negative number of frames", remedy="Report this with the command that was run.", n=n)
        with self._lock:
            self._in += n
            self._dropped += n

    def counts(self) -> Counts:
        """Take a consistent snapshot."""
        with self._lock:
            return Counts(self._in, self._out, self._dropped, self._in_flight, self._peak)

    def close(self) -> None:
        """Let go of the mapping; later calls do nothing.

        Views that the caller still holds stay valid: the memory itself goes with the last of them.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.slots = ()
            del self._memory

    def _array(self, start: int, spec: ArraySpec) -> NDArray[np.generic]:
        count = int(np.prod(spec.shape, dtype=np.int64))
        flat = np.frombuffer(self._memory, spec.numpy_dtype, count, start)
        return flat.reshape(spec.shape)


class _Plan:
    """Hands out aligned offsets one after the other."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, nbytes: int) -> int:
        offset = self.used
        self.used = _round_up(offset + nbytes, ALIGNMENT)
        return offset

    def plane(self, width: int, height: int) -> PlaneLayout:
        pitch = _round_up(width, ALIGNMENT)
        return PlaneLayout(self.take(pitch * height), width, height, pitch)


def view_planes(memory: mmap.mmap, start: int, y: PlaneLayout, u: PlaneLayout, v: PlaneLayout) -> Planes:
    """Lay a picture over the slot that begins `start` bytes into the mapping."""
    return Planes(_view(memory, start, y), _view(memory, start, u), _view(memory, start, v))


def _view(memory: mmap.mmap, start: int, plane: PlaneLayout) -> NDArray[np.uint8]:
    rows = np.frombuffer(memory, np.uint8, plane.pitch * plane.height, start + plane.offset)
    return rows.reshape(plane.height, plane.pitch)[:, : plane.width]


def _plan_planes(plan: _Plan, frame: FrameFormat) -> tuple[PlaneLayout, PlaneLayout, PlaneLayout]:
    luma = plan.plane(frame.width, frame.height)
    blue = plan.plane(frame.chroma_width, frame.chroma_height)
    return luma, blue, plan.plane(frame.chroma_width, frame.chroma_height)


def _round_up(value: int, step: int) -> int:
    return (value + step - 1) // step * step


def _share(nbytes: int) -> tuple[int, mmap.mmap]:
    """Map zeroed shared memory of that size that has no name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cutline-slots", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, nbytes)
        return fd, mmap.mmap(fd, nbytes)
    except (OSError, OverflowError) as error:
        os.close(fd)
        raise UsageError(
            "no memory for the slots", remedy="Use a smaller depth or smaller frames.", nbytes=nbytes
        ) from error
