"""The sink that only counts."""

from __future__ import annotations

from typing import final

from cutline.runtime.frame import Frame

__all__ = ["NullSink"]


@final
class NullSink:
    """Owns nothing: frames are counted and forgotten."""

    wants_alpha = False
    carries_alpha = False
    live = False
    ended = False

    def __init__(self) -> None:
        self._frames = 0

    def write(self, frame: Frame) -> None:  # noqa: ARG002  (the protocol's signature)
        """Count one frame."""
        self._frames += 1

    def close(self, *, complete: bool) -> None:
        """Nothing to finish."""

    def report(self) -> dict[str, object]:
        """Say how many frames came."""
        return {"path": "null://", "frames": self._frames, "bytes": 0, "codec": None, "notices": []}
