"""Archives that a stranger made on purpose: refused in one way, with nothing written and little memory taken.

The forger here may even sign with a key that is trusted, or go by way of --allow-unsigned: so the layers behind the
signature are reached too.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cutline.engine.keys import sign
from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BundleError, TrustError
from cutline.runtime.manifest import MAX_MANIFEST_BYTES, encode
from cutline.runtime.trust import KeyRing

ARCHIVES = 1000
LINK = 0o120777 << 16
BAD_NAMES = [
    *("../up", "a/../../up", "/etc/passwd", "..", ".", "a/./b", "a//b", "a/", "", "\\\\host\\share", "..\\up", "C:\\x"),
    *("C:x", "nul\0byte", "new\nline", "\x1b[31mred", "space ", "ümlaut", "\u202egpj.x", ".hidden", "x" * 201, "a/.b"),
    *("manifest.json", "manifest.sig", "manifest.json/x", "~root/x", "$HOME", "%2e%2e/x", "-rf", "*"),
]


@dataclass
class Piece:
    """One file of a forged zip, every field free to lie."""

    name: bytes
    data: bytes
    local: dict[str, int] = field(default_factory=dict)  # fields of the local header that differ from the truth
    central: dict[str, int] = field(default_factory=dict)
    central_name: bytes | None = None
    extra: bytes = b""
    listed: bool = True  # in the central directory


def forge(pieces: list[Piece], *, before: bytes = b"", gap: bytes = b"", after: bytes = b"", **end: int) -> bytes:
    """Write a zip as told, lies and all."""
    out, directory, listed = before, b"", 0
    for piece in pieces:
        truth = {"needed": 20, "flags": 0, "method": 0, "time": 0, "date": 33, "crc": zlib.crc32(piece.data)}
        truth |= {"packed": len(piece.data), "size": len(piece.data), "offset": len(out), "attributes": 0o100644 << 16}
        l, c = truth | piece.local, truth | piece.central  # noqa: E741 - local and central
        head = ("needed", "flags", "method", "time", "date", "crc", "packed", "size")
        name = piece.central_name if piece.central_name is not None else piece.name
        if piece.listed:
            fixed = struct.pack("<4s6H3L", b"PK\1\2", 788, *(c[f] for f in head))
            rest = struct.pack("<5H2L", len(name), len(piece.extra), 0, 0, 0, c["attributes"], c["offset"])
            directory += fixed + rest + name + piece.extra
            listed += 1
        out += struct.pack("<4s5H3L2H", b"PK\3\4", *(l[f] for f in head), len(piece.name), len(piece.extra))
        out += piece.name + piece.extra + piece.data + gap
    e = {"disk": 0, "first": 0, "here": listed, "all": listed, "bytes": len(directory), "start": len(out)} | end
    fields = (e["disk"], e["first"], e["here"], e["all"], e["bytes"], e["start"])
    return out + directory + struct.pack("<4s4H2LH", b"PK\5\6", *fields, len(after) & 0xFFFF) + after


class Forger:
    """Makes hostile archives from the description of a good one."""

    def __init__(self, rng: random.Random, key: Ed25519PrivateKey, contract: ModelContract) -> None:
        self.rng, self.key, self.contract = rng, key, contract
        self.members = {f"m{i}": rng.randbytes(rng.randrange(40)) for i in range(rng.randrange(1, 5))}

    def manifest(self, **changes: Any) -> dict[str, Any]:
        listed = [{"name": n, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in self.members.items()]
        plain = {"schema": 1, "name": "forged", "version": 1, "created": "2026-11-21T09:30:00Z", "licence": "none"}
        plain |= {"contract": msgspec.to_builtins(self.contract), "targets": [], "members": listed, "card": None}
        plain |= {"provenance": None, "calibration": None, "accuracy": None}
        return plain | changes

    def pieces(self, text: bytes | None = None) -> list[Piece]:
        text = msgspec.json.encode(self.manifest(), order="sorted") if text is None else text
        signature = encode(sign(self.key, text)) if self.rng.random() < 0.5 else b""
        head = [Piece(b"manifest.json", text), Piece(b"manifest.sig", signature)]
        return head + [Piece(n.encode("utf-8", "surrogatepass"), d) for n, d in self.members.items()]

    def some(self, pieces: list[Piece]) -> Piece:
        return self.rng.choice(pieces)

    def bad_name(self) -> bytes:
        name = self.rng.choice(BAD_NAMES)
        self.members = dict(sorted((self.members | {name: b"owned"}).items()))
        return forge(self.pieces())

    def bad_name_in_the_zip_alone(self) -> bytes:
        pieces = self.pieces()
        piece = self.some(pieces)
        lie = self.rng.choice([name.encode() for name in BAD_NAMES if name.encode() != piece.name])
        if self.rng.random() < 0.5:
            piece.central_name = lie
        else:
            piece.name = lie
        return forge(pieces)

    def link(self) -> bytes:
        pieces = self.pieces()
        self.some(pieces).central["attributes"] = self.rng.choice([LINK, 0o040755 << 16, 0o020666 << 16, 0x10, 0])
        return forge(pieces)

    def duplicate(self) -> bytes:
        pieces = self.pieces()
        pieces.insert(self.rng.randrange(1, len(pieces) + 1), replace(self.some(pieces), data=b"second"))
        return forge(pieces)

    def duplicate_in_the_manifest(self) -> bytes:
        plain = self.manifest()
        again = dict(self.rng.choice(plain["members"]))
        if self.rng.random() < 0.5:
            again["name"] = again["name"].upper()
        plain["members"] = sorted([*plain["members"], again], key=lambda m: str(m["name"]))
        return forge(self.pieces(msgspec.json.encode(plain, order="sorted")))

    def bomb(self) -> bytes:
        self.members["zeros"] = bytes(self.rng.randrange(10_000, 1_000_000))
        pieces = self.pieces()
        packed = zlib.compress(pieces[-1].data, 9)[2:-4]
        fields = {"method": 8, "crc": zlib.crc32(pieces[-1].data), "size": len(pieces[-1].data), "packed": len(packed)}
        pieces[-1] = replace(pieces[-1], data=packed, local=fields, central=fields)
        return forge(pieces)

    def overlap(self) -> bytes:
        pieces = self.pieces()
        piece = self.some(pieces)
        piece.central["offset"] = self.rng.choice([1, 30, 2**31, 2**32 - 1] + ([0] if piece is not pieces[0] else []))
        return forge(pieces)

    def lying_size(self) -> bytes:
        pieces = self.pieces()
        lie = self.rng.choice([0, 1, len(pieces[0].data) + 1, 2**20 + 1, 2**31, 2**32 - 2, 2**32 - 1])
        where = self.rng.choice(["local", "central", "both"])
        piece = next(p for p in self.rng.sample(pieces, len(pieces)) if len(p.data) != lie)
        fields = dict.fromkeys(self.rng.choice([("size",), ("packed",), ("size", "packed")]), lie)
        if where != "central":
            piece.local |= fields
        if where != "local":
            piece.central |= fields
        return forge(pieces)

    def lying_size_in_the_manifest(self) -> bytes:
        plain = self.manifest()
        member = self.rng.choice(plain["members"])
        member["size"] += self.rng.choice([-member["size"] - 1, 1, 2**20, 2**30, 2**31, 2**32, 2**63, 2**64, 10**40])
        return forge(self.pieces(msgspec.json.encode(plain, order="sorted")))

    def zip64(self) -> bytes:
        pieces = self.pieces()
        piece = self.some(pieces)
        piece.extra = struct.pack("<HHQQ", 1, 16, self.rng.choice([1, 2**40, 2**64 - 1]), len(piece.data))
        piece.local |= {"size": 2**32 - 1, "packed": 2**32 - 1}
        piece.central |= piece.local
        return forge(pieces, **self.rng.choice([{}, {"start": 2**32 - 1}, {"all": 65535, "here": 65535}]))

    def header_fields(self) -> bytes:
        pieces = self.pieces()
        piece = self.some(pieces)
        name = self.rng.choice(["needed", "flags", "method", "time", "date", "crc"])
        lies = {"flags": [1, 8, 64, 2048, 8192], "method": [1, 8, 9, 12, 14, 93, 99]}.get(name, [1, 46, 63, 65535])
        for fields in self.rng.choice([(piece.local,), (piece.central,), (piece.local, piece.central)]):
            fields[name] = self.rng.choice(lies)
        return forge(pieces)

    def directory(self) -> bytes:
        pieces = self.pieces()
        lie = self.rng.choice(["disk", "first", "here", "all", "bytes", "start"])
        if self.rng.random() < 0.3:
            self.some(pieces).listed = False
            return forge(pieces)
        return forge(pieces, **{lie: self.rng.choice([7, 255, 65535])})

    def around(self) -> bytes:
        junk = self.rng.choice([b"\0", b"PK\5\6" + bytes(18), b"#!/bin/sh\n", forge(self.pieces()), bytes(70_000)])
        return forge(self.pieces(), **{self.rng.choice(["before", "gap", "after"]): junk})  # type: ignore[arg-type]

    def not_listed(self) -> bytes:
        pieces = self.pieces()
        if self.rng.random() < 0.5:
            pieces.insert(self.rng.randrange(len(pieces) + 1), Piece(b"extra.plan", b"evil"))
        else:
            del pieces[self.rng.randrange(len(pieces))]
        return forge(pieces)

    def strange_manifest(self) -> bytes:
        good = msgspec.json.encode(self.manifest(), order="sorted")
        deep, wide = b"[" * 300_000, b"{" + b'"a":{' * 50_000
        texts = [deep, deep + b"]" * 300_000, wide, b"", b"null", b"1", b"[]", b"{}", b"\xff\xfe", b"\0" * 100]
        texts += [good + b" ", b" " + good, good[:-1] + b',"schema":1}', good.replace(b"forged", b"forg\\u0065d")]
        texts += [json.dumps(self.manifest()).encode(), good.replace(b'"version":1', b'"version":1.0'), b"9" * 5000]
        texts += [
            good.replace(b'"version":1', b'"version":' + n) for n in (b"1e999", b"NaN", b"-1", b"true", b"9" * 50)
        ]
        texts += [b"[" + b"[]," * 340_000 + b"[]]", b'"' + b"a" * (1 << 20) + b'"', b'{"a":1}' * 200_000]
        return forge(self.pieces(self.rng.choice(texts)))

    def strange_field(self) -> bytes:
        values: list[Any] = [
            None,
            True,
            -1,
            0,
            2**31,
            1.5,
            "",
            "\0",
            "../x",
            "x" * 5000,
            [],
            {},
            [[]],
            {"a": {}},
            "\x1b[2J",
        ]
        paths: list[tuple[Any, ...]] = [
            ("schema",),
            ("name",),
            ("version",),
            ("created",),
            ("licence",),
            ("contract",),
            ("members",),
        ]
        paths += [
            ("targets",),
            ("card",),
            ("unknown",),
            ("contract", "frame"),
            ("contract", "outputs"),
            ("contract", "x"),
        ]
        paths += [("members", 0), ("members", 0, "name"), ("members", 0, "size"), ("members", 0, "sha256")]
        paths += [("contract", "frame", "width"), ("contract", "frame", "std"), ("contract", "outputs", 0, "tensor")]
        good = self.manifest()
        while True:
            plain = msgspec.json.decode(msgspec.json.encode(good))
            way, last = (path := self.rng.choice(paths))[:-1], path[-1]
            place = plain
            for step in way:
                place = place[step]
            value = self.rng.choice(values)
            old = place[last] if isinstance(last, int) else place.get(last, "nothing")
            fine = {"targets": ([],), "tensor": [v for v in values if isinstance(v, str)], "licence": ["../x"]}
            if value != old and value not in fine.get(str(last), ()):
                place[last] = value
                return forge(self.pieces(msgspec.json.encode(plain, order="sorted")))

    def target(self) -> bytes:
        good: dict[str, Any] = {
            "kind": "openvino",
            "precision": "fp32",
            "member": "m0",
            "device": None,
            "proven": False,
            "facts": {},
        }
        bad: list[list[Any]] = [
            [good, good],
            [good | {"member": "../x"}],
            [good | {"kind": "shell"}],
            [{}],
            [1],
            [None],
        ]
        bad += [[good | {"device": "../../x"}], [good | {"proven": "yes"}], [good | {"facts": []}], [good | {"x": 1}]]
        plain = self.manifest(targets=self.rng.choice(bad))
        return forge(self.pieces(msgspec.json.encode(plain, order="sorted")))

    def splice(self) -> bytes:
        good = forge(self.pieces())
        data = bytearray(good)
        while data == good:
            at, length = self.rng.randrange(len(data)), self.rng.randrange(1, 200)
            other = self.rng.randrange(len(data))
            data[at : at + length] = data[other : other + self.rng.choice([0, length, self.rng.randrange(200)])]
        return bytes(data)

    def noise(self) -> bytes:
        good = forge(self.pieces())
        data = bytearray(good)
        while data == good:
            for _ in range(self.rng.randrange(1, 20)):
                data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        return bytes(data)


KINDS: list[Callable[[Forger], bytes]] = [
    *(Forger.bad_name, Forger.bad_name_in_the_zip_alone, Forger.link, Forger.duplicate, Forger.bomb, Forger.overlap),
    *(Forger.duplicate_in_the_manifest, Forger.lying_size, Forger.lying_size_in_the_manifest, Forger.zip64),
    *(Forger.header_fields, Forger.directory, Forger.around, Forger.not_listed, Forger.strange_manifest),
    *(Forger.strange_field, Forger.target, Forger.splice, Forger.noise),
]


@pytest.fixture
def forger(key: Ed25519PrivateKey, contract: ModelContract) -> Callable[[int], Forger]:
    return lambda seed: Forger(random.Random(seed), key, contract)


def test_the_forger_s_own_archives_open_when_it_does_not_lie(
    forger: Callable[[int], Forger], ring: KeyRing, tmp_path: Path
) -> None:
    for seed in range(20):
        (tmp_path / "a.cutline").write_bytes(forge(forger(seed).pieces()))
        open_bundle(tmp_path / "a.cutline", keys=ring, allow_unsigned=True).close()


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_hostile_archives_are_refused_and_leave_no_trace(
    forger: Callable[[int], Forger],
    ring: KeyRing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[Forger], bytes],
) -> None:
    work = tmp_path / "work/deep/er"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    archive = tmp_path / "a.cutline"
    fd = os.open(archive, os.O_RDWR | os.O_CREAT)
    before, held = sorted(tmp_path.rglob("*")), open_descriptors()
    for seed in range(-(-ARCHIVES // len(KINDS))):
        data = kind(forger(seed))
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
        with pytest.raises((BundleError, TrustError)) as caught:
            open_bundle(archive, keys=ring, allow_unsigned=True)
        assert str(caught.value).isprintable(), seed
        assert len(str(caught.value)) < 2000, seed
    assert sorted(tmp_path.rglob("*")) == before
    assert open_descriptors() == held
    os.close(fd)


def test_a_sound_bundle_with_a_manifest_over_the_limit_is_refused(
    forger: Callable[[int], Forger], ring: KeyRing, tmp_path: Path
) -> None:
    """All else about these two is right, so it is the limit that refuses the second."""
    forging, archive = forger(1), tmp_path / "a.cutline"
    room = MAX_MANIFEST_BYTES - len(msgspec.json.encode(forging.manifest(provenance={"a": ""})))
    for length in (room, room + 1):
        text = msgspec.json.encode(forging.manifest(provenance={"a": "x" * length}), order="sorted")
        archive.write_bytes(forge(forging.pieces(text)))
        if length == room:
            open_bundle(archive, keys=ring, allow_unsigned=True).close()
    with pytest.raises(BundleError, match=r"manifest\.json is too large"):
        open_bundle(archive, keys=ring, allow_unsigned=True)


def test_memory_stays_within_64_mib_whatever_is_declared(
    forger: Callable[[int], Forger], ring: KeyRing, tmp_path: Path
) -> None:
    archive = tmp_path / "a.cutline"
    forging = forger(1)
    big = {"name": "z", "size": 1 << 28, "sha256": "0" * 64}
    honest = forging.manifest()
    text = msgspec.json.encode(honest | {"members": [*honest["members"], big]}, order="sorted")
    whole = forge(forging.pieces(text))
    holes = [(whole, (1 << 27) + 31 + 47 + len(whole))]  # right size, wrong digest: everything of it is read
    holes += [(forge([replace(p, local={"size": 2**32 - 2}) for p in forging.pieces()]), 2**32 - 2)]
    holes += [(forge([replace(p, local={"size": 1 << 20}) for p in forging.pieces()]), 1 << 28)]
    holes += [(b"", 1 << 40), (forge(forging.pieces()), 1 << 40)]
    nest = msgspec.json.encode(honest | {"provenance": {"a": [[[]]] * 170_000}}, order="sorted")
    holes += [(forge(forging.pieces(nest)) + b"x", 0)]
    tracemalloc.start()
    for data, length in holes:
        archive.write_bytes(data)
        os.truncate(archive, max(length, len(data)))  # the rest is a hole that takes no disk
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        with pytest.raises(BundleError):
            open_bundle(archive, keys=ring, allow_unsigned=True)
        assert tracemalloc.get_traced_memory()[1] - start < 64 << 20
    tracemalloc.stop()
