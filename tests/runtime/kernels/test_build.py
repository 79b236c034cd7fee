"""The extension's build: a machine that lacks something is told its package in one line."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import setuptools

ROOT = Path(__file__).parents[3]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of setup.py, without running it."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    return runpy.run_path(str(ROOT / "setup.py"))


def stops(check: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        check()
    assert stopped.value.code == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_missing_compiler_names_its_package(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "apt install g++" in stops(build["find_compiler"], capsys)


def test_missing_headers_name_their_package(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path), "platinclude": str(tmp_path)})
    assert "apt install python3-dev" in stops(build["find_headers"], capsys)


def test_an_unknown_processor_is_named(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" in stops(build["find_isas"], capsys)


def test_the_whole_build_stops_without_a_traceback(tmp_path: Path) -> None:
    """Through the hook that `pip install --editable` calls, which is what `make demo` does."""
    hook = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", hook, str(tmp_path)],
        check=False, cwd=ROOT, env={**os.environ, "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"^error: no C\+\+ compiler\. Install it: sudo apt install g\+\+$", done.stderr, re.MULTILINE)


def test_every_source_is_built_or_declared(build: dict[str, Any]) -> None:
    """A file that setup.py forgets would be missing from a source archive, and no change to it would rebuild."""
    folder = ROOT / "runtime/kernels"
    assert {path.name for path in folder.glob("*.cpp")} == {*build["LOOPS"], *build["ONCE"]}
    assert {path.name for path in folder.glob("*.h")} == set(build["HEADERS"])
