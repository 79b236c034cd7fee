"""Text from file names, cameras and libraries, made fit for one line of a terminal or a JSON document."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Replace what is no printable character by its escape: line ends, terminal codes, bytes of names in no UTF-8."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
