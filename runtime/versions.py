"""The highest version seen of every signed bundle, so that nobody can hand out an old one as new.

One text file in the state folder, one line for each version that was new: `<key id> <bundle name> <version>`; the
highest counts. Lines are only ever appended, so that processes need no lock and a power cut costs one line at most. To
go back to an older version on purpose, remove the lines of that name (or the file).
"""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path
from typing import final

from cutline.runtime.errors import TrustError
from cutline.runtime.manifest import Manifest
from cutline.runtime.places import state_dir

__all__ = ["VersionRecord"]

FILE_NAME = "versions"
MAX_RECORD_BYTES = 1 << 20

_LINE = re.compile(r"([0-9a-f]{32}) ([a-z0-9_-]{1,64}) ([0-9]{1,10})\Z")
_log = logging.getLogger("cutline.trust")
_said: set[str] = set()  # what this process has already warned of


@final
class VersionRecord:
    """Borrows the record file of one user; holds nothing open between calls."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or state_dir()
        self.path = folder / FILE_NAME if folder else None

    def check(self, key: str, manifest: Manifest, *, forgive: bool = False) -> None:
        """Refuse a version older than one that was seen, and remember a newer one.

        A state folder that cannot be written does not stop anything: protection against rollback then rests on what was
        recorded before, and a warning says so once.

        Args:
            forgive: remember, but do not refuse: for what ships inside the package, which goes back with the package.
        Raises:
            TrustError: a newer version of this bundle by this signer was opened here before.
        """
        seen = self._read().get((key, manifest.name), 0)
        if manifest.version < seen and not forgive:
            raise TrustError(
                "this bundle is older than one that was opened here before",
                remedy=f"Get the newest one; to go back on purpose, remove its lines from {self.path}.",
                name=manifest.name,
                version=manifest.version,
                seen=seen,
            )
        if manifest.version > seen:
            self._remember(key, manifest.name, manifest.version)

    def _read(self) -> dict[tuple[str, str], int]:
        if self.path is None:
            return {}
        try:
            with self.path.open("rb") as file:
                text = file.read(MAX_RECORD_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            _say_once(f"{self.path}: cannot be read ({error.strerror}): older bundles are not recognised as old")
            return {}
        return self._parse(text.decode("ascii", "replace"))

    def _parse(self, text: str) -> dict[tuple[str, str], int]:
        record: dict[tuple[str, str], int] = {}
        for line in text.splitlines():
            if not line:
                continue
            found = _LINE.match(line)
            if found is None:  # whoever can damage the file can also remove it: refusing to run would protect nobody
                _say_once(f"{self.path}: a damaged line is ignored, which may make an old bundle look new")
                continue
            key, name, version = found.groups()
            record[key, name] = max(int(version), record.get((key, name), 0))
        return record

    def _remember(self, key: str, name: str, version: int) -> None:
        if self.path is None:
            _say_once("no home and no XDG_STATE_HOME: seen versions are not remembered, older bundles are not refused")
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size >= MAX_RECORD_BYTES:
                    raise OSError(errno.EFBIG, "too large: remove it")
                # the leading line end parts this line from one that a power cut left unfinished
                os.write(fd, f"\n{key} {name} {version}\n".encode("ascii"))
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            _say_once(f"{self.path}: cannot be written ({error.strerror}): this version is not remembered")


def _say_once(what: str) -> None:
    if what not in _said:
        _said.add(what)
        _log.warning("%s", what)
