"""Kernels that TensorRT for RTX compiled for this very GPU, kept between starts.

They are native code without a signature. So they lie in the user's own cache folder and not beside the bundle, which
others may be able to write to, and a file that somebody else owns or can write is not read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import Any, Final, final

from cutline.runtime.cuda.driver import Device

__all__ = ["RuntimeCache", "cache_folder"]

MAX_BYTES: Final = 1 << 30
_log = logging.getLogger("cutline.tensorrt")


def cache_folder() -> Path:
    """Where the caches are: $XDG_CACHE_HOME/cutline/tensorrt-rtx."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline" / "tensorrt-rtx"


@final
class RuntimeCache:
    """Borrows the library's cache object; one file per engine, release and GPU.

    A file that is missing, refused by the library, or cannot be written costs time at the next start, nothing else.
    """

    def __init__(self, handle: Any, plan: bytes, library: str, device: Device) -> None:
        self.handle = handle
        identity = hashlib.sha256()
        for part in (plan, library.encode(), device.sm.encode(), device.name.encode(), repr(device.driver_version)):
            identity.update(part if isinstance(part, bytes) else part.encode())
        self.path = cache_folder() / f"{identity.hexdigest()[:32]}.cache"
        data = _read_own(self.path)
        self._saved = data if data is not None and handle.deserialize(data) else b""

    def save(self) -> None:
        """Write what is new, beside the file, then rename."""
        found = self.handle.serialize()
        data = bytes(found) if found is not None else b""
        if not data or data == self._saved:
            return
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            part.replace(self.path)
            self._saved = data
        except OSError as error:
            _log.warning("%s: cannot be written (%s): the next start compiles again", self.path, error.strerror)
            part.unlink(missing_ok=True)


def _read_own(path: Path) -> bytes | None:
    """The file's bytes, when it is a plain file of this user's that nobody else can write."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        private = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        if not private or found.st_size > MAX_BYTES:
            _log.warning("%s: not ours alone, so it is not read", path)
            return None
        return file.read()
