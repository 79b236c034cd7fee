"""What tests of several folders share: a home of their own, a key, a contract, and small bundles."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from cutline.engine.pack import write_bundle
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.manifest import Manifest, Target
from cutline.runtime.trust import KeyRing, TrustedKey


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests' keys and records apart from those of whoever runs them."""
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUTLINE_SIGNING_KEY", raising=False)
        for name in ("CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(place / name.lower()))
        yield place


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    """A key that `ring` trusts."""
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def ring(key: Ed25519PrivateKey) -> KeyRing:
    return KeyRing([TrustedKey(key.public_key(), "given")])


@pytest.fixture(scope="session")
def contract() -> ModelContract:
    """A matte network of 32x16 pixels."""
    alpha = Output(tensor="alpha", meaning="alpha", width=32, height=16)
    return ModelContract(task="matte", frame=Image(tensor="frame", width=32, height=16), outputs=(alpha,))


@pytest.fixture(scope="session")
def write_clip() -> Callable[[Path, Iterable[NDArray[np.uint8]]], Path]:
    """Encode RGB pictures, uint8[height, width, 3] of even sides, as H.264 at 25 frames per second."""

    def written(path: Path, pictures: Iterable[NDArray[np.uint8]]) -> Path:
        with av.open(str(path), "w") as video:
            stream = video.add_stream("libx264", Fraction(25), options={"preset": "veryfast"})
            for number, picture in enumerate(pictures):
                if number == 0:
                    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            video.mux(stream.encode(None))
        return path

    return written


class Packer(Protocol):
    def __call__(self, path: Path, **changes: Any) -> Manifest: ...


@pytest.fixture(scope="session")
def pack(key: Ed25519PrivateKey, contract: ModelContract) -> Packer:
    """Write a small bundle, signed by `key`; any argument of write_bundle can be changed."""

    def packed(path: Path, **changes: Any) -> Manifest:
        plain: dict[str, Any] = {
            "name": "small",
            "version": 1,
            "created": "2026-11-21T09:30:00Z",
            "licence": "Apache-2.0",
            "contract": contract,
            "members": {"source.onnx": b"a network", "graphs/int8.onnx": b"another", "empty": b""},
            "targets": [Target(kind="openvino", precision="fp32", member="source.onnx")],
            "key": key,
        }
        return write_bundle(path, **(plain | changes))

    return packed


class StubGpu:
    """A driver and a video decoder that need no GPU, in a folder for other processes' LD_LIBRARY_PATH."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.log, self._folder, self._patch = folder / "log", folder, patch
        flags = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
        source, library = Path(__file__).with_name("stub_gpu.cpp"), folder / "libcuda.so.1"
        subprocess.run(["g++", *flags, str(source), "-o", str(library), "-ldl"], check=True)
        for name in ("libnvcuvid.so.1", "libnvidia-encode.so.1"):
            shutil.copy(library, folder / name)
        self.set(LD_LIBRARY_PATH=folder, STUB_LOG=self.log)

    def set(self, **variables: object) -> None:
        """Tell it what to do; see stub_gpu.cpp."""
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    def show(self, clip: Path) -> None:
        """Let its decoder give the clip's frames."""
        with av.open(str(clip)) as video:
            order = [packet.pts for packet in video.demux(video.streams.video[0]) if packet.size]
        with av.open(str(clip)) as video:
            frames = {frame.pts: frame for frame in video.decode(video=0)}
        pictures, first = self._folder / "pictures", frames[order[0]]
        with pictures.open("wb") as file:
            file.write(struct.pack("=II", first.width, first.height))
            for pts in order:
                file.write(frames[pts].to_ndarray(format="nv12").tobytes())
        self.set(STUB_PICTURES=pictures)


@pytest.fixture
def stub_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubGpu:
    """The stub, for processes that this one starts."""
    return StubGpu(tmp_path, monkeypatch)
