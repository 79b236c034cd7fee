from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cutline.benchmarks.peers.environment import CONSTRAINTS, find_interpreter
from cutline.runtime.errors import DeviceError

MISSING = ("numpy", "no-such-distribution")


class FakePip:
    def __init__(self, fails: bool = False) -> None:
        self.commands: list[list[str]] = []
        self.fails = fails

    def __call__(self, command: list[str]) -> None:
        self.commands.append(command)
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "python").touch()
        elif self.fails:
            raise subprocess.CalledProcessError(1, command, stderr="Collecting\nERROR: No matching distribution\n")


def find(packages: tuple[str, ...], folder: Path, pip: FakePip, *, install: bool = True) -> Path:
    return find_interpreter(packages, folder=folder, install=install, tell=lambda text: None, run=pip)


def test_what_is_here_needs_no_environment(tmp_path: Path) -> None:
    pip = FakePip()
    assert find(("numpy",), tmp_path / "none", pip) == Path(sys.executable)
    assert pip.commands == []
    assert not (tmp_path / "none").exists()


def test_what_is_missing_gets_an_environment_once(tmp_path: Path) -> None:
    pip = FakePip()
    python = find(MISSING, tmp_path, pip)
    assert python.is_file()
    assert python.is_relative_to(tmp_path)
    assert pip.commands[1][-2:] == list(MISSING)
    assert str(CONSTRAINTS) in pip.commands[1]
    assert find(MISSING, tmp_path, pip) == python
    assert len(pip.commands) == 2
    assert find((*MISSING, "other"), tmp_path, pip) != python


def test_an_installation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No matching distribution"):
        find(MISSING, tmp_path, FakePip(fails=True))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_installed_unless_allowed(tmp_path: Path) -> None:
    pip = FakePip()
    with pytest.raises(DeviceError, match="no-such-distribution is not installed"):
        find(MISSING, tmp_path, pip, install=False)
    assert pip.commands == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="no environment can be made"):
        find(MISSING, tmp_path / "file" / "peers", FakePip())
