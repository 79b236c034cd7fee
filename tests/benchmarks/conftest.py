from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `bench_example`, `frames` and `sleeper`


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 64x36 H.264."""
    path = tmp_path_factory.mktemp("clips") / "tiny.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", Fraction(25), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for index in range(12):
            picture = np.full((36, 64, 3), (20 * index, 100, 50), np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        video.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
