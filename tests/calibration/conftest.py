"""Small networks with what quantisation must get right: concatenation, residual addition, resize, shared weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cutline.calibration.graph import normalise
from cutline.runtime.contract import Image, ModelContract, Output, State

SIDE = 32


class Net:
    """Builds a graph node by node; every method returns the name of what it made."""

    def __init__(self, seed: int = 0, **inputs: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.inputs = inputs
        self.channels = {name: shape[1] for name, shape in inputs.items() if len(shape) == 4}

    def op(self, kind: str, name: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.channels[name] = self.channels.get(inputs[0], 0)
        return name

    def conv(self, x: str, name: str, out: int, *, stride: int = 1, group: int = 1, weight: str | None = None) -> str:
        channels = self.channels[x]
        weight = weight or f"{name}.weight"
        if weight not in self.weights:
            spread = (2.0 / (9 * channels / group)) ** 0.5
            self.weights[weight] = self.rng.normal(0, spread, (out, channels // group, 3, 3)).astype(np.float32)
        self.weights[f"{name}.bias"] = self.rng.normal(0, 0.1, out).astype(np.float32)
        inputs = [x, weight, f"{name}.bias"]
        self.op("Conv", name, inputs, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2, group=group)
        self.channels[name] = out
        return name

    def relu(self, x: str) -> str:
        return self.op("Relu", f"{x}.relu", [x])

    def add(self, x: str, y: str, name: str) -> str:
        return self.op("Add", name, [x, y])

    def concat(self, x: str, y: str, name: str) -> str:
        self.op("Concat", name, [x, y], axis=1)
        self.channels[name] = self.channels[x] + self.channels[y]
        return name

    def double(self, x: str, name: str) -> str:
        self.weights.setdefault("twice", np.array([1, 1, 2, 2], np.float32))
        half_pixel = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.op("Resize", name, [x, "", "twice"], **half_pixel)

    def model(self, **outputs: tuple[int, ...]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(n, 1, s) for n, s in self.inputs.items()],
            [helper.make_tensor_value_info(n, 1, s) for n, s in outputs.items()],
            [numpy_helper.from_array(w, n) for n, w in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def make_unet(seed: int = 0) -> onnx.ModelProto:
    """Concatenating U-Net with a residual block and one weight used twice; input image, output alpha, 32x32."""
    net = Net(seed, image=(1, 3, SIDE, SIDE))
    top = net.relu(net.conv("image", "stem", 16))
    low = net.relu(net.conv(top, "down", 32, stride=2))
    first = net.relu(net.conv(low, "block.first", 32, weight="shared"))
    second = net.conv(first, "block.second", 32, weight="shared")
    low = net.relu(net.add(low, second, "block.sum"))
    up = net.double(low, "double")
    both = net.concat(up, top, "concat")
    x = net.relu(net.conv(both, "merge", 16))
    x = net.relu(net.conv(x, "smooth", 16))
    net.conv(x, "head", 1)
    net.op("Sigmoid", "alpha", ["head"])
    return normalise(net.model(alpha=(1, 1, SIDE, SIDE)))


def make_recurrent(seed: int = 0) -> onnx.ModelProto:
    """state_out = relu(conv(state_in + conv(image))); alpha = sigmoid(conv(state_out))."""
    net = Net(seed, image=(1, 3, SIDE, SIDE), state_in=(1, 16, SIDE, SIDE))
    x = net.add(net.conv("image", "stem", 16), "state_in", "sum")
    net.conv(x, "mix", 16)
    net.op("Relu", "state_out", ["mix"])
    net.conv("state_out", "head", 1)
    net.op("Sigmoid", "alpha", ["head"])
    return normalise(net.model(alpha=(1, 1, SIDE, SIDE), state_out=(1, 16, SIDE, SIDE)))


ALPHA = Output(tensor="alpha", meaning="alpha", width=SIDE, height=SIDE)
IMAGE = Image(tensor="image", width=SIDE, height=SIDE)
CONTRACT = ModelContract(task="matte", frame=IMAGE, outputs=(ALPHA,))
RECURRENT_CONTRACT = ModelContract(
    task="matte",
    frame=IMAGE,
    outputs=(ALPHA,),
    states=(State(input="state_in", output="state_out", shape=(1, 16, SIDE, SIDE)),),
)


@pytest.fixture(scope="session")
def unet() -> onnx.ModelProto:
    return make_unet()


@pytest.fixture(scope="session")
def recurrent() -> onnx.ModelProto:
    return make_recurrent()


@pytest.fixture(scope="session")
def contract() -> ModelContract:
    return CONTRACT


@pytest.fixture(scope="session")
def recurrent_contract() -> ModelContract:
    return RECURRENT_CONTRACT


@pytest.fixture(scope="session")
def net() -> type[Net]:
    return Net


@pytest.fixture(scope="session")
def frames() -> list[list[dict[str, NDArray[np.float32]]]]:
    """Eight smooth frames, each a sequence of its own."""
    rng = np.random.default_rng(5)
    coarse = rng.random((8, 1, 3, 5, 5), np.float32)
    return [[{"image": _enlarge(frame)}] for frame in coarse]


def _enlarge(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    at = np.linspace(0, coarse.shape[-1] - 1, SIDE)
    low = np.minimum(at.astype(int), coarse.shape[-1] - 2)
    part = (at - low).astype(np.float32)
    rows = coarse[..., low, :] * (1 - part)[:, None] + coarse[..., low + 1, :] * part[:, None]
    return np.ascontiguousarray(rows[..., low] * (1 - part) + rows[..., low + 1] * part, np.float32)
