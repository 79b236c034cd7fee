"""One kernel launch as plain data, and the layout of scratch memory."""

from __future__ import annotations

from ctypes import Structure
from dataclasses import dataclass
from typing import Final, final

__all__ = ["ALIGNMENT", "Launch", "Layout", "aligned", "blocks", "launch"]

ALIGNMENT: Final = 256  # bytes; what cuMemAlloc gives and TensorRT asks for, and more than any access of ours needs
Three = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch. The kernel takes one structure by value, and no dynamic shared memory.

    kernel: the function's name in the module
    grid, block: blocks in x, y, z; threads in x, y, z
    params: the structure's bytes
    least_bytes: what must cross the memory bus at least, each plane read or written once; for benchmarks
    """

    kernel: str
    grid: Three
    block: Three
    params: bytes
    least_bytes: int


def launch(kernel: str, grid: Three, block: Three, record: Structure, least_bytes: int) -> Launch:
    """Make a launch; the record's bytes are taken as they are now."""
    return Launch(kernel=kernel, grid=grid, block=block, params=bytes(record), least_bytes=least_bytes)


def blocks(width: int, height: int, tile: Three) -> Three:
    """How many tiles cover width x height."""
    return -(-width // tile[0]), -(-height // tile[1]), 1


def aligned(nbytes: int) -> int:
    """So many bytes, and what lies between them and the next part of a block."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@final
class Layout:
    """Hands out offsets into one block of device memory."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, nbytes: int) -> int:
        """Offset of `nbytes` more, aligned."""
        offset = self.size
        self.size += aligned(nbytes)
        return offset
