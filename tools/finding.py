"""One thing that `cutline doctor` looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "State"]

State = Literal["ok", "optional", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `problem` stops `cutline run`; `optional` only means that a feature is absent."""

    subject: str
    state: State
    seen: str
    remedy: str = ""
