"""Memory that stands in for a device's, and who may touch which of it: part of the fake driver."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final, final

import numpy as np

from cutline.runtime.cuda.driver import Memory, Pinned
from cutline.runtime.errors import InternalError

__all__ = ["FakeMemory", "Range", "RuleBroken"]

PAGE: Final = 4096  # bytes, of host memory: what is pinned is pages
DIRT: Final = 0xCD  # what fresh memory holds: nobody may count on zeros
NAME: Final = struct.Struct("<iiQ48x")  # of memory for other processes: its process, descriptor there, bytes
Range = tuple[int, int]  # first address, and the one past the last


class RuleBroken(InternalError):
    """The caller did what a GPU would punish with silence."""

    def __init__(self, what: str, **facts: object) -> None:
        super().__init__(what, remedy="Correct the code that drives the device.", **facts)


@final
class FakeMemory:
    """Owns the stand-in for device memory; borrows what is pinned. Addresses are the host's own.

    Released memory is kept until clear(), so that no address comes twice and every late use is seen.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken: dict[int, tuple[Memory, mmap.mmap]] = {}  # by address
        self._files: dict[int, int] = {}  # descriptors of device memory, by address
        self._pinned: dict[int, int] = {}
        self._released: list[tuple[Memory, mmap.mmap]] = []

    @property
    def free_bytes(self) -> int:
        """What alloc() can still give."""
        return self._total - sum(taken.nbytes for taken, _ in self._taken.values())

    @property
    def live(self) -> set[Memory | Pinned]:
        """What was taken or pinned and not released."""
        taken: set[Memory | Pinned] = {taken for taken, _ in self._taken.values()}
        return taken | {Pinned(address, nbytes, address) for address, nbytes in self._pinned.items()}

    def alloc(self, nbytes: int) -> Memory | None:
        """Take device memory; None when there is not so much."""
        if not 0 < nbytes <= self.free_bytes:
            return None
        file = os.memfd_create("fake-gpu")
        os.ftruncate(file, nbytes)
        backing, address = _mapped(file, nbytes)
        np.frombuffer(backing, np.uint8)[:] = DIRT
        self._taken[address] = (Memory(address, nbytes), backing)
        self._files[address] = file
        return Memory(address, nbytes)

    def share(self, memory: Memory) -> bytes:
        """Name memory so that another process finds it in /proc."""
        if memory not in self.live:
            raise RuleBroken("memory is shared that is not there", address=hex(memory.address))
        return NAME.pack(os.getpid(), self._files[memory.address], memory.nbytes)

    def pin(self, address: int, nbytes: int) -> Pinned | None:
        """Note host memory as pinned; None when part of it is already."""
        if address % PAGE:
            raise RuleBroken("what is pinned shares its first page with something else", address=hex(address))
        if any(address < start + size and start < address + nbytes for start, size in self._pinned.items()):
            return None
        self._pinned[address] = nbytes
        return Pinned(address, nbytes, address)

    def release(self, resource: Memory | Pinned) -> None:
        """Take back what alloc() or pin() gave."""
        if isinstance(resource, Memory):
            self._released.append(self._taken.pop(resource.address))
        else:
            del self._pinned[resource.address]

    def inside(self, address: int, nbytes: int, what: str) -> Range:
        """Demand that the bytes lie in one live allocation or in pinned memory."""
        for start, end in self._ranges():
            if start <= address and address + nbytes <= end:
                return address, address + nbytes
        if self._was_released(address):
            raise RuleBroken(f"{what}: memory that was released", address=hex(address), nbytes=nbytes)
        raise RuleBroken(f"{what}: neither device memory nor pinned", address=hex(address), nbytes=nbytes)

    def pointed(self, params: bytes, kernel: str) -> tuple[Range, ...]:
        """What a kernel's parameters point at; every 8-byte word that looks like an address of ours is one."""
        words = np.frombuffer(params[: len(params) // 8 * 8], np.uint64).tolist()
        for word in words:
            if self._was_released(word):
                raise RuleBroken(f"{kernel}: a parameter points into released memory", address=hex(word))
        return tuple((w, w + 1) for w in words if any(a <= w < b for a, b in self._ranges()))

    def clear(self) -> None:
        """Let go of everything."""
        for file in self._files.values():
            os.close(file)
        for kept in (self._taken, self._files, self._pinned, self._released):
            kept.clear()

    def _ranges(self) -> list[Range]:
        taken = [(address, address + taken.nbytes) for address, (taken, _) in self._taken.items()]
        return taken + [(address, address + nbytes) for address, nbytes in self._pinned.items()]

    def _was_released(self, address: int) -> bool:
        return any(old.address <= address < old.address + old.nbytes for old, _ in self._released)


def _mapped(file: int, nbytes: int) -> tuple[mmap.mmap, int]:
    """Map a file; its address too."""
    backing = mmap.mmap(file, nbytes)
    return backing, int(np.frombuffer(backing, np.uint8).ctypes.data)
