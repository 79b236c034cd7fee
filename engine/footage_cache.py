"""Keeps the frames and the table that footage gave, by the content of the footage: the second build decodes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.calibration.clips import Clip, find_footage
from cutline.calibration.runner import Feed
from cutline.runtime.sources import is_live

__all__ = ["KeptFootage", "footage_digest", "pack_feeds", "unpack_feeds"]

MAX_BYTES = 4 << 30  # of footage; hashing more takes longer than looking through it again
CHUNK = 1 << 22

PackedArray = tuple[str, tuple[int, ...], bytes]  # dtype, shape, values
Packed = list[list[dict[str, PackedArray]]]


class KeptFootage(msgspec.Struct, frozen=True, kw_only=True):
    """What `footage.gather` made of clips."""

    held_out: Packed
    search: Packed
    table: bytes
    lines: tuple[str, ...]  # what was said about it


def footage_digest(calib: Sequence[str]) -> str | None:
    """SHA-256 over names and contents of all that the arguments name; None for cameras and for too much of it."""
    digest, total = hashlib.sha256(), 0
    for clip in find_footage(calib):
        if is_live(clip.uri):
            return None
        digest.update(clip.uri.encode() + b"\0")
        for path in _files(clip):
            total += path.stat().st_size
            if total > MAX_BYTES:
                return None
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()


def _files(clip: Clip) -> Iterator[Path]:
    """A clip's own file or pictures, and the pictures of its empty scene. A generated scene is its address."""
    path = Path(clip.uri)
    if path.is_dir():
        yield from sorted(p for p in path.iterdir() if p.is_file())
    elif path.is_file():
        yield path
        yield from sorted(p for p in path.parent.iterdir() if p.name.startswith(f"{path.stem}-plate."))


def pack_feeds(sequences: Sequence[Sequence[Feed]]) -> Packed:
    """Into what msgpack knows; arrays that several frames share are written once for each."""
    return [[{name: _pack(array) for name, array in feed.items()} for feed in sequence] for sequence in sequences]


def _pack(array: NDArray[Any]) -> PackedArray:
    return array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes()


def unpack_feeds(packed: Packed) -> list[list[Feed]]:
    """The way back; the arrays are read-only."""
    return [[_unpack(feed) for feed in sequence] for sequence in packed]


def _unpack(feed: Mapping[str, PackedArray]) -> Feed:
    return {name: np.frombuffer(data, dtype).reshape(shape) for name, (dtype, shape, data) in feed.items()}
