"""Device memory of one stream, taken once, and the slots where the device can reach them.

discrete GPU     slots are pinned; each has a mirror on the device, copied in before a frame and out after it
integrated GPU   slots are mapped; kernels read and write them where they lie, and nothing is copied
frames that the GPU decodes lie in memory of their own, which the source process writes into, and are not copied either
device_stream.py has a third kind, for frames that come and go on the device: slots that lie there alone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, final

from numpy.typing import NDArray

from cutline.runtime.cuda.driver import Driver
from cutline.runtime.cuda.launch import ALIGNMENT, aligned
from cutline.runtime.cuda.planes import NV12_PITCH, DevicePlanes, demand_rows, nv12_at
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import Planes
from cutline.runtime.slots import Slot, SlotPool, SurfaceLayout

__all__ = ["Arena", "Copy", "SlotAddresses", "SlotSpace", "Space", "Surfaces"]

GAP: Final = 4096  # bytes between two arrays of a slot that are cheaper to copy along than to start another copy
MIB: Final = 1 << 20
BLOCK: Final = 2 << 20  # bytes that other processes see as a whole: smaller pieces would share it with others of ours


class Copy(NamedTuple):
    """One copy between a slot and its mirror, in device addresses."""

    target: int
    source: int
    nbytes: int


@final
class Arena:
    """Owns one block of device memory, parted by name, until close()."""

    def __init__(self, driver: Driver, parts: Mapping[str, int], *, lower: str) -> None:
        """Take the memory.

        Args:
            parts: bytes by name.
            lower: what the user can do to need less, an imperative sentence.
        Raises:
            DeviceError: there is not so much free.
        """
        offsets, used = {}, 0
        for name, nbytes in parts.items():
            offsets[name], used = used, used + aligned(nbytes)
        try:  # to ask what is free would not do: where host and device share memory, more can be had
            memory = driver.alloc(max(used, ALIGNMENT))
        except DeviceError as error:
            if "OUT_OF_MEMORY" not in error.what:
                raise
            largest = max(parts, key=lambda name: parts[name])
            raise DeviceError(
                f"{driver.device} has too little free memory for this stream",
                remedy=lower,
                needed_mib=-(-used // MIB),
                free_mib=driver.free_bytes() // MIB,
                largest=f"{largest}, {-(-parts[largest] // MIB)} MiB",
            ) from error
        self._driver, self._memory = driver, memory
        self._offsets, self._sizes = offsets, dict(parts)
        self._open = True

    def __getitem__(self, name: str) -> int:
        """The address of a part; 0 for one of no bytes."""
        return self._memory.address + self._offsets[name] if self._sizes[name] else 0

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return self._memory.nbytes

    def share(self) -> bytes:
        """Name the whole of it for another process."""
        return self._driver.share(self._memory)

    def close(self) -> None:
        """Give the memory back. Works twice."""
        if self._open:
            self._open = False
            self._driver.release(self._memory)


@final
class Surfaces:
    """Owns the memory that a source process decodes into, NV12, slot after slot, until close()."""

    def __init__(self, driver: Driver, pool: SlotPool, *, lower: str) -> None:
        """Take the memory; arguments as Arena's.

        Raises:
            ContractError: the pitch is none that the kernels can read.
            DeviceError: there is not so much free, or this GPU shares none with other processes.
        """
        frame, pitch = pool.format, pool.surface_pitch
        demand_rows("Y", 0, pitch, 2 * frame.chroma_width)
        step = aligned(pitch * (frame.height + frame.chroma_height))
        self._arena = Arena(driver, {"surfaces": -(-step * pool.layout.depth // BLOCK) * BLOCK}, lower=lower)
        try:
            name = self._arena.share()
        except BaseException:
            self._arena.close()
            raise
        rows = frame.height, frame.chroma_height
        self.layout = SurfaceLayout(name, self._arena.nbytes, step, rows, pitch)

    def planes(self, index: int) -> DevicePlanes:
        """A slot's surface."""
        return nv12_at(self._arena["surfaces"] + index * self.layout.slot_bytes, self.layout.pitch, self.layout.rows[0])

    def close(self) -> None:
        """Give the memory back; nobody may have it open. Works twice."""
        self._arena.close()


class Space(Protocol):
    """Where a stream's slots lie."""

    depth: int  # slots
    mirror_bytes: int  # device memory from one slot to the next; 0 where slots are mapped

    def layout(self, index: int, mirror: int) -> SlotAddresses:
        """Where a slot's planes and arrays are for kernels, and what is copied; its device memory is at `mirror`."""
        ...

    def close(self) -> None:
        """Let go of the slots. Works twice."""
        ...


