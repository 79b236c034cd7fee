"""The highest version seen of every signed bundle, so that nobody can hand out an old one as new.

One text file in the state folder, one line for each signer and name: `<key id> <bundle name> <version>`. To go back to
an older version on purpose, remove the line (or the file).
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from pathlib import Path
from typing import final

from cutline.runtime.errors import TrustError
from cutline.runtime.manifest import Manifest
from cutline.runtime.places import state_dir

__all__ = ["VersionRecord"]

FILE_NAME = "versions"
MAX_RECORD_BYTES = 1 << 20

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
                remedy=f"Get the newest one; to go back on purpose, remove its line from {self.path}.",
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
                text = file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            _say_once(f"{self.path}: cannot be read ({error.strerror}): older bundles are not recognised as old")
            return {}
        return self._parse(text)

    def _parse(self, text: bytes) -> dict[tuple[str, str], int]:
        record: dict[tuple[str, str], int] = {}
        try:
            if len(text) > MAX_RECORD_BYTES:
                raise ValueError("too large")
            for line in text.decode("ascii").splitlines():
                key, name, version = line.split()
                record[key, name] = max(int(version), record.get((key, name), 0))
        except ValueError:  # whoever can damage it can also remove it: refusing to run would protect nobody
            _say_once(f"{self.path}: is damaged and is written anew: older bundles were not recognised as old")
            return {}
        return record

    def _remember(self, key: str, name: str, version: int) -> None:
        if self.path is None:
            _say_once("no home and no XDG_STATE_HOME: seen versions are not remembered, older bundles are not refused")
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.with_suffix(".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
                record = self._read()  # another process may have written since
                record[key, name] = max(version, record.get((key, name), 0))
                _replace(self.path, "".join(f"{k} {n} {v}\n" for (k, n), v in sorted(record.items())))
        except OSError as error:
            _say_once(f"{self.path}: cannot be written ({error.strerror}): this version is not remembered")


def _replace(path: Path, text: str) -> None:
    """Write beside the final name and rename, so that a power cut leaves the old record or the new one."""
    fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _say_once(what: str) -> None:
    if what not in _said:
        _said.add(what)
        _log.warning("%s", what)
