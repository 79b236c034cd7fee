"""The interpreter that a peer runs in: this one where it has everything, else an environment of the peer's own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from cutline.runtime.errors import DeviceError

__all__ = ["CONSTRAINTS", "default_folder", "find_interpreter"]

CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"  # so that all peers have the same libraries as we
_REMEDY: Final = "Install it yourself, or leave this peer out."


def default_folder() -> Path:
    """Where environments are kept: $XDG_CACHE_HOME/cutline/peers."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline" / "peers"


def find_interpreter(
    packages: tuple[str, ...],
    *,
    folder: Path,
    install: bool,
    tell: Callable[[str], None],
    run: Callable[[list[str]], None] | None = None,
) -> Path:
    """Return an interpreter that has these packages, made now where there is none.

    Args:
        packages: names of distributions, without versions or extras.
        folder: of environments; one for each set of packages and constraints.
        install: whether a missing environment may be made, over the network.
        tell: called with one line when one is made.
        run: runs one command; raises CalledProcessError.
    Raises:
        DeviceError: the packages are not here and cannot or may not be installed.
    """
    missing = [package for package in packages if not _is_here(package)]
    if not missing:
        return Path(sys.executable)
    kept = folder / _digest(packages)
    if (kept / "bin" / "python").exists():
        return kept / "bin" / "python"
    if not install:
        raise DeviceError(f"{', '.join(missing)} is not installed", remedy=_REMEDY)
    tell(f"installing {', '.join(packages)}, once, into {kept} ...")
    try:
        _make(kept, packages, run or _run)
    except OSError as error:
        raise DeviceError(
            f"no environment can be made: {error.strerror}", remedy=_REMEDY, folder=str(folder)
        ) from error
    except subprocess.CalledProcessError as error:
        last = [str(error), *(error.stderr or "").strip().splitlines()][-1]
        raise DeviceError(f"{', '.join(missing)} cannot be installed: {last}", remedy=_REMEDY) from error
    return kept / "bin" / "python"


def _make(kept: Path, packages: tuple[str, ...], run: Callable[[list[str]], None]) -> None:
    """Make it beside its place and move it there whole."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="part-") as part:
        new = Path(part) / "environment"
        run([sys.executable, "-m", "venv", str(new)])
        pinned = ["--constraint", str(CONSTRAINTS)] if CONSTRAINTS.is_file() else []
        pip = [str(new / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        run([*pip, *pinned, *packages])
        shutil.rmtree(kept, ignore_errors=True)
        new.rename(kept)


def _digest(packages: tuple[str, ...]) -> str:
    pinned = CONSTRAINTS.read_text(encoding="utf-8") if CONSTRAINTS.is_file() else ""
    return hashlib.sha256("\n".join([sys.version, *packages, pinned]).encode()).hexdigest()[:16]


def _is_here(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
