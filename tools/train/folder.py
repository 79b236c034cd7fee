"""The folder of one training run: which run it holds is written in it, so that no other goes on there by mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutline.runtime.errors import OutputError, UsageError
from cutline.tools.results import write_whole

__all__ = ["CHECKPOINT", "settle"]

CHECKPOINT = "checkpoint.pt"


def settle(folder: Path, options: Mapping[str, Any]) -> None:
    """Make the folder and note the run's options in it, or check that the run whose checkpoint it holds is this one.

    Before the first checkpoint there is nothing to go on with: a command that failed early does not bind the next one.

    Raises:
        UsageError: the folder holds a run with other options.
        OutputError: it cannot be made or read.
        StorageError: the disk is full.
    """
    run = json.loads(json.dumps(options, default=str))
    described = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CHECKPOINT).exists():
            write_whole(described, json.dumps(run, indent=1).encode())
            return
        found = json.loads(described.read_text())
        other = sorted(name for name in run if found.get(name) != run[name])
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "run.json is damaged"
        raise OutputError(
            f"the folder for the results cannot be used: {reason}", remedy="Name another.", folder=str(folder)
        ) from error
    if other:
        raise UsageError(
            f"the folder holds a run with another {', '.join(other)}",
            remedy="Repeat its options to go on with it, or name another folder.",
            folder=str(folder),
        )
