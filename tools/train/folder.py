"""The folder of one training run: which run it holds is written in it, so that no other goes on there by mistake."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cutline.runtime.errors import OutputError, UsageError
from cutline.tools.results import write_whole

__all__ = ["CHECKPOINT", "settled"]

CHECKPOINT = "checkpoint.pt"


@contextmanager
def settled(folder: Path, options: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder for one run, alone: a new run notes its options in it, one that goes on must repeat them.

    Before the first checkpoint there is nothing to go on with: a command that failed early does not bind the next one.
    The lock ends with the process, however it ends.

    Raises:
        UsageError: the folder holds a run with other options, or another process trains in it.
        OutputError: it cannot be made or read.
        StorageError: the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        _lock(folder, descriptor)
        _check(folder, json.loads(json.dumps(options, default=str)))
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            "another process trains in this folder", remedy="Name another folder.", folder=str(folder)
        ) from error
    except OSError:  # a file system without locks, such as some of networks
        return


def _check(folder: Path, run: dict[str, Any]) -> None:
    described = folder / "run.json"
    if not (folder / CHECKPOINT).exists():
        write_whole(described, json.dumps(run, indent=1).encode())
        return
    try:
        found = json.loads(described.read_text())
        other = sorted(name for name in run if found.get(name) != run[name])
    except (OSError, ValueError, AttributeError) as error:
        raise _unusable(folder, error) from error
    if other:
        raise UsageError(
            f"the folder holds a run with another {', '.join(other)}",
            remedy="Repeat its options to go on with it, or name another folder.",
            folder=str(folder),
        )


def _unusable(folder: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) else "run.json is damaged"
    return OutputError(
        f"the folder for the results cannot be used: {reason}", remedy="Name another.", folder=str(folder)
    )
