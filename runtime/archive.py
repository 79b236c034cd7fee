"""The container of a bundle: a stored zip that can be written in exactly one way.

Names, sizes and checksums determine every byte of the zip's own structures. So the reader never interprets a directory
that a stranger wrote: it derives what the structures must be and compares. Compression, encryption, extra fields,
comments, links, zip64, gaps, overlaps, duplicates and a second directory have no way to be expressed.

Layout: for each entry a local header and its data, in order, with no gaps; the central directory; the end record.
Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.16.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cutline.runtime.errors import BundleError, NoInputError, StorageError, TrustError

__all__ = [
    "MAX_ARCHIVE_BYTES",
    "MAX_ENTRY_BYTES",
    "ArchiveFile",
    "Digest",
    "Entry",
    "digest_of",
    "entry_span",
    "local_header",
    "tail",
    "tail_size",
]

MAX_ARCHIVE_BYTES = 0xFFFF_FFFE  # one less than the sentinel that announces zip64, which the format does without
MAX_ENTRY_BYTES = 1 << 30  # one engine; it is read by one system call, into one piece of memory
CHUNK_BYTES = 1 << 20  # digests are computed over pieces of this size, so memory does not grow with the bundle

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_SIZE_FIELD = struct.Struct("<L")
_SIZE_OFFSET = 22  # of the uncompressed size in a local header
_VERSION_NEEDED = 20
_MADE_BY_UNIX = (3 << 8) | _VERSION_NEEDED
_STORED, _NO_FLAGS = 0, 0
_EPOCH_TIME, _EPOCH_DATE = 0, (1 << 5) | 1  # 1980-01-01 00:00, the earliest that a zip can say
_REGULAR_0644 = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Digest:
    """What was found in a piece of a file."""

    sha256: str  # 64 hexadecimal digits
    crc32: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive; `name` is ASCII, `offset` is that of its local header."""

    name: str
    size: int
    crc32: int
    offset: int


def digest_of(data: bytes) -> Digest:
    """Compute both digests of `data`."""
    return Digest(hashlib.sha256(data).hexdigest(), zlib.crc32(data))


def entry_span(name: str, size: int) -> int:
    """Bytes that an entry takes before the central directory: local header, name, data."""
    return _LOCAL.size + len(name) + size


def local_header(name: str, size: int, crc32: int) -> bytes:
    """Return the only header that may stand before the entry's data."""
    fixed = (_VERSION_NEEDED, _NO_FLAGS, _STORED, _EPOCH_TIME, _EPOCH_DATE)
    return _LOCAL.pack(b"PK\3\4", *fixed, crc32, size, size, len(name), 0) + name.encode("ascii")


def tail(entries: Sequence[Entry]) -> bytes:
    """Return the only central directory and end record that may follow the entries."""
    return b"".join(_tail_parts(entries))


def tail_size(names: Sequence[str]) -> int:
    """Bytes of `tail` for entries of these names."""
    return sum(_CENTRAL.size + len(name) for name in names) + _END.size


def _tail_parts(entries: Sequence[Entry]) -> Iterator[bytes]:
    fixed = (_MADE_BY_UNIX, _VERSION_NEEDED, _NO_FLAGS, _STORED, _EPOCH_TIME, _EPOCH_DATE)
    size = 0
    for e in entries:
        described = (e.crc32, e.size, e.size, len(e.name), 0, 0, 0, 0, _REGULAR_0644, e.offset)
        yield _CENTRAL.pack(b"PK\1\2", *fixed, *described) + e.name.encode("ascii")
        size += _CENTRAL.size + len(e.name)
    start = entries[-1].offset + entry_span(entries[-1].name, entries[-1].size)
    yield _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), size, start, 0)


@final
class ArchiveFile:
    """Owns one open file descriptor until close().

    Reads with pread and never maps the file: a mapped file that somebody shortens kills the process with SIGBUS, and
    one that somebody rewrites changes after it was checked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _open_regular(path)
        self.size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the descriptor once; later calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            BundleError: the file ends earlier.
            StorageError: the medium failed.
        """
        if offset + size > self.size:  # before memory is taken for it
            raise self.damaged("the file ends too early", needed=offset + size, size=self.size)
        pieces = list(self._pieces(offset, size, MAX_ENTRY_BYTES))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def digest(self, offset: int, size: int) -> Digest:
        """Compute both digests of a piece of the file, in constant memory. Raises as `read` does."""
        sha256, crc32 = hashlib.sha256(), 0
        for piece in self._pieces(offset, size, CHUNK_BYTES):
            sha256.update(piece)
            crc32 = zlib.crc32(piece, crc32)
        return Digest(sha256.hexdigest(), crc32)

    def read_entry(self, offset: int, name: str, *, limit: int) -> tuple[Entry, bytes]:
        """Read a small entry whose name and place are known and whose size is not.

        Raises:
            BundleError: something else stands there, its data is damaged, or it is larger than `limit` bytes.
        """
        found = self.read(offset, entry_span(name, 0))
        (size,) = _SIZE_FIELD.unpack_from(found, _SIZE_OFFSET)
        if found[:4] != b"PK\3\4" or not found.endswith(name.encode("ascii")):
            raise self.damaged(f"{name} is not where a bundle has it")
        if size > limit:
            raise self.damaged(f"{name} is too large", size=size, limit=limit)
        data = self.read(offset + len(found), size)
        entry = Entry(name, size, zlib.crc32(data), offset)
        if found != local_header(name, size, entry.crc32):
            raise self.damaged(f"{name} or its header is damaged")
        return entry, data

    def damaged(self, what: str, **facts: object) -> BundleError:
        """Make the error that says that this file is no sound bundle."""
        remedy = "Copy or download the bundle again, or rebuild it with `cutline build`."
        return BundleError(f"{self.path}: {what}", remedy=remedy, **facts)

    def _pieces(self, offset: int, size: int, step: int) -> Iterator[bytes]:
        while size > 0:
            try:
                piece = os.pread(self._fd, min(size, step), offset)
            except OSError as error:
                remedy = "Check the disk and copy the bundle again."
                raise StorageError(f"{self.path}: reading failed: {error.strerror}", remedy=remedy) from error
            if not piece:
                raise self.damaged("the file became shorter while it was read")
            yield piece
            offset, size = offset + len(piece), size - len(piece)


def _open_regular(path: Path) -> int:
    try:  # O_NONBLOCK: opening a named pipe must not wait for a writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoInputError(f"{path}: no such bundle", remedy="Check the path, or name a shipped bundle.") from error
    except PermissionError as error:
        raise TrustError(f"{path}: permission denied", remedy="Make the file readable for this user.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise NoInputError(f"{path}: cannot be opened: {error}", remedy="Check the path.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BundleError(f"{path}: is not a file", remedy="Name a .cutline file.")
    return fd
