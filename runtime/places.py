"""Where Cutline keeps what belongs to one user: XDG base directories, one folder each."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["config_dir", "data_dir", "state_dir"]


def config_dir() -> Path | None:
    """Return $XDG_CONFIG_HOME/cutline (default ~/.config/cutline): what the user wrote. None without a home."""
    return _place("XDG_CONFIG_HOME", ".config")


def data_dir() -> Path | None:
    """Return $XDG_DATA_HOME/cutline (default ~/.local/share/cutline): what must not be lost. None without a home."""
    return _place("XDG_DATA_HOME", ".local/share")


def state_dir() -> Path | None:
    """Return $XDG_STATE_HOME/cutline (default ~/.local/state/cutline): what was seen. None without a home."""
    return _place("XDG_STATE_HOME", ".local/state")


def _place(variable: str, default: str) -> Path | None:
    stated = os.environ.get(variable, "")
    if stated.startswith("/"):  # the XDG specification: relative paths are to be ignored
        return Path(stated) / "cutline"
    try:
        return Path.home() / default / "cutline"
    except RuntimeError:  # no $HOME and no passwd entry, as under some service managers
        return None
