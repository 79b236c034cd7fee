"""Opening a bundle: signature, then sizes, then digests, and only then its content.

Nothing is ever extracted to a path: a member is bytes in memory, checked against its digest when they are handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import final

from cutline.runtime import archive, manifest
from cutline.runtime.archive import ArchiveFile, Entry
from cutline.runtime.errors import CutlineError, NoInputError, TrustError, UsageError
from cutline.runtime.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest
from cutline.runtime.trust import KeyRing, TrustedKey
from cutline.runtime.versions import VersionRecord

__all__ = ["SUFFIX", "Bundle", "open_bundle", "resolve", "shipped_names"]

SUFFIX = ".cutline"
MODELS = Path(__file__).parent / "models"  # what ships inside the package


@final
class Bundle:
    """Owns the open file until close(); a context manager."""

    def __init__(
        self, file: ArchiveFile, manifest: Manifest, signer: TrustedKey | None, places: dict[str, int]
    ) -> None:
        self.manifest, self.path = manifest, file.path
        self.signer = signer  # None: the bundle carries no signature
        self._file, self._places = file, places

    def read(self, member: str) -> bytes:
        """Return a member's bytes, whose digest was checked on these very bytes.

        Raises:
            BundleError: there is no such member, or the file was changed after it was opened.
            StorageError: the medium failed.
            UsageError: the bundle was closed.
        """
        if self._file.closed:
            raise UsageError(f"{self.path}: the bundle was closed", remedy="Open it again.")
        entry = self.manifest.member(member)
        data = self._file.read(self._places[member], entry.size)
        if archive.digest_of(data).sha256 != entry.sha256:
            raise self._file.damaged("the file changed after it was opened", member=member)
        return data

    def close(self) -> None:
        """Close the file once; later calls do nothing."""
        self._file.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(name_or_path: str | Path, *, allow_unsigned: bool = False, keys: KeyRing | None = None) -> Bundle:
    """Open a bundle after every byte of it was accounted for.

    Args:
        name_or_path: the name of a shipped bundle, or a file: a path with a folder in it or with the suffix `.cutline`.
        allow_unsigned: accept a bundle without a signature; one that carries a signature must still carry a good one.
        keys: whom to trust; the default is `KeyRing.default()`.
    Raises:
        NoInputError: no such bundle.
        BundleError: damaged, or not a bundle.
        TrustError: unsigned, signed by a stranger, a signature that does not fit, or older than one seen before.
        StorageError: the medium failed.
    """
    path = resolve(name_or_path)
    with ExitStack() as undo:
        file = ArchiveFile(path)
        undo.callback(file.close)
        bundle = _checked(file, allow_unsigned, keys)
        if bundle.signer is not None:
            with _naming(path):
                VersionRecord().check(bundle.signer.id, bundle.manifest, forgive=path.parent == MODELS)
        undo.pop_all()
    return bundle


def resolve(name_or_path: str | Path) -> Path:
    """Find the file of a bundle by name or path.

    Raises:
        NoInputError: neither a path nor the name of a shipped bundle.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(SUFFIX):
        return Path(text)
    shipped = shipped_names()
    if text not in shipped:
        remedy = f"Name a {SUFFIX} file, or one of: {', '.join(shipped)}." if shipped else f"Name a {SUFFIX} file."
        raise NoInputError(f"no bundle of the name {text!r} ships with Cutline", remedy=remedy)
    return MODELS / f"{text}{SUFFIX}"


def shipped_names() -> list[str]:
    """Names of the bundles inside the package."""
    return sorted(path.stem for path in MODELS.glob(f"*{SUFFIX}"))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of which bundle an error speaks."""
    try:
        yield
    except CutlineError as error:
        raise type(error)(f"{path}: {error.what}", remedy=error.remedy, **error.facts) from error


def _checked(file: ArchiveFile, allow_unsigned: bool, keys: KeyRing | None) -> Bundle:
    if file.size > archive.MAX_ARCHIVE_BYTES:
        raise file.damaged("the file is too large", size=file.size, limit=archive.MAX_ARCHIVE_BYTES)
    first, text = file.read_entry(0, MANIFEST_NAME, limit=manifest.MAX_MANIFEST_BYTES)
    start = archive.entry_span(first.name, first.size)
    second, record = file.read_entry(start, SIGNATURE_NAME, limit=manifest.MAX_SIGNATURE_BYTES)
    signer = _signer(file, text, record, allow_unsigned, keys)
    with _naming(file.path):
        found = manifest.decode_manifest(text)  # nothing of it was interpreted before the signature held
    places = _check_body(file, [first, second], found)
    return Bundle(file, found, signer, places)


def _signer(
    file: ArchiveFile, text: bytes, record: bytes, allow_unsigned: bool, keys: KeyRing | None
) -> TrustedKey | None:
    if record:
        ring = keys if keys is not None else KeyRing.default()
        with _naming(file.path):
            return ring.verify(manifest.decode_signature(record), text)
    if not allow_unsigned:
        remedy = "Sign it, or open it with --allow-unsigned if you know where it comes from."
        raise TrustError(f"{file.path}: the bundle is not signed", remedy=remedy)
    return None


def _check_body(file: ArchiveFile, entries: list[Entry], found: Manifest) -> dict[str, int]:
    """Compare all that follows the signature with what the manifest implies; return where each member's data is."""
    offset = sum(archive.entry_span(e.name, e.size) for e in entries)
    names = [e.name for e in entries] + [m.name for m in found.members]
    size = offset + sum(archive.entry_span(m.name, m.size) for m in found.members) + archive.tail_size(names)
    if file.size != size:
        raise file.damaged("the file's size is not what its manifest implies", expected=size, found=file.size)
    places = {}
    for member in found.members:
        places[member.name] = data = offset + archive.entry_span(member.name, 0)
        digest = file.digest(data, member.size)
        header = archive.local_header(member.name, member.size, digest.crc32)
        if digest.sha256 != member.sha256 or file.read(offset, len(header)) != header:
            raise file.damaged("a member is damaged", member=member.name)
        entries.append(Entry(member.name, member.size, digest.crc32, offset))
        offset = data + member.size
    tail = archive.tail(entries)
    if file.read(offset, len(tail)) != tail:
        raise file.damaged("the archive's directory is damaged")
    return places
