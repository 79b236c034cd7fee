"""Small networks whose output is known, and a small clip to run them on."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutline.runtime.bundle import Bundle, open_bundle
from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.manifest import Target
from cutline.runtime.trust import KeyRing

WIDTH, HEIGHT = 64, 36  # of the networks
FRAMES = 24

MakeBundle = Callable[..., Bundle]


def _tensor(name: str, channels: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, HEIGHT, WIDTH])


def _finish(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> bytes:
    weights = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def red_network() -> bytes:
    """alpha = sigmoid(60 (red - green) - 12): red things are products."""
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["alpha"]),
    ]
    constants = {"weight": np.reshape([60, -60, 0], (1, 3, 1, 1)), "bias": [-12]}
    return _finish(nodes, [_tensor("image", 3)], [_tensor("alpha", 1)], constants)


def plate_network() -> bytes:
    """alpha = min(1, 8 |frame - plate|, summed over channels)."""
    nodes = [
        helper.make_node("Sub", ["image", "plate"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
        helper.make_node("Conv", ["size", "weight"], ["sum"]),
        helper.make_node("Clip", ["sum", "zero", "one"], ["alpha"]),
    ]
    constants = {"weight": np.full((1, 3, 1, 1), 8.0), "zero": 0.0, "one": 1.0}
    return _finish(nodes, [_tensor("image", 3), _tensor("plate", 3)], [_tensor("alpha", 1)], constants)


def counting_network() -> bytes:
    """alpha = (frames seen before) / 100, counted in a recurrent state."""
    nodes = [
        helper.make_node("Mul", ["image", "nothing"], ["silence"]),
        helper.make_node("ReduceMean", ["silence"], ["zero"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["before", "hundredth"], ["level"]),
        helper.make_node("Add", ["zero", "level"], ["alpha"]),
        helper.make_node("Add", ["before", "one"], ["after"]),
    ]
    state = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 1, 1]) for n in ("before", "after")]
    constants = {"nothing": 0.0, "hundredth": 0.01, "one": 1.0}
    return _finish(nodes, [_tensor("image", 3), state[0]], [_tensor("alpha", 1), state[1]], constants)


def inverting_network() -> bytes:
    """A style: the negative of the picture."""
    nodes = [helper.make_node("Sub", ["one", "image"], ["picture"])]
    return _finish(nodes, [_tensor("image", 3)], [_tensor("picture", 3)], {"one": 1.0})


def small_contract(**changes: Any) -> ModelContract:
    """A matte contract of the small networks' size."""
    plain: dict[str, Any] = {
        "task": "matte",
        "frame": Image(tensor="image", width=WIDTH, height=HEIGHT),
        "outputs": (Output(tensor="alpha", meaning="alpha", width=WIDTH, height=HEIGHT),),
    }
    return ModelContract(**(plain | changes))


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def make_bundle(pack: Any, ring: KeyRing, tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Open a fresh small bundle: make_bundle(network bytes, contract)."""
    folder = tmp_path_factory.mktemp("bundles")

    def make(network: bytes, contract: ModelContract, *, precision: str = "fp32") -> Bundle:
        path = folder / f"{len(list(folder.iterdir()))}.cutline"
        target = Target(kind="openvino", precision=precision, member="source.onnx")  # type: ignore[arg-type]
        name = path.stem if path.stem[0].isalpha() else f"small-{path.stem}"
        pack(path, name=name, contract=contract, members={"source.onnx": network}, targets=[target])
        return open_bundle(path, keys=ring)

    return make


@pytest.fixture
def red(make_bundle: MakeBundle) -> Bundle:
    return make_bundle(red_network(), small_contract())


@pytest.fixture
def with_plate(make_bundle: MakeBundle) -> Bundle:
    contract = small_contract(plate=Image(tensor="plate", width=WIDTH, height=HEIGHT))
    return make_bundle(plate_network(), contract)


@pytest.fixture
def counting(make_bundle: MakeBundle) -> Bundle:
    states = (State(input="before", output="after", shape=(1, 1, 1, 1)),)
    return make_bundle(counting_network(), small_contract(states=states))


@pytest.fixture
def inverting(make_bundle: MakeBundle) -> Bundle:
    picture = Output(tensor="picture", meaning="picture", width=WIDTH, height=HEIGHT, channels=3)
    return make_bundle(inverting_network(), small_contract(task="style", outputs=(picture,)))


@pytest.fixture
def misfit(make_bundle: MakeBundle) -> Bundle:
    """A network with a plate input that its contract does not mention."""
    return make_bundle(plate_network(), small_contract())


def scene(index: int | None, width: int = 320, height: int = 180) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A grey room, and in it a red box that moves 4 pixels a frame; None gives the empty room."""
    picture = np.full((height, width, 3), (90, 100, 110), np.uint8)
    picture[:, :, 2] += np.linspace(0, 60, width).astype(np.uint8)
    if index is not None:
        left = 40 + 4 * index
        picture[60:130, left : left + 80] = (220, 30, 40)
    return picture


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FRAMES frames of 320x180 H.264 at 25 fps, the red box moving through."""
    path = tmp_path_factory.mktemp("clips") / "box.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", Fraction(25), options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(FRAMES):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(scene(index), "rgb24")))
        video.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def empty_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the clip's scene with nothing in it."""
    import cv2

    path = tmp_path_factory.mktemp("plates") / "room.png"
    cv2.imwrite(str(path), scene(None)[:, :, ::-1])
    return path
