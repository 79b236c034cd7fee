"""The CUDA kernels' source, as it is installed: what cubins are compiled from, and must have been compiled from."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["MAIN", "read_sources", "sources_digest"]

MAIN: Final = "cuda.cu"
HEADERS: Final = (
    "cuda_colour.cuh",
    "cuda_matte.cuh",
    "cuda_memory.cuh",
    "cuda_plan.cuh",
    "cuda_post.cuh",
    "cuda_pre.cuh",
    "pixel.h",
)


def read_sources() -> dict[str, bytes]:
    """Every file of the kernels by its name."""
    folder = Path(__file__).parent
    return {name: (folder / name).read_bytes() for name in (MAIN, *HEADERS)}


@cache
def sources_digest() -> str:
    """SHA-256 of all of it, in hexadecimal. A cubin of another digest may take its parameters in another layout."""
    digest = hashlib.sha256()
    for name, text in read_sources().items():
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()