@final
class SlotSpace:
    """Owns the pinning of a pool's memory until close(); borrows the pool, the surfaces and the mirrors.

    `outputs` are the names of the slot arrays that a frame's work writes and somebody on the host reads. Where the pool
    holds no composites, they are NV12 on the device, behind the mirrors.
    """

    def __init__(self, driver: Driver, pool: SlotPool, outputs: Sequence[str], surfaces: Surfaces | None) -> None:
        self._driver, self._outputs, self._surfaces = driver, tuple(outputs), surfaces
        self._slots, self._composed = pool.slots, pool.composed
        self._pinned = driver.pin(pool.address, pool.layout.nbytes)
        self._shift = self._pinned.device_address - self._pinned.address
        self._copied = not driver.device.integrated
        self._open = True
        self.depth = len(self._slots)
        start, end = self._whole(self._slots[0])
        self._mirrored = aligned(end - start) if self._copied else 0
        frame = pool.format
        self._rows, self._pitch = frame.height, -(-2 * frame.chroma_width // NV12_PITCH) * NV12_PITCH
        composite = 0 if self._composed else aligned(self._pitch * (frame.height + frame.chroma_height))
        self.mirror_bytes = self._mirrored + composite

    def layout(self, index: int, mirror: int) -> SlotAddresses:
        """See Space."""
        slot = self._slots[index]
        start, _ = self._whole(slot)
        shift = mirror - start if self._copied else self._shift
        incoming = [_span(slot.source)] if self._surfaces is None else []
        outgoing = [_span(slot.composite)] if self._composed else []
        outgoing += [_extent(slot.alpha)] if slot.alpha is not None else []
        outgoing += [_extent(slot.arrays[name]) for name in self._outputs]

        def copies(spans: list[tuple[int, int]], *, inward: bool) -> tuple[Copy, ...]:
            if not self._copied:
                return ()
            found = []
            for first, last in _merged(spans):
                there, here = first + shift, first + self._shift
                found.append(Copy(there, here, last - first) if inward else Copy(here, there, last - first))
            return tuple(found)

        return SlotAddresses(
            source=_planes(slot.source, shift) if self._surfaces is None else self._surfaces.planes(index),
            composite=_planes(slot.composite, shift)
            if self._composed
            else nv12_at(mirror + self._mirrored, self._pitch, self._rows),
            alpha=_address(slot.alpha) + shift if slot.alpha is not None else 0,
            alpha_pitch=slot.alpha.strides[0] if slot.alpha is not None else 0,
            arrays={name: _address(array) + shift for name, array in slot.arrays.items()},
            copies_in=copies(incoming, inward=True),
            copies_out=copies(outgoing, inward=False),
        )

    def _whole(self, slot: Slot) -> tuple[int, int]:
        """First address and the one past the last of all that a slot holds and the device sees."""
        ends = [*map(_extent, slot.arrays.values())]
        ends += [_span(slot.source)] if self._surfaces is None else []
        ends += [_span(slot.composite)] if self._composed else []
        ends += [_extent(slot.alpha)] if slot.alpha is not None else []
        return min(first for first, _ in ends), max(last for _, last in ends)

    def close(self) -> None:
        """Unpin. Works twice."""
        if self._open:
            self._open = False
            self._driver.release(self._pinned)


class SlotAddresses(NamedTuple):
    """One slot as kernels see it."""

    source: DevicePlanes
    composite: DevicePlanes
    alpha: int  # 0: there is none
    alpha_pitch: int
    arrays: dict[str, int]
    copies_in: tuple[Copy, ...]
    copies_out: tuple[Copy, ...]


def _planes(planes: Planes, shift: int) -> DevicePlanes:
    y, u, v = (_address(plane) + shift for plane in (planes.y, planes.u, planes.v))
    pitches = planes.y.strides[0], planes.u.strides[0]
    return DevicePlanes(y=y, u=u, v=v, luma_pitch=pitches[0], chroma_pitch=pitches[1])


def _address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


def _extent(array: NDArray[Any]) -> tuple[int, int]:
    """First address and the one past the last, rows' padding included."""
    start = _address(array)
    return start, start + max(array.nbytes, array.shape[0] * array.strides[0])


def _span(planes: Planes) -> tuple[int, int]:
    """The same of a picture, whose planes follow one another."""
    return _extent(planes.y)[0], _extent(planes.v)[1]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that nearly touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first - joined[-1][1] < GAP:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
