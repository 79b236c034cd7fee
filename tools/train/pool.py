"""A pool of finished composites on disk, so that making images and learning from them run at their own speeds.

One process (or several, each with its own share of the slots) writes composites round and round; any number of training
processes read at random. The files are mapped, so that the page cache is the only copy in memory.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, NoInputError, OutputError, StorageError

__all__ = ["Composite", "Pool", "create_pool", "open_pool"]

U8 = NDArray[np.uint8]
_SCHEMA = 1
_PLANES = 7  # R, G, B of the frame, R, G, B of the plate, alpha


@dataclass(frozen=True, slots=True)
class Composite:
    """One training sample: frame and plate uint8[H, W, 3] full-range R'G'B', alpha uint8[H, W] with 255 opaque."""

    frame: U8
    plate: U8
    alpha: U8


@final
class Pool:
    """Owns the mapping of one pool folder until close(); any number of processes may hold the same folder.

    A slot's stamp is odd while it is being written and counts up by two with each composite, so that a reader can tell
    a torn read from a good one. Stamp 0: never written.
    """

    def __init__(self, folder: Path, capacity: int, width: int, height: int) -> None:
        self.capacity, self.width, self.height = capacity, width, height
        self._pixels = np.memmap(folder / "pixels.u8", np.uint8, "r+", shape=(capacity, height, width * _PLANES))
        self._stamps = np.memmap(folder / "stamps.u32", np.uint32, "r+", shape=(capacity,))

    def put(self, index: int, composite: Composite) -> None:
        """Write one composite into slot `index`."""
        width, row = self.width, self._pixels[index]
        self._stamps[index] |= 1
        row[:, : 3 * width] = composite.frame.reshape(self.height, -1)
        row[:, 3 * width : 6 * width] = composite.plate.reshape(self.height, -1)
        row[:, 6 * width :] = composite.alpha
        self._stamps[index] += 1

    def get(self, index: int) -> Composite | None:
        """Copy slot `index` out; None when it is empty or was being written."""
        before = int(self._stamps[index])
        if before == 0 or before & 1:
            return None
        width, row = self.width, np.array(self._pixels[index])
        if int(self._stamps[index]) != before:
            return None
        shape = (self.height, width, 3)
        frame, plate, alpha = row[:, : 3 * width], row[:, 3 * width : 6 * width], row[:, 6 * width :]
        return Composite(frame.reshape(shape), plate.reshape(shape), alpha)

    def round(self, index: int) -> int:
        """How many composites slot `index` has had; the one being written does not count."""
        return int(self._stamps[index]) // 2

    def close(self) -> None:
        """Drop the mapping; later calls do nothing."""
        for name in ("_pixels", "_stamps"):
            if hasattr(self, name):
                delattr(self, name)


def create_pool(folder: Path, *, capacity: int, width: int, height: int) -> Pool:
    """Make an empty pool, or open the one that is there when it has the same shape.

    Raises:
        OutputError: the folder cannot be made, or holds a pool of another shape.
        StorageError: there is no room on the disk.
    """
    pixels = capacity * height * width * _PLANES
    facts = {"schema": _SCHEMA, "capacity": capacity, "width": width, "height": height}
    described = folder / "pool.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if described.exists():
            if json.loads(described.read_text()) == facts:
                return Pool(folder, capacity, width, height)
            raise OutputError(
                "the folder holds a pool of another shape", remedy="Name an empty folder.", folder=str(folder)
            )
        for name, size in (("pixels.u8", pixels), ("stamps.u32", capacity * 4)):
            with (folder / name).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a mapping that finds the disk full is a killed process
        described.write_text(json.dumps(facts))
    except OSError as error:
        full = error.errno == errno.ENOSPC
        kind = StorageError if full else OutputError
        remedy = (
            "Free some space, or set TMPDIR to a folder with more." if full else "Check the folder and its permissions."
        )
        raise kind(
            f"the pool cannot be made: {error.strerror}", remedy=remedy, folder=str(folder), bytes=pixels
        ) from error
    return Pool(folder, capacity, width, height)


def open_pool(folder: Path) -> Pool:
    """Open a pool that another process made.

    Raises:
        NoInputError: there is no pool in the folder.
        BadInputError: its description cannot be read.
    """
    try:
        facts = json.loads((folder / "pool.json").read_text())
        if facts["schema"] != _SCHEMA:
            raise ValueError(f"schema {facts['schema']}")
        return Pool(folder, int(facts["capacity"]), int(facts["width"]), int(facts["height"]))
    except FileNotFoundError as error:
        raise NoInputError("there is no pool", remedy="Make one first.", folder=str(folder)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"the pool cannot be read: {error}", remedy="Delete the folder.", folder=str(folder)
        ) from error
