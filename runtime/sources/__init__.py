"""Where frames come from: decoders in child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutline.runtime.sources.address import is_live
from cutline.runtime.sources.records import End, Filled, Notice, SourceInfo, SourceOptions

if TYPE_CHECKING:
    from cutline.runtime.sources.opener import Opener
    from cutline.runtime.sources.pictures import load_picture
    from cutline.runtime.sources.source import Source

__all__ = ["End", "Filled", "Notice", "Opener", "Source", "SourceInfo", "SourceOptions", "is_live", "load_picture"]


def __getattr__(name: str) -> object:
    """Import on first use: the source process imports this package too, and it starts for every stream."""
    if name == "Source":
        from cutline.runtime.sources.source import Source

        return Source
    if name == "Opener":
        from cutline.runtime.sources.opener import Opener

        return Opener
    if name == "load_picture":
        from cutline.runtime.sources.pictures import load_picture

        return load_picture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
