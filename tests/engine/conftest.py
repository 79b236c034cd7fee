"""What the engine's tests share: small synthetic models beside this file, and a cache that is not the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `small_models`


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def selfie() -> Path:
    """A real third-party network, where it is there."""
    path = Path(__file__).parents[3] / "shared/data/models/mediapipe_selfie.onnx"
    if not path.is_file():
        pytest.skip("needs ../shared/data/models/mediapipe_selfie.onnx")
    return path
