"""Who may sign a bundle: the publisher, the keys that the user added, and this machine itself."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from cutline.runtime.errors import TrustError
from cutline.runtime.manifest import Signature
from cutline.runtime.places import config_dir, data_dir

__all__ = ["MACHINE_KEY", "KeyRing", "TrustedKey", "check_private", "key_id", "load_public_key", "signed_text"]

MACHINE_KEY = "machine.key"  # in the data folder; its public half is machine.pub
PUBLISHER_FILE = Path(__file__).parent / "models" / "publisher.pub"
MAX_KEY_BYTES = 4096
MAX_USER_KEYS = 256

_CONTEXT = b"cutline bundle manifest, schema 1\0"  # a signature made for anything else is worth nothing here


def signed_text(manifest: bytes) -> bytes:
    """Return what is signed: a fixed context, then the bytes of the manifest."""
    return _CONTEXT + manifest


def key_id(public: Ed25519PublicKey) -> str:
    """Return the name of a key: the first 32 hexadecimal digits of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and why it is trusted."""

    public: Ed25519PublicKey
    origin: Literal["publisher", "user", "machine", "given"]
    path: Path | None = None  # the file that it was read from
    private: Path | None = None  # where this machine keeps the private half, when it does

    @property
    def id(self) -> str:
        """Name of the key, as in a signature record."""
        return key_id(self.public)


@final
class KeyRing:
    """The public keys whose signatures count."""

    def __init__(self, keys: Iterable[TrustedKey]) -> None:
        self._keys: dict[str, TrustedKey] = {}
        for key in keys:  # the first to bring a key says why it is trusted
            self._keys.setdefault(key.id, key)

    @classmethod
    def default(cls) -> KeyRing:
        """Collect the publisher's key, $XDG_CONFIG_HOME/cutline/keys/*.pub, and this machine's own key.

        Raises:
            TrustError: a key file is no Ed25519 public key, or everybody may write to it.
        """
        keys = [TrustedKey(load_public_key(PUBLISHER_FILE), "publisher", PUBLISHER_FILE)]
        keys += [TrustedKey(load_public_key(path), "user", path) for path in _user_key_files()]
        data = data_dir()
        if data is not None and _there(public := (data / MACHINE_KEY).with_suffix(".pub")):
            keys.append(TrustedKey(load_public_key(public), "machine", public, data / MACHINE_KEY))
        return cls(keys)

    @property
    def keys(self) -> tuple[TrustedKey, ...]:
        """Every key, in the order in which it was added."""
        return tuple(self._keys.values())

    def verify(self, signature: Signature, manifest: bytes) -> TrustedKey:
        """Return the key that signed `manifest`.

        Raises:
            TrustError: the key is not trusted, the signature is not its own, or the machine's private key lies open.
        """
        key = self._keys.get(signature.key)
        if key is None:
            place = config_dir()
            remedy = f"If you trust its maker, put the maker's public key into {place or '~/.config/cutline'}/keys/."
            raise TrustError("the bundle is signed by a key that is not trusted here", remedy=remedy, key=signature.key)
        try:
            key.public.verify(signature.signature, signed_text(manifest))
        except InvalidSignature as error:
            remedy = "Do not use this bundle; get it again from its maker."
            raise TrustError("the signature does not fit the manifest", remedy=remedy, key=signature.key) from error
        if key.private is not None:
            _check_still_private(key.private)
        return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read one PEM file (SubjectPublicKeyInfo).

    Raises:
        TrustError: unreadable, not an Ed25519 public key, or writable by everybody.
    """
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(MAX_KEY_BYTES)
        key = load_pem_public_key(data)
    except OSError as error:
        remedy = "Make it readable, or remove it."
        raise TrustError(f"{path}: the key cannot be read: {error.strerror}", remedy=remedy) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: not a public key in PEM form", remedy="Replace it, or remove it.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path}: not an Ed25519 public key", remedy="Replace it, or remove it.")
    if mode & stat.S_IWOTH:
        raise TrustError(f"{path}: everybody may write to this key file", remedy=f"Run `chmod o-w {path}`.")
    return key


def check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a private key that other users can reach; `status` is that of `path`.

    Raises:
        TrustError: group or others have any permission.
    """
    if status.st_mode & 0o077:
        remedy = f"Run `chmod 600 {path}`; if a stranger may have read it, remove it and rebuild your bundles."
        mode = oct(status.st_mode & 0o777)
        raise TrustError(f"{path}: the private key lies open to others", remedy=remedy, mode=mode)


def _check_still_private(path: Path) -> None:
    """A private key that others can read proves nothing about who built a bundle."""
    try:
        status = path.stat()
    except OSError:  # gone, or out of this user's reach: it is not lying open
        return
    check_private(path, status)


def _there(path: Path) -> bool:
    """Whether this user can see the file; a folder that is closed to us holds nothing for us."""
    try:
        return path.exists()
    except OSError:
        return False


def _user_key_files() -> list[Path]:
    place = config_dir()
    if place is None or not _there(keys := place / "keys"):
        return []
    try:
        if keys.stat().st_mode & stat.S_IWOTH:
            raise TrustError(f"{keys}: everybody may add keys here", remedy=f"Run `chmod o-w {keys}`.")
        found = sorted(keys.glob("*.pub"))
    except OSError as error:
        raise TrustError(f"{keys}: cannot be read: {error.strerror}", remedy="Make it readable.") from error
    if len(found) > MAX_USER_KEYS:
        raise TrustError(f"{keys}: too many keys", remedy="Remove those not in use.", limit=MAX_USER_KEYS)
    return found
