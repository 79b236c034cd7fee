"""Private keys stay private."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from cutline.engine import keys
from cutline.runtime.errors import NoInputError, OutputError, TrustError
from cutline.runtime.trust import load_public_key


def same(one: Ed25519PrivateKey, two: Ed25519PrivateKey) -> bool:
    return one.private_bytes_raw() == two.private_bytes_raw()


def test_a_new_key_is_closed_to_others_and_its_public_half_is_beside_it(tmp_path: Path) -> None:
    key = keys.generate(tmp_path / "new/site.key")
    assert stat.S_IMODE((tmp_path / "new/site.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert same(keys.load(tmp_path / "new/site.key"), key)
    assert load_public_key(tmp_path / "new/site.pub") == key.public_key()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["site.key", "site.pub"]


@pytest.mark.parametrize("kept", ["site.key", "site.pub"])
def test_a_key_is_never_replaced(tmp_path: Path, kept: str) -> None:
    keys.generate(tmp_path / "site.key")
    before = (tmp_path / kept).read_bytes()
    for path in tmp_path.iterdir():
        if path.name != kept:
            path.unlink()
    with pytest.raises(OutputError):
        keys.generate(tmp_path / "site.key")
    assert (tmp_path / kept).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [kept]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    keys.generate(tmp_path / "site.key")
    (tmp_path / "site.key").chmod(mode)
    with pytest.raises(TrustError, match="chmod 600") as caught:
        keys.load(tmp_path / "site.key")
    assert caught.value.exit_code == 77


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    with pytest.raises(NoInputError, match="no such key"):
        keys.load(path)
    key = Ed25519PrivateKey.generate()
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    curve = ec.generate_private_key(ec.SECP256R1())
    other = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data in (b"", b"garbage", locked, other):
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(TrustError, match=r"site\.key: not a"):
            keys.load(path)


def test_the_machine_has_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert same(keys.machine_key(), keys.machine_key())
    (tmp_path / "cutline/machine.key").chmod(0o644)
    with pytest.raises(TrustError):
        keys.machine_key()


def _print_key(answers: multiprocessing.SimpleQueue[bytes]) -> None:
    answers.put(keys.machine_key().private_bytes_raw())


def test_processes_that_start_at_once_agree_on_the_machine_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    crowd = [fork.Process(target=_print_key, args=(answers,)) for _ in range(6)]
    for process in crowd:
        process.start()
    assert len({answers.get() for _ in crowd}) == 1
    for process in crowd:
        process.join()


def test_without_a_home_there_is_no_machine_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "data_dir", lambda: None)
    with pytest.raises(OutputError, match="XDG_DATA_HOME"):
        keys.machine_key()


def test_the_publisher_s_key_comes_from_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.publisher_key() is None
    made = keys.generate(tmp_path / "publisher.key")
    monkeypatch.setenv(keys.SIGNING_KEY_VARIABLE, str(tmp_path / "publisher.key"))
    found = keys.publisher_key()
    assert found is not None
    assert same(found, made)
    monkeypatch.setenv(keys.SIGNING_KEY_VARIABLE, str(tmp_path / "gone.key"))
    with pytest.raises(NoInputError):
        keys.publisher_key()
