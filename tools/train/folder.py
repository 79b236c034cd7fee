"""The folder of one training run: which run it holds is written in it, so that no other goes on there by mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutline.runtime.errors import OutputError, UsageError

__all__ = ["settle"]


def settle(folder: Path, options: Mapping[str, Any]) -> None:
    """Make the folder and note the run's options in it, or check that the run it holds is this one.

    Raises:
        UsageError: the folder holds a run with other options.
        OutputError: it cannot be made or read.
    """
    run = json.loads(json.dumps(options, default=str))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        described = folder / "run.json"
        if not described.exists():
            described.write_text(json.dumps(run, indent=1))
        found = json.loads(described.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"the folder for the results cannot be used: {error}", remedy="Name another.", folder=str(folder)
        ) from error
    other = sorted(name for name in run if found.get(name) != run[name])
    if other:
        raise UsageError(
            f"the folder holds a run with another {', '.join(other)}",
            remedy="Repeat its options to go on with it, or name another folder.",
            folder=str(folder),
        )
