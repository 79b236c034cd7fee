"""Opening bundles: what comes back, whom it trusts, what it refuses."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutline.engine import keys
from cutline.runtime import bundle as bundle_module
from cutline.runtime.bundle import open_bundle, resolve
from cutline.runtime.errors import BundleError, NoInputError, TrustError, UsageError
from cutline.runtime.trust import KeyRing, TrustedKey

segments = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,12}", fullmatch=True)
names = st.lists(segments, min_size=1, max_size=3).map("/".join).filter(lambda n: not n.startswith("manifest."))
contents = st.dictionaries(names, st.binary(max_size=300), min_size=1, max_size=12)


def without_folder_clashes(members: dict[str, bytes]) -> bool:
    return not any(a != b and b.startswith(a + "/") for a in members for b in members)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=contents.filter(without_folder_clashes), version=st.integers(1, 2**31 - 1))
def test_every_member_comes_back_as_it_was_packed(
    pack: Any, tmp_path: Path, members: dict[str, bytes], version: int
) -> None:
    key = Ed25519PrivateKey.generate()  # a new one each time: versions of one signer may not go back
    written = pack(tmp_path / "a.cutline", members=members, targets=[], version=version, key=key)
    with open_bundle(tmp_path / "a.cutline", keys=KeyRing([TrustedKey(key.public_key(), "given")])) as opened:
        assert opened.manifest == written
        assert {m.name: opened.read(m.name) for m in opened.manifest.members} == members
        assert opened.signer is not None
        assert opened.signer.public.public_bytes_raw() == key.public_key().public_bytes_raw()


def test_100_of_100_good_bundles_open(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    for seed in range(100):
        rng = random.Random(seed)
        members = {f"m{i:03}": rng.randbytes(rng.choice([0, 1, 77, 4096, 70_000])) for i in range(rng.randrange(1, 30))}
        pack(tmp_path / "a.cutline", members=members, targets=[])
        with open_bundle(tmp_path / "a.cutline", keys=ring) as opened:
            assert all(opened.read(name) == data for name, data in members.items())


def test_closing_works_twice_and_ends_reading(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    pack(tmp_path / "a.cutline")
    opened = open_bundle(tmp_path / "a.cutline", keys=ring)
    opened.close()
    opened.close()
    with pytest.raises(UsageError, match="was closed"):
        opened.read("source.onnx")


def test_a_member_that_is_not_there_is_named(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    pack(tmp_path / "a.cutline")
    with open_bundle(tmp_path / "a.cutline", keys=ring) as opened, pytest.raises(BundleError, match=r"'sm86\.plan'"):
        opened.read("sm86.plan")


@pytest.mark.parametrize("manifest_too", [False, True])
def test_a_file_rewritten_after_it_was_opened_is_noticed(
    pack: Any, ring: KeyRing, tmp_path: Path, manifest_too: bool
) -> None:
    path = tmp_path / "a.cutline"
    pack(path, members={"source.onnx": b"good" * 1000})
    good = path.read_bytes()
    with open_bundle(path, keys=ring) as opened:
        evil = good.replace(b"goodgood", b"evilevil")
        path.write_bytes(evil if manifest_too else evil[: good.index(b"PK\1\2")])
        with pytest.raises(BundleError, match="changed after it was opened"):
            opened.read("source.onnx")


def test_a_file_shortened_after_it_was_opened_is_noticed(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "a.cutline"
    pack(path, members={"source.onnx": b"good" * 1000})
    with open_bundle(path, keys=ring) as opened:
        os.truncate(path, 900)
        with pytest.raises(BundleError, match="became shorter"):
            opened.read("source.onnx")


def test_an_unsigned_bundle_opens_on_demand_only(pack: Any, tmp_path: Path) -> None:
    pack(tmp_path / "a.cutline", key=None)
    with pytest.raises(TrustError, match="not signed"):
        open_bundle(tmp_path / "a.cutline")
    with open_bundle(tmp_path / "a.cutline", allow_unsigned=True) as opened:
        assert opened.signer is None


def test_a_stranger_s_signature_is_refused_even_when_none_is_needed(pack: Any, ring: KeyRing, tmp_path: Path) -> None:
    stranger = Ed25519PrivateKey.generate()
    pack(tmp_path / "a.cutline", key=stranger)
    for allow_unsigned in (False, True):
        with pytest.raises(TrustError, match="not trusted here"):
            open_bundle(tmp_path / "a.cutline", keys=ring, allow_unsigned=allow_unsigned)


def test_a_bundle_of_this_machine_opens_by_itself(pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    pack(tmp_path / "a.cutline", key=keys.machine_key())
    with open_bundle(tmp_path / "a.cutline") as opened:
        assert opened.signer is not None
        assert opened.signer.origin == "machine"


def test_a_machine_key_that_lies_open_is_not_trusted(
    pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    pack(tmp_path / "a.cutline", key=keys.machine_key())
    (tmp_path / "data/cutline/machine.key").chmod(0o640)
    with pytest.raises(TrustError, match=r"lies open to others.*chmod 600"):
        open_bundle(tmp_path / "a.cutline")


def test_an_older_version_is_refused_and_newer_ones_are_remembered(pack: Any, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    ring = KeyRing([TrustedKey(key.public_key(), "given")])
    for version in (2, 2, 3):
        pack(tmp_path / "a.cutline", version=version, key=key)
        open_bundle(tmp_path / "a.cutline", keys=ring).close()
    pack(tmp_path / "a.cutline", version=2, key=key)
    with pytest.raises(TrustError, match=r"older than one that was opened here before.*version=2, seen=3.*remove") as e:
        open_bundle(tmp_path / "a.cutline", keys=ring)
    assert e.value.exit_code == 77


def test_what_ships_inside_the_package_goes_back_with_the_package(
    pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "MODELS", tmp_path)
    key = Ed25519PrivateKey.generate()
    ring = KeyRing([TrustedKey(key.public_key(), "given")])
    for version in (5, 4):
        pack(tmp_path / "small.cutline", version=version, key=key)
        open_bundle("small", keys=ring).close()
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "small.cutline").rename(tmp_path / "elsewhere/small.cutline")
    with pytest.raises(TrustError, match="older"):  # but outside the package the record counts
        open_bundle(moved, keys=ring)


def test_names_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MODELS", tmp_path)
    (tmp_path / "cutout.cutline").touch()
    assert resolve("cutout") == tmp_path / "cutout.cutline"
    assert resolve("cutout.cutline") == Path("cutout.cutline")
    assert resolve("./cutout") == Path("cutout")
    assert resolve(Path("cutout")) == Path("cutout")
    with pytest.raises(NoInputError, match=r"'cutoot'.*cutout"):
        resolve("cutoot")


def test_what_is_no_bundle_at_all_has_one_line_and_a_code(tmp_path: Path) -> None:
    pipe, folder, text = tmp_path / "pipe", tmp_path / "folder", tmp_path / "text"
    os.mkfifo(pipe)
    folder.mkdir()
    text.write_text("<html>not found</html>" * 100)
    (tmp_path / "empty").touch()
    held = len(list(Path("/proc/self/fd").iterdir()))
    for path, code in (
        (tmp_path / "missing", 66),
        (text / "below", 66),
        (tmp_path / "zero\0byte", 66),
        (tmp_path / ("long" * 100), 66),
        (pipe, 65),
        (folder, 65),
        (text, 65),
        (tmp_path / "empty", 65),
        (Path("/dev/zero"), 65),
    ):
        with pytest.raises((NoInputError, BundleError)) as caught:
            open_bundle(path)
        assert caught.value.exit_code == code, path
        assert "\n" not in str(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == held
