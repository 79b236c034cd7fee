"""Whose signature counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cutline.engine import keys
from cutline.runtime.errors import TrustError
from cutline.runtime.trust import PUBLISHER_FILE, KeyRing, TrustedKey, load_public_key


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, with an empty folder for the user's keys."""
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    (tmp_path / "config/cutline/keys").mkdir(parents=True)
    return tmp_path


def test_the_shipped_publisher_key_is_a_key() -> None:
    assert isinstance(load_public_key(PUBLISHER_FILE), ed25519.Ed25519PublicKey)


def test_publisher_user_and_machine_are_trusted(places: Path) -> None:
    user = keys.generate(places / "made/site.key")
    (places / "made/site.pub").rename(places / "config/cutline/keys/site.pub")
    machine = keys.machine_key()
    ring = KeyRing.default()
    assert [k.origin for k in ring.keys] == ["publisher", "user", "machine"]
    for key, origin in ((user, "user"), (machine, "machine")):
        assert ring.verify(keys.sign(key, b"text"), b"text").origin == origin


def test_a_fresh_machine_trusts_the_publisher_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "none"))
    assert [k.origin for k in KeyRing.default().keys] == ["publisher"]
    assert not (tmp_path / "none").exists()


def test_without_any_home_the_publisher_is_still_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATA"):
        monkeypatch.delenv(f"XDG_{name}_HOME")
    monkeypatch.setattr(Path, "home", staticmethod(lambda: (_ for _ in ()).throw(RuntimeError("no home"))))
    assert [k.origin for k in KeyRing.default().keys] == ["publisher"]


def test_a_stranger_is_told_where_to_put_the_key(places: Path) -> None:
    signature = keys.sign(ed25519.Ed25519PrivateKey.generate(), b"text")
    with pytest.raises(TrustError, match=f"{places}/config/cutline/keys") as caught:
        KeyRing.default().verify(signature, b"text")
    assert caught.value.exit_code == 77


def test_one_key_cannot_sign_in_the_name_of_another() -> None:
    one, two = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    ring = KeyRing([TrustedKey(k.public_key(), "given") for k in (one, two)])
    forged = keys.Signature(key=ring.keys[0].id, signature=keys.sign(two, b"text").signature)
    with pytest.raises(TrustError, match="does not fit"):
        ring.verify(forged, b"text")


def test_a_key_file_that_cannot_be_trusted_is_named(places: Path) -> None:
    path = places / "config/cutline/keys/site.pub"
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    good = PUBLISHER_FILE.read_bytes()
    cases = {
        "not a public key in PEM form": b"garbage",
        "not an Ed25519 public key": curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "everybody may write to this key file": good,
    }
    for message, data in cases.items():
        path.write_bytes(data)
        path.chmod(0o666 if data is good else 0o644)
        with pytest.raises(TrustError, match=rf"site.pub: {message}"):
            KeyRing.default()
    path.chmod(0o644)
    assert len(KeyRing.default().keys) == 1  # the publisher's own key again


def test_a_folder_to_which_everybody_can_add_keys_is_refused(places: Path) -> None:
    (places / "config/cutline/keys").chmod(0o777)
    with pytest.raises(TrustError, match="everybody may add keys"):
        KeyRing.default()


def test_a_private_key_put_among_the_public_ones_is_not_taken(places: Path) -> None:
    keys.generate(places / "site.key")
    (places / "site.key").rename(places / "config/cutline/keys/site.pub")
    with pytest.raises(TrustError, match="not a public key"):
        KeyRing.default()
