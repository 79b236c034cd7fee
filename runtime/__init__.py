"""What runs beside the camera: bundles in, video through, composites out.

from cutline.runtime import Pipeline, StreamOptions, open_bundle
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutline.runtime.bundle import Bundle, open_bundle
    from cutline.runtime.options import StreamOptions
    from cutline.runtime.pipeline import Pipeline

__all__ = ["Bundle", "Pipeline", "StreamOptions", "open_bundle"]

_HOMES = {
    "Bundle": "cutline.runtime.bundle",
    "Pipeline": "cutline.runtime.pipeline",
    "StreamOptions": "cutline.runtime.options",
    "open_bundle": "cutline.runtime.bundle",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a decoder process needs a tenth of the runtime, and must start fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
