"""Writing bundles."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cutline.runtime.errors import BundleError, OutputError, StorageError, UsageError
from cutline.runtime.manifest import Target


def test_equal_inputs_give_equal_bytes(pack: Any, tmp_path: Path) -> None:
    members = {"a": b"1", "b": b"2", "c": b"3"}
    pack(tmp_path / "one.cutline", members=members, targets=[], accuracy={"mad": 0.1, "iou": 0.9})
    backwards = dict(reversed(members.items()))
    pack(tmp_path / "two.cutline", members=backwards, targets=[], accuracy={"iou": 0.9, "mad": 0.1})
    assert (tmp_path / "one.cutline").read_bytes() == (tmp_path / "two.cutline").read_bytes()


def test_a_bundle_is_a_zip_that_other_tools_read(pack: Any, tmp_path: Path) -> None:
    pack(tmp_path / "a.cutline", members={"source.onnx": b"network", "graphs/int8.onnx": b""})
    with zipfile.ZipFile(tmp_path / "a.cutline") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "manifest.sig", "graphs/int8.onnx", "source.onnx"]
        assert archive.read("source.onnx") == b"network"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Not A Name"},
        {"name": "../up"},
        {"version": 0},
        {"created": "yesterday"},
        {"licence": "MIT\n"},
        {"members": {"../up": b""}, "targets": []},
        {"members": {"/etc/passwd": b""}, "targets": []},
        {"members": {"manifest.sig": b""}, "targets": []},
        {"members": {"a": b"", "a/b": b""}, "targets": []},
        {"members": {"\udcff": b""}, "targets": []},
        {"members": {f"m{i}": b"" for i in range(1025)}, "targets": []},
        {"targets": [Target(kind="openvino", precision="fp32", member="not there")]},
        {"targets": [Target(kind="tensorrt-rtx", precision="fp32", member="source.onnx", device="SM 86")]},
        {"card": "not there"},
        {"accuracy": {"frames": [{"mad": float("nan")}]}},
        {"provenance": {"text": "\ud800"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_could_not_be_read_is_not_written(pack: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError) as caught:
        pack(tmp_path / "a.cutline", **changes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_too_much_is_refused_before_anything_is_written(
    pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="manifest is too large"):
        pack(tmp_path / "a.cutline", provenance={"table": "x" * (1 << 20)})
    monkeypatch.setattr("cutline.runtime.archive.MAX_ARCHIVE_BYTES", 2000)
    with pytest.raises(UsageError, match="bundle is too large"):
        pack(tmp_path / "a.cutline", members={"source.onnx": bytes(2000)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a.cutline"
    pack(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path if call == "replace" else os, call, full)
    with pytest.raises(StorageError, match="No space left on device"):
        pack(path, version=2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_what_was_there(pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "a.cutline")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["none/a.cutline", "x" * 300 + ".cutline"])
def test_a_path_that_cannot_be_made_is_an_output_error(pack: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot be created") as caught:
        pack(tmp_path / name)
    assert caught.value.exit_code == 73


def test_the_file_is_as_readable_as_any_other(pack: Any, tmp_path: Path) -> None:
    pack(tmp_path / "a.cutline")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1
