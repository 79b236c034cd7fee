"""The record of versions that were seen."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import msgspec
import pytest

from cutline.runtime import versions
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import TrustError
from cutline.runtime.manifest import Manifest
from cutline.runtime.versions import VersionRecord

KEY, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def manifest(contract: ModelContract) -> Manifest:
    return Manifest(
        name="small",
        version=5,
        created="2026-11-21T09:30:00Z",
        licence="MIT",
        contract=contract,
        targets=(),
        members=(),
    )


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_said", set())


def at(manifest: Manifest, version: int, name: str = "small") -> Manifest:
    return msgspec.structs.replace(manifest, version=version, name=name)


def test_the_highest_version_counts_for_each_signer_and_name(manifest: Manifest, tmp_path: Path) -> None:
    record = VersionRecord(tmp_path)
    for version in (5, 7, 7):
        record.check(KEY, at(manifest, version))
    with pytest.raises(TrustError, match=r"version=6, seen=7"):
        VersionRecord(tmp_path).check(KEY, at(manifest, 6))
    record.check(OTHER, at(manifest, 1))
    record.check(KEY, at(manifest, 1, "another"))


def test_forgiven_versions_are_remembered_all_the_same(manifest: Manifest, tmp_path: Path) -> None:
    record = VersionRecord(tmp_path)
    for version in (9, 3):
        record.check(KEY, at(manifest, version), forgive=True)
    with pytest.raises(TrustError, match="seen=9"):
        record.check(KEY, at(manifest, 8))


def test_the_remedy_works(manifest: Manifest, tmp_path: Path) -> None:
    record = VersionRecord(tmp_path)
    record.check(KEY, manifest)
    record.check(KEY, at(manifest, 5, "another"))
    assert record.path is not None
    kept = [line for line in record.path.read_text().splitlines() if " small " not in line]
    record.path.write_text("\n".join(kept))
    record.check(KEY, at(manifest, 4))
    with pytest.raises(TrustError, match="older"):
        record.check(KEY, at(manifest, 4, "another"))


def test_a_version_that_was_seen_is_not_written_again(manifest: Manifest, tmp_path: Path) -> None:
    record = VersionRecord(tmp_path)
    record.check(KEY, manifest)
    assert record.path is not None
    before = record.path.read_bytes()
    record.check(KEY, manifest)
    assert record.path.read_bytes() == before


def test_a_line_cut_off_by_a_power_cut_costs_that_line_alone(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = VersionRecord(tmp_path)
    record.check(KEY, manifest)
    assert record.path is not None
    with record.path.open("ab") as file:
        file.write(b"\n" + b"c" * 20)
    record.check(KEY, at(manifest, 6))
    with pytest.raises(TrustError, match="seen=6"):
        record.check(KEY, manifest)
    assert len(caplog.records) == 1
    assert "damaged line" in caplog.text


def test_a_place_that_cannot_be_written_is_said_once_and_stops_nothing(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    record = VersionRecord(tmp_path / "file" / "below")  # a folder that nobody, not even root, can make
    with caplog.at_level(logging.WARNING):
        for version in (5, 4, 6):
            record.check(KEY, at(manifest, version))
    assert [r.name for r in caplog.records] == ["cutline.trust"] * len(caplog.records)
    assert sum("cannot be written" in r.message for r in caplog.records) == 1


def test_a_record_full_of_noise_stops_nothing_and_does_not_grow(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = bytes(range(256)) * 5000
    (tmp_path / "versions").write_bytes(noise)
    VersionRecord(tmp_path).check(KEY, manifest)
    assert (tmp_path / "versions").read_bytes() == noise
    assert "too large: remove it" in caplog.text


def _see(folder: Path, manifest: Manifest) -> None:
    for version in range(1, 21):
        VersionRecord(folder).check(KEY, at(manifest, version), forgive=True)


def test_processes_that_write_at_once_lose_nothing(manifest: Manifest, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    crowd = [fork.Process(target=_see, args=(tmp_path, manifest)) for _ in range(4)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0] * 4
    with pytest.raises(TrustError, match="seen=20"):
        VersionRecord(tmp_path).check(KEY, at(manifest, 19))
