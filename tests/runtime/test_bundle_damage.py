"""A bundle with anything wrong in any byte is refused, with a BundleError or a TrustError and nothing else."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cutline.runtime.archive import Entry, entry_span, local_header, tail
from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import BundleError, TrustError
from cutline.runtime.trust import KeyRing

Refused = (BundleError, TrustError)


class Scratch:
    """Owns one file that is damaged and mended in place."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self.path, self.ring, self.good = path, ring, path.read_bytes()
        self.fd = os.open(path, os.O_RDWR)

    def refuses_piece(self, offset: int, replacement: bytes) -> None:
        os.pwrite(self.fd, replacement, offset)
        with pytest.raises(Refused):
            open_bundle(self.path, keys=self.ring, allow_unsigned=True)
        os.pwrite(self.fd, self.good[offset : offset + len(replacement)], offset)

    def refuses(self, data: bytes, kinds: tuple[type[Exception], ...] = Refused, match: str | None = None) -> None:
        self._replace(data)
        with pytest.raises(kinds, match=match):
            open_bundle(self.path, keys=self.ring, allow_unsigned=True)

    def opens(self) -> None:
        self._replace(self.good)
        open_bundle(self.path, keys=self.ring).close()

    def _replace(self, data: bytes) -> None:
        os.pwrite(self.fd, data, 0)  # a new file each time would be far slower
        os.ftruncate(self.fd, len(data))


@pytest.fixture
def damage(pack: Any, ring: KeyRing, tmp_path: Path) -> Iterator[Callable[..., Scratch]]:
    """Make bundles to be damaged, and see at the end that it was the damage that was refused."""
    made: list[Scratch] = []

    def make(**changes: Any) -> Scratch:
        path = tmp_path / f"{len(made)}.cutline"
        pack(path, targets=[], **changes)
        made.append(Scratch(path, ring))
        return made[-1]

    yield make
    for scratch in made:
        scratch.opens()
        os.close(scratch.fd)


def parts(data: bytes) -> dict[str, bytes]:
    """The content of a bundle by name, read with nothing but the layout."""
    found, offset = {}, 0
    while data[offset : offset + 4] == b"PK\3\4":
        size, length = struct.unpack_from("<LH", data, offset + 22)
        name = data[offset + 30 : offset + 30 + length].decode()
        found[name] = data[offset + 30 + length : offset + 30 + length + size]
        offset += 30 + length + size
    return found


def join(content: dict[str, bytes]) -> bytes:
    """A well-formed archive of this content, with right checksums."""
    entries, offset, out = [], 0, []
    for name, data in content.items():
        entries.append(Entry(name, len(data), zlib.crc32(data), offset))
        out += [local_header(name, len(data), entries[-1].crc32), data]
        offset += entry_span(name, len(data))
    return b"".join([*out, tail(entries)])


def payload_start(data: bytes, name: str) -> int:
    return data.index(b"PK\3\4", data.index(parts(data)["manifest.sig"])) + entry_span(name, 0)


def test_every_bit_outside_the_payload_counts(damage: Callable[..., Scratch]) -> None:
    scratch = damage(members={"m": bytes(1000)})
    start = payload_start(scratch.good, "m")
    for offset in [*range(start), *range(start + 1000, len(scratch.good))]:
        for bit in range(8):
            scratch.refuses_piece(offset, bytes([scratch.good[offset] ^ (1 << bit)]))


def test_4000_random_bits_of_the_payload_count(damage: Callable[..., Scratch]) -> None:
    rng = random.Random(2)
    scratch = damage(members={"m": rng.randbytes(1 << 14)})
    start = payload_start(scratch.good, "m")
    for _ in range(4000):
        offset = start + rng.randrange(1 << 14)
        scratch.refuses_piece(offset, bytes([scratch.good[offset] ^ (1 << rng.randrange(8))]))


@pytest.mark.parametrize(("name", "kinds"), [("manifest.json", (TrustError,)), ("manifest.sig", Refused)])
def test_every_bit_of_manifest_and_signature_counts_when_checksums_are_mended(
    damage: Callable[..., Scratch], name: str, kinds: tuple[type[Exception], ...]
) -> None:
    """With the checksums right it is the signature that refuses them."""
    scratch = damage(members={"m": b"x"})
    content = parts(scratch.good)
    assert join(content) == scratch.good
    for index in range(len(content[name]) * 8):
        data = bytearray(content[name])
        data[index // 8] ^= 1 << index % 8
        scratch.refuses(join(content | {name: bytes(data)}), kinds)


def test_truncated_at_any_length_or_longer_by_anything(damage: Callable[..., Scratch]) -> None:
    scratch = damage()
    good = scratch.good
    for length in range(len(good)):
        scratch.refuses(good[:length])
    end = good[good.index(b"PK\5\6") :]
    for data in (good + b"\0", good + b"\n", good + end, good + good, b"\0" + good, b"#!" + good):
        scratch.refuses(data)


def test_swapped_members_are_refused(damage: Callable[..., Scratch]) -> None:
    scratch = damage(members={"fp32": b"one engine", "int8": b"two engine"})
    good = parts(scratch.good)
    contents_swapped = good | {"fp32": good["int8"], "int8": good["fp32"]}
    order_swapped = {name: good[name] for name in ("manifest.json", "manifest.sig", "int8", "fp32")}
    signature_first = {name: good[name] for name in ("manifest.sig", "manifest.json", "fp32", "int8")}
    one_missing = {name: data for name, data in good.items() if name != "int8"}
    one_more = good | {"extra": b""}
    for content in (contents_swapped, order_swapped, signature_first, one_missing, one_more):
        scratch.refuses(join(content), (BundleError,))


def test_the_signature_of_another_bundle_is_refused(damage: Callable[..., Scratch]) -> None:
    one, two = damage(), damage(version=2)
    mixed = parts(one.good) | {"manifest.sig": parts(two.good)["manifest.sig"]}
    one.refuses(join(mixed), (TrustError,), "does not fit")


def test_a_signature_made_for_something_else_is_refused(
    pack: Any, ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same key, the same bytes, but without the context that says what was signed."""
    monkeypatch.setattr("cutline.engine.keys.signed_text", lambda manifest: manifest)
    pack(tmp_path / "a.cutline")
    with pytest.raises(TrustError, match="does not fit"):
        open_bundle(tmp_path / "a.cutline", keys=ring)


def test_a_stripped_signature_leaves_an_unsigned_bundle(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "a.cutline"
    pack(path)
    path.write_bytes(join(parts(path.read_bytes()) | {"manifest.sig": b""}))
    with pytest.raises(TrustError, match="not signed"):
        open_bundle(path, keys=ring)
