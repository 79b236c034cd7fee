"""The manifest has one text per meaning."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BundleError
from cutline.runtime.manifest import (
    Cubin,
    Manifest,
    Member,
    Signature,
    Target,
    decode_manifest,
    decode_signature,
    encode,
)

GOOD = "0" * 64
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


def made(contract: ModelContract, **changes: object) -> Manifest:
    members = (Member(name="a", size=1, sha256=GOOD), Member(name="b/c", size=2, sha256=GOOD))
    fields: dict[str, object] = {"name": "small", "version": 1, "created": "2026-11-21T09:30:00Z", "licence": "MIT"}
    return Manifest(**(fields | {"contract": contract, "targets": (), "members": members} | changes))  # type: ignore[arg-type]


@given(provenance=st.dictionaries(st.text(max_size=8), plain_json, max_size=5))
def test_what_is_encoded_is_decoded(contract: ModelContract, provenance: dict[str, object]) -> None:
    manifest = made(contract, provenance=provenance, targets=(Target(kind="openvino", precision="int8", member="a"),))
    assert decode_manifest(encode(manifest)) == manifest


def test_the_order_in_which_fields_were_given_does_not_show(contract: ModelContract) -> None:
    one, two = made(contract, accuracy={"a": 1, "b": {"x": 2, "y": 3}}), made(contract, accuracy={})
    two = msgspec.structs.replace(two, accuracy={"b": {"y": 3, "x": 2}, "a": 1})
    assert encode(one) == encode(two)


def test_another_spelling_of_the_same_is_refused(contract: ModelContract) -> None:
    good = encode(made(contract))
    for other in (
        good + b"\n",
        good.replace(b":1,", b": 1,"),
        good[:-1] + b',"version":1}',
        good.replace(b"small", b"\\u0073mall"),
    ):
        with pytest.raises(BundleError, match="not canonical"):
            decode_manifest(other)


def test_a_newer_schema_asks_for_an_update(contract: ModelContract) -> None:
    plain = msgspec.json.decode(encode(made(contract))) | {"schema": 2, "field_of_tomorrow": []}
    with pytest.raises(BundleError, match=r"found=2, known=1.*Update Cutline"):
        decode_manifest(msgspec.json.encode(plain, order="sorted"))


@pytest.mark.parametrize(
    "created",
    ["2026-11-21", "2026-11-21T09:30:00+00:00", "2026-13-21T09:30:00Z", "2026-02-30T09:30:00Z", "2026-11-21T25:30:00Z"],
)
def test_a_time_that_is_none_is_refused(contract: ModelContract, created: str) -> None:
    plain = msgspec.json.decode(encode(made(contract))) | {"created": created}
    with pytest.raises(BundleError, match="cannot be read"):
        decode_manifest(msgspec.json.encode(plain, order="sorted"))


def test_a_wrong_contract_makes_a_wrong_bundle(contract: ModelContract) -> None:
    plain = msgspec.json.decode(encode(made(contract)))
    plain["contract"]["frame"]["width"] = 100_000
    with pytest.raises(BundleError, match="network input size is out of range"):
        decode_manifest(msgspec.json.encode(plain, order="sorted"))


def test_a_licence_cannot_drive_the_terminal(contract: ModelContract) -> None:
    plain = msgspec.json.decode(encode(made(contract)))
    for licence in ("MIT\x1b[2J", "MIT\nsigned by the publisher", "MIT\u202egnp", "\x9b2J", ""):
        with pytest.raises(BundleError) as caught:
            decode_manifest(msgspec.json.encode(plain | {"licence": licence}, order="sorted"))
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "names", [("a", "a"), ("b", "a"), ("a", "A"), ("a", "a/b"), ("A/x", "a"), ("manifest.json/x",)]
)
def test_names_that_would_meet_on_a_disk_are_refused(contract: ModelContract, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="member"):
        made(contract, members=tuple(Member(name=n, size=0, sha256=GOOD) for n in names))


def test_a_cubin_has_a_member_and_a_gpu_of_its_own(contract: ModelContract) -> None:
    def cubin(device: str, member: str) -> Cubin:
        return Cubin(device=device, member=member, source=GOOD, toolkit=(12, 9))

    manifest = made(contract, cubins=(cubin("sm86", "a"), cubin("sm87", "b/c")))
    assert decode_manifest(encode(manifest)) == manifest
    with pytest.raises(ValueError, match="not there"):
        made(contract, cubins=(cubin("sm86", "c"),))
    with pytest.raises(ValueError, match="same device"):
        made(contract, cubins=(cubin("sm86", "a"), cubin("sm86", "b/c")))


def test_a_manifest_from_before_there_were_cubins_is_still_read(contract: ModelContract) -> None:
    plain = msgspec.json.decode(encode(made(contract)))
    del plain["cubins"]
    assert decode_manifest(msgspec.json.encode(plain, order="sorted")) == made(contract)


def test_a_missing_member_is_an_error_that_lists_the_others(contract: ModelContract) -> None:
    assert made(contract).member("b/c").size == 2
    with pytest.raises(BundleError, match=r"'sm86.plan' \(members=\['a', 'b/c'\]\)"):
        made(contract).member("sm86.plan")


def test_a_signature_record_has_one_spelling() -> None:
    good = encode(Signature(key="0" * 32, signature=bytes(range(64))))
    assert decode_signature(good).signature == bytes(range(64))
    slack = good.replace(b'Pw=="', b'Px=="')  # the same 64 bytes to a lax decoder
    assert slack != good
    for bad in (slack, good + b" ", good.replace(b"ed25519", b"none"), good.replace(b"0", b"G"), b"", b"{}", b"\xff"):
        with pytest.raises(BundleError):
            decode_signature(bad)
    with pytest.raises(ValueError, match="64 bytes"):
        Signature(key="0" * 32, signature=b"short")
