"""Keeps what was expensive to make, by the content that it was made from: $XDG_CACHE_HOME/cutline/build."""

from __future__ import annotations

import hashlib
import os
import secrets
from importlib.metadata import version
from pathlib import Path

import msgspec

from cutline.runtime.errors import StorageError

__all__ = ["Cache", "default_folder"]

FORMAT = 3  # raise it when what a stage makes of the same inputs changes
LIMIT = 4 << 30  # bytes kept; the least recently used go first


def default_folder() -> Path:
    """Where the cache lies: under $XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline" / "build"


class Cache:
    """Owns a folder of files named by digest. Entries are whole or absent; a damaged one counts as absent."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(
                f"the cache folder cannot be created: {error.strerror}",
                remedy="Set XDG_CACHE_HOME to a folder that can be written.",
                path=str(self.folder),
            ) from error

    def key(self, stage: str, *parts: object) -> str:
        """Digest of everything that decides a result: our version, bytes as they are, the rest as canonical JSON."""
        digest = hashlib.sha256(f"{FORMAT}:{version('cutline')}:{stage}".encode())
        for part in parts:
            data = part if isinstance(part, bytes) else msgspec.json.encode(part, order="sorted")
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        return f"{stage}-{digest.hexdigest()}"

    def get(self, key: str) -> bytes | None:
        """The bytes kept under a key, None when there are none or they are damaged."""
        path = self.folder / key
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        body, mark = data[:-32], data[-32:]
        if hashlib.sha256(body).digest() != mark:
            path.unlink(missing_ok=True)
            return None
        return body

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under a key;.

        Raises:
            StorageError: the folder cannot be written at all.
        """
        part = self.folder / f".{key}.{secrets.token_hex(4)}"
        try:
            part.write_bytes(data + hashlib.sha256(data).digest())
            part.replace(self.folder / key)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StorageError(
                f"the cache cannot be written: {error.strerror}",
                remedy="Free space, or set XDG_CACHE_HOME elsewhere.",
                path=str(self.folder),
            ) from error
        self._trim()

    def _trim(self) -> None:
        files = sorted(((p.stat(), p) for p in self.folder.iterdir() if p.is_file()), key=lambda e: -e[0].st_mtime)
        total = 0
        for status, path in files:
            total += status.st_size
            if total > LIMIT:
                path.unlink(missing_ok=True)
