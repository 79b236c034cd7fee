"""Private keys: making them, keeping them closed, signing with them."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from cutline.runtime.errors import NoInputError, OutputError, TrustError
from cutline.runtime.manifest import Signature
from cutline.runtime.places import data_dir
from cutline.runtime.trust import MACHINE_KEY, MAX_KEY_BYTES, check_private, key_id, signed_text

__all__ = ["SIGNING_KEY_VARIABLE", "generate", "load", "machine_key", "publisher_key", "sign"]

SIGNING_KEY_VARIABLE = (
    "CUTLINE_SIGNING_KEY"  # path of the publisher's private key, which is kept outside every repository
)


def generate(path: Path) -> Ed25519PrivateKey:
    """Make a new key: the private half at `path` (mode 0600), the public half beside it with the suffix `.pub`.

    Raises:
        OutputError: the folder cannot be written, or a key is already there; an existing key is never replaced.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.with_suffix(".pub").exists():  # its private half may only be misplaced
            raise FileExistsError(errno.EEXIST, "the public half of an older key is there")
        _publish(path, private, mode=0o600)
        _publish(path.with_suffix(".pub"), public, mode=0o644)
    except OSError as error:
        remedy = "Choose a path that is free and whose folder can be written."
        raise OutputError(f"{path}: the key cannot be written: {error.strerror}", remedy=remedy) from error
    return key


def load(path: Path) -> Ed25519PrivateKey:
    """Read a private key (PEM, PKCS 8, not encrypted).

    Raises:
        NoInputError: there is no such file.
        TrustError: others can read it, or it is no Ed25519 private key.
    """
    try:
        with path.open("rb") as file:
            check_private(path, os.fstat(file.fileno()))
            key = load_pem_private_key(file.read(MAX_KEY_BYTES), password=None)
    except FileNotFoundError as error:
        raise NoInputError(f"{path}: no such key", remedy="Check the path.") from error
    except OSError as error:
        remedy = "Make it readable for its owner."
        raise TrustError(f"{path}: the private key cannot be read: {error.strerror}", remedy=remedy) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise TrustError(f"{path}: not a private key in PEM form", remedy="Name an Ed25519 key file.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path}: not an Ed25519 private key", remedy="Name an Ed25519 key file.")
    return key


def machine_key() -> Ed25519PrivateKey:
    """Return this machine's own key; the first call makes it.

    Raises:
        OutputError: it cannot be made, or there is no home to keep it in.
        TrustError: others can read it.
    """
    folder = data_dir()
    if folder is None:
        raise OutputError("there is no place for this machine's key", remedy="Set XDG_DATA_HOME or HOME.")
    path = folder / MACHINE_KEY
    try:
        return load(path)
    except NoInputError:
        pass
    try:
        return generate(path)
    except OutputError as error:
        if isinstance(error.__cause__, FileExistsError) and path.exists():
            return load(path)  # another process made it in the meantime
        raise


def publisher_key() -> Ed25519PrivateKey | None:
    """Return the key that $CUTLINE_SIGNING_KEY names, None when the variable is not set. Raises as `load` does."""
    stated = os.environ.get(SIGNING_KEY_VARIABLE)
    return load(Path(stated)) if stated else None


def sign(key: Ed25519PrivateKey, manifest: bytes) -> Signature:
    """Sign the bytes of a manifest."""
    return Signature(key=key_id(key.public_key()), signature=key.sign(signed_text(manifest)))


def _publish(path: Path, data: bytes, *, mode: int) -> None:
    """Write a new file whole or not at all; FileExistsError when there is one of that name."""
    fd, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600 from the start
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, this fails when the name is taken
    finally:
        Path(part).unlink()
