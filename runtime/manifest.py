"""What a bundle says about itself: the manifest, and the signature record beside it.

Both are canonical JSON: keys sorted, no white space, one spelling per value. Text that is not canonical is refused, so
that there is one text per meaning, and no two parsers can read two meanings from one text.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cutline.runtime.archive import MAX_ENTRY_BYTES
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BundleError, CutlineError

__all__ = [
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "MAX_SIGNATURE_BYTES",
    "SCHEMA",
    "SIGNATURE_NAME",
    "Cubin",
    "KernelFigures",
    "Line",
    "Manifest",
    "Member",
    "Name",
    "Signature",
    "Target",
    "Version",
    "decode_manifest",
    "decode_signature",
    "encode",
]

SCHEMA = 1
MANIFEST_NAME, SIGNATURE_NAME = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 1 << 20  # a text of this size cannot be made to parse into more than some 30 MB
MAX_SIGNATURE_BYTES = 1024
MAX_MEMBERS = 1024

_SEGMENT = "[A-Za-z0-9_][A-Za-z0-9._-]*"  # a dot never leads, so `.` and `..` cannot be written
MEMBER_PATTERN = re.compile(rf"(?=.{{1,200}}\Z){_SEGMENT}(?:/{_SEGMENT})*\Z")
_LINE = r"\A[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*\Z"  # no control characters, no text direction tricks

Line = Annotated[str, Meta(min_length=1, max_length=1000, pattern=_LINE)]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_-]{0,63}\Z")]
Hex256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Created = Annotated[
    str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
]  # 2026-11-21T09:30:00Z
Device = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_.-]{0,31}\Z")]


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the bundle beside manifest and signature."""

    name: str  # segments of letters, digits, `_`, `-` and `.`, parted by `/`
    size: Annotated[int, Meta(ge=0, le=MAX_ENTRY_BYTES)]  # bytes
    sha256: Hex256

    def __post_init__(self) -> None:
        if not MEMBER_PATTERN.match(self.name) or self.name in (MANIFEST_NAME, SIGNATURE_NAME):
            raise ValueError("a member's name is not allowed")


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to run the network: which member, with which engine library, on which device."""

    kind: Literal["openvino", "tensorrt", "tensorrt-rtx"]
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    member: str
    device: Device | None = None  # such as sm86; None runs on any device of the kind
    proven: bool = False  # whether the accuracy gate ran on this very target
    facts: dict[str, Any] = {}  # versions, settings and figures, for people and for cache keys


class KernelFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kernel takes of a GPU, as ptxas reports it."""

    registers: int  # per thread
    spilled_bytes: int  # stored and loaded by a thread because its registers did not suffice
    stack_bytes: int  # per thread
    shared_bytes: int  # per block


class Cubin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The CUDA kernels, compiled for one compute capability."""

    device: Device  # such as sm86
    member: str
    source: Hex256  # digest of what it was compiled from, see runtime/kernels/cuda_sources.py
    toolkit: tuple[int, int]  # CUDA release of the compiler; a driver of an older major release cannot load it
    kernels: dict[str, KernelFigures] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a bundle; `members` is sorted by name and lists every other file exactly once."""

    schema: int = SCHEMA
    name: Name
    version: Version  # grows with every release of the same name
    created: Created  # UTC
    licence: Line  # of the model: an SPDX expression, or words
    contract: ModelContract
    targets: tuple[Target, ...]
    members: Annotated[tuple[Member, ...], Meta(max_length=MAX_MEMBERS)]
    cubins: tuple[Cubin, ...] = ()  # what GPU targets need beside their engine
    provenance: dict[str, Any] | None = None  # where the network comes from
    calibration: dict[str, Any] | None = None  # on which frames it was calibrated
    accuracy: dict[str, Any] | None = None  # what was measured, and the gate that it passed
    card: str | None = None  # the member that holds the model card (Markdown)

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.created.removesuffix("Z"))  # its ValueError reaches the decoder
        _check_names([m.name for m in self.members])
        names = {m.name for m in self.members}
        named = (
            [t.member for t in self.targets]
            + [c.member for c in self.cubins]
            + ([self.card] if self.card is not None else [])
        )
        if not names.issuperset(named):
            raise ValueError("a target, a cubin or the card names a member that is not there")
        ways = [(t.kind, t.precision, t.device) for t in self.targets]
        if len(set(ways)) != len(ways):
            raise ValueError("two targets are for the same kind, precision and device")
        if len({c.device for c in self.cubins}) != len(self.cubins):
            raise ValueError("two cubins are for the same device")

    def member(self, name: str) -> Member:
        """Look a member up.

        Raises:
            BundleError: there is none of that name.
        """
        for member in self.members:
            if member.name == name:
                return member
        known = [m.name for m in self.members]
        raise BundleError(
            f"the bundle has no member {name!r}", remedy="Rebuild it with `cutline build`.", members=known
        )


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record in `manifest.sig`."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: KeyId
    signature: bytes  # 64 bytes, base64 in the text

    def __post_init__(self) -> None:
        if len(self.signature) != 64:
            raise ValueError("a signature has 64 bytes")


def encode(record: Manifest | Signature) -> bytes:
    """Return the canonical JSON text."""
    return msgspec.json.encode(record, order="sorted")


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BundleError: not canonical JSON, of another schema, or a field is missing, unknown or out of range.
    """
    schema = _schema_of_canonical(data)
    if schema != SCHEMA:
        remedy = "Update Cutline, or rebuild the bundle with this version."
        raise BundleError("the bundle's format is not known to this version", remedy=remedy, found=schema, known=SCHEMA)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError, CutlineError) as error:
        raise _unreadable("manifest", error) from error


def decode_signature(data: bytes) -> Signature:
    """Read a signature record.

    Raises:
        BundleError: not the one canonical text of a signature.
    """
    try:
        signature = msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable("signature", error) from error
    if encode(signature) != data:
        raise BundleError("the signature is not canonical JSON", remedy="Sign the bundle again.")
    return signature


def _schema_of_canonical(data: bytes) -> object:
    """Refuse what is not canonical JSON, whatever it says; return its schema number."""
    try:
        plain = msgspec.json.decode(data)
        canonical = msgspec.json.encode(plain, order="sorted")
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable("manifest", error) from error
    if canonical != data:
        raise BundleError("the manifest is not canonical JSON", remedy="Rebuild the bundle with `cutline build`.")
    schema = plain.get("schema") if isinstance(plain, dict) else None
    return schema if isinstance(schema, int) else None


def _check_names(names: list[str]) -> None:
    """Refuse names that would meet when somebody unpacks the bundle with another tool."""
    if names != sorted(set(names)):
        raise ValueError("members are not sorted by name, or one is there twice")
    folded = {name.casefold() for name in names}
    if len(folded) != len(names):
        raise ValueError("two members differ in case alone")
    folders = {"/".join(parts[:i]) for name in folded if (parts := name.split("/")) for i in range(1, len(parts))}
    if folders & (folded | {MANIFEST_NAME, SIGNATURE_NAME}):
        raise ValueError("a member's name is also the folder of another")


def _unreadable(what: str, error: Exception) -> BundleError:
    said = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error)[:300])  # it may quote a stranger
    return BundleError(f"the {what} cannot be read: {said}", remedy="Rebuild the bundle with `cutline build`.")
