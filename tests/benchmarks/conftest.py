from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `bench_example`, `frames` and `sleeper`


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, write_clip: Callable[..., Path]) -> Path:
    """Twelve frames of 64x36 H.264."""
    path = tmp_path_factory.mktemp("clips") / "tiny.mp4"
    return write_clip(path, (np.full((36, 64, 3), (20 * index, 100, 50), np.uint8) for index in range(12)))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
