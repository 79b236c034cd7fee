"""Writing a bundle: equal inputs give equal bytes, and a failure leaves what was there before."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cutline.engine.keys import sign
from cutline.runtime import archive
from cutline.runtime.archive import Entry, digest_of, entry_span, local_header
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BundleError, OutputError, StorageError, UsageError
from cutline.runtime.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    Cubin,
    Manifest,
    Member,
    Target,
    decode_manifest,
    encode,
)

__all__ = ["write_bundle"]


def write_bundle(
    path: Path,
    *,
    name: str,
    version: int,
    created: str,
    licence: str,
    contract: ModelContract,
    members: Mapping[str, bytes],
    targets: Sequence[Target],
    key: Ed25519PrivateKey | None,
    cubins: Sequence[Cubin] = (),
    provenance: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    accuracy: dict[str, Any] | None = None,
    card: str | None = None,
) -> Manifest:
    """Write a bundle beside its final name, then rename it.

    Args:
        created: UTC time such as 2026-11-21T09:30:00Z, stated by the caller so that builds repeat to the byte.
        members: content by name; see DESIGN.md for the names in use.
        key: whom the bundle is signed by; None writes an unsigned bundle, which opens with --allow-unsigned only.
        card: name of the member that holds the model card.
    Returns:
        the manifest that was written.
    Raises:
        BundleError: a field is out of range, or a target names a member that is not there.
        UsageError: more bytes than a bundle holds.
        OutputError: the file cannot be created.
        StorageError: writing failed midway.
    """
    try:
        listed = [Member(name=n, size=len(members[n]), sha256=digest_of(members[n]).sha256) for n in sorted(members)]
        manifest = Manifest(
            name=name,
            version=version,
            created=created,
            licence=licence,
            contract=contract,
            targets=tuple(targets),
            cubins=tuple(cubins),
            members=tuple(listed),
            provenance=provenance,
            calibration=calibration,
            accuracy=accuracy,
            card=card,
        )
        _demand_finite(msgspec.to_builtins(manifest))
        text = encode(manifest)
    except ValueError as error:
        raise BundleError(f"this cannot be a bundle: {error}", remedy="Correct what is packed.") from error
    manifest = decode_manifest(text)  # what we write is what we would read
    signature = encode(sign(key, text)) if key is not None else b""
    ordered = {MANIFEST_NAME: text, SIGNATURE_NAME: signature} | {m.name: members[m.name] for m in listed}
    if len(text) > MAX_MANIFEST_BYTES:
        remedy = "Move large tables out of the manifest into a member."
        raise UsageError("the manifest is too large", remedy=remedy, size=len(text), limit=MAX_MANIFEST_BYTES)
    _write(path, _lay_out(ordered))
    return manifest


def _lay_out(content: Mapping[str, bytes]) -> list[bytes]:
    """Return the pieces of the file in order."""
    pieces, entries, offset = [], [], 0
    for name, data in content.items():
        entry = Entry(name, len(data), digest_of(data).crc32, offset)
        pieces += [local_header(entry.name, entry.size, entry.crc32), data]
        entries.append(entry)
        offset += entry_span(name, len(data))
    pieces.append(archive.tail(entries))
    if (size := sum(map(len, pieces))) > archive.MAX_ARCHIVE_BYTES:
        remedy = "Build fewer targets into one bundle."
        raise UsageError("the bundle is too large", remedy=remedy, size=size, limit=archive.MAX_ARCHIVE_BYTES)
    return pieces


def _demand_finite(value: object) -> None:
    """Refuse NaN and infinity, which JSON would turn into null."""
    if isinstance(value, dict):
        for item in value.values():
            _demand_finite(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _demand_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a figure in the manifest is not finite")


def _write(path: Path, pieces: Sequence[bytes]) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        remedy = "Choose a folder that exists and can be written."
        raise OutputError(f"{path}: cannot be created: {error.strerror}", remedy=remedy) from error
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        remedy = "Free space or choose another folder; what was there before is untouched."
        raise StorageError(f"{path}: writing failed: {error.strerror}", remedy=remedy) from error
    finally:
        part.unlink(missing_ok=True)
